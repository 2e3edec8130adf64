"""A trained model made ready for use: the files that it is kept in, and what it says of images."""
