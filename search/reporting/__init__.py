"""What is written about a study: summary, tables, figures, page."""
