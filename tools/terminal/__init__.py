"""A persistent bash: its process, what runs under it, and what it prints."""
