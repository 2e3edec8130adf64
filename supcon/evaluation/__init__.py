"""What weights are worth: embedding, probe, neighbours, metrics; the result of a run."""
