"""Compares models that could stand in for each other: quantisations, and types of the KV cache."""
