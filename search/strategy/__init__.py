"""What is trained next: pure functions of the log."""
