"""Before it starts: which study, what is wrong, what it costs."""
