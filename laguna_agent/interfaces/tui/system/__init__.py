"""What the interface needs of the machine: the terminal, an editor, background work, files."""
