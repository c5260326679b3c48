"""Screens and lists that open over the transcript."""
