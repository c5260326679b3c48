"""A persistent bash: its process, its commands, and their output."""
