"""What a classifier is worth beyond its accuracy: calibration, classes, corruptions, unknowns."""
