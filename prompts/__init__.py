"""Prompt packs: the text that the model is told, and the loader that reads it."""
