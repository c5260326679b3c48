"""The memory that a model needs and that this machine has, in bytes."""
