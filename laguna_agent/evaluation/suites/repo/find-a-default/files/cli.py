import argparse
from defaults import DEFAULTS


def parser():
    p = argparse.ArgumentParser()
    p.add_argument("--retries", type=int, default=DEFAULTS["attempts"] - 1)
    p.add_argument("--workers", type=int, default=DEFAULTS["workers"])
    return p
