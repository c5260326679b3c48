"""Fetching model files: from a hub, a mirror, a path, or Python packages."""
