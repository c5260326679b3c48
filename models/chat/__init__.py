"""Chat formats: how a conversation is rendered to tokens, and how replies are parsed."""
