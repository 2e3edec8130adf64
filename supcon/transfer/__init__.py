"""What a trained encoder is worth on other images and classes than those that it was trained on."""
