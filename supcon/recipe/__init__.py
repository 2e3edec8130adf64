"""What a step of training is made of: loss, optimiser, averages, checkpoint."""
