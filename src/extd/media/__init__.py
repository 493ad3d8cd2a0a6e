"""Images in and results out: which files to read, what to draw and what to write."""
