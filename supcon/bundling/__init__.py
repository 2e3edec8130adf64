"""From a run, or a study's winner, to a bundle and its model card."""
