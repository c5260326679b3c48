"""What may run: typed actions in, allow, ask or deny out."""
