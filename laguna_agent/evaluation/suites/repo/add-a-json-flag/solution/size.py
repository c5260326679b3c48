"""Prints how many files a folder holds, and their size."""

import argparse
import json
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument('--json', action='store_true')
    options = parser.parse_args()
    files = [path for path in options.folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    if options.json:
        print(json.dumps({"files": len(files), "bytes": size}))
        return
    print(f"{len(files)} files, {size} bytes")


if __name__ == "__main__":
    main()
