"""The commands of `python -m supcon`: from what is typed to what is printed and written."""
