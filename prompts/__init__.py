"""Prompt packs: the text that the model is told, and the loader that reads it.

`load_pack` gives a `Pack`, which renders the static prefix, the messages that are appended later,
and the tools as they are declared. The packs themselves are the folders beside this file.
"""
