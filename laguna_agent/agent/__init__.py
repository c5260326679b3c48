"""The planning loop: it asks the model, runs tools, and decides when to stop."""
