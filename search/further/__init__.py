"""What is found beyond accuracy: further measures of tested runs, and what they come to."""
