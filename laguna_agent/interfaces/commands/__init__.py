"""The subcommands, one per module: `laguna NAME` runs `NAME.main`."""
