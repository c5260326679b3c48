"""Loads prompt packs: layers of folders, templates, tool files, lint."""
