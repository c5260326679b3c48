"""Checkpoints of the working tree in a private git repository."""
