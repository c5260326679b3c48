"""Long-horizon memory: summaries of past work, and search in them."""
