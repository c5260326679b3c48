import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--delete", action="store_true", help="remove files that are gone at the source")
parser.add_argument("--dry-run", action="store_true", help="show what would be done")
parser.add_argument("--verbose", action="store_true", help="name each file")
