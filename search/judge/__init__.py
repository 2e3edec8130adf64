"""What was found: statistics, the sealed test images, audits."""
