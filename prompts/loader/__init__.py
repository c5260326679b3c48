"""Loads prompt packs: layers of folders, templates, tool files, and the checks of `prompts lint`."""
