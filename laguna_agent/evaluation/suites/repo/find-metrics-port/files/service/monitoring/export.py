"""Serves the metrics for Prometheus."""

import os

DEFAULT_PORT = 9187


def metrics_port():
    return int(os.environ.get("METRICS_PORT", DEFAULT_PORT))
