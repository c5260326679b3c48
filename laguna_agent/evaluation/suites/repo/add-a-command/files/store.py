import json
from pathlib import Path

FILE = Path("todo.json")


def load():
    return json.loads(FILE.read_text()) if FILE.exists() else []


def save(entries):
    FILE.write_text(json.dumps(entries))
