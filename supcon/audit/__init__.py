"""Which images are copies of others, in which part and under which label; which show nothing."""
