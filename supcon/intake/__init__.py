"""New images: which ones are meant, and how they become what an encoder takes."""
