"""Faces of the agent: headless, the terminal interface, editors, and the subcommands."""
