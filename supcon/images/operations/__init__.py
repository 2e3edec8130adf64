"""The operations of RandAugment and TrivialAugmentWide: magnitudes, and what does them."""
