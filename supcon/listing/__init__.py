"""Which images there are: found in folders, tables and saved data sets, and parted for training."""
