"""The agent's tools: each has a pydantic argument model, a kind, and an async `run`."""
