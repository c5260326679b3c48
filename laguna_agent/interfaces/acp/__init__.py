"""`laguna acp`: the agent for editors that speak the Agent Client Protocol, version 1."""
