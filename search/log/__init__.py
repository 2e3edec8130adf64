"""What happened: the log of a study, and all that is read off it."""
