"""Summaries of past work, and their recall."""
