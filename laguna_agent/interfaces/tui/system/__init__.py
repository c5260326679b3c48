"""The terminal, the clipboard, threads and preferences: what the interface needs of the machine."""
