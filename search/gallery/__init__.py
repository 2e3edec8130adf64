"""What is shown of images after the search, by the winners: embeddings, suspicious labels."""
