"""laguna: a terminal-native coding agent that runs its model on the user's own machine."""

__version__ = "0.1.0"
