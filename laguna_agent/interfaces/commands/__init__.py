"""The subcommands, one to a module: `laguna NAME` runs `NAME.main`."""
