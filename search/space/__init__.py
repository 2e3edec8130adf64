"""The question: what is searched, by which rules."""
