"""What the agent can do. Each tool is a pydantic argument model, a kind, and an async run."""
