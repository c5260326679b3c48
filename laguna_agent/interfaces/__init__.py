"""The ways to use the agent: headless, the terminal interface and the subcommands."""
