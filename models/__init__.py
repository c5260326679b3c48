"""Models: the catalogue, the local engine, model servers, and chat formats."""
