"""What `@` completes: files and symbols, found by fuzzy search."""
