"""`extd serve`: detects, blurs and crops faces over HTTP, in memory (the extra `serve`)."""
