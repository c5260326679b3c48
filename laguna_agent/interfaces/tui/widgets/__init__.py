"""Widgets that are laid out on the screen, one to a file."""
