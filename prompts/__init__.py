"""Prompt packs: all text that the model reads, and `loader`, which reads the packs.

Every other folder here is a pack (`_new` is the template for `laguna prompts new`). `load_pack` in
`loader.pack` returns a `Pack`, which renders the system prompt and the messages that follow it and
declares the tools.
"""
