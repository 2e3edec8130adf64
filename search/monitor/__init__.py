"""What is seen of a study while it runs."""
