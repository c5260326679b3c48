"""`long`: tasks of 50 to 300 steps against a scripted desk, for memory and compaction.

The desk (`desk.py` in the workspace) gives one message at a time: something to keep in mind, a
correction, an order, a line to set in a file, a question about what it said long before. Each
message is sealed with all answers before it, so none can be read ahead and the last word proves
that every question was answered.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from laguna_agent.evaluation.datasets.task_writer import write_task

DESK = '''\
"""The desk. `python3 desk.py` shows its message, `python3 desk.py ANSWER` answers it."""

import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
STATE = HERE / "desk.state"


def opened(key, sealed):
    blocks = range(len(sealed) // 32 + 1)
    stream = b"".join(hashlib.sha256(key + bytes([n])).digest() for n in blocks)
    text = bytes(a ^ b for a, b in zip(sealed, stream))
    return text[4:].decode() if text[:4] == b"desk" else None


messages = json.loads((HERE / "desk.json").read_text())
at, key = json.loads(STATE.read_text()) if STATE.exists() else (0, "")
text = opened(bytes.fromhex(key), bytes.fromhex(messages[at]))
if len(sys.argv) > 1 and at + 1 < len(messages):
    answer = " ".join(sys.argv[1:]).strip().strip(".").lower()
    if text.startswith("Set "):
        answer += (HERE / text.split()[-1].strip(".")).read_text().strip()
    key = hashlib.sha256(bytes.fromhex(key) + answer.encode()).digest()
    following = opened(key, bytes.fromhex(messages[at + 1]))
    if following is None:
        print("That is not right. The message was:")
    else:
        at, text = at + 1, following
        STATE.write_text(json.dumps([at, key.hex()]))
print(f"[{at + 1} of {len(messages)}] {text}")
'''

_PROMPT = """\
Work at the desk: `python3 desk.py` shows its first message, and `python3 desk.py ANSWER` answers \
a message and shows the next. Answer `ok` where nothing is asked, and one message at a time. Keep \
in mind what it tells you: it asks for it later. Its last message gives you a word: write that \
word to answer.txt."""
_THINGS = "alarm archive boiler cabinet cellar depot garage gate harbour kiosk ladder locker mast "
_THINGS += "mill office pantry pump safe shed silo stable storeroom studio tower vault workshop"
_FRUIT = "apple cherry fig grape lemon lime mango olive orange peach pear plum quince walnut"
_TOWNS = "Bergen Cork Delft Graz Lyon Porto Turin Vigo"
_SOLVER = """\
import json, pathlib, subprocess
for file, line, answer in json.loads(pathlib.Path("answers.json").read_text()):
    if file:
        pathlib.Path(file).write_text(line)
    subprocess.run(["python3", "desk.py", answer], check=True, capture_output=True)
"""

_Exchange = tuple[str, str, str, str]
"""A message, its answer, and the file that it asks to change with its new text."""


def write_long(folder: Path) -> None:
    """Write the tasks, the same ones every time."""
    for kind, make in (("facts", _facts), ("orders", _orders), ("settings", _settings)):
        for steps in (50, 120, 300):
            _write(folder / f"{kind}-{steps}", kind, list(make(steps)), steps)


def _write(folder: Path, kind: str, exchanges: list[_Exchange], steps: int) -> None:
    chooser = random.Random(folder.name)
    word = f"{chooser.choice(_FRUIT.split())}-{chooser.randrange(1000, 10000)}"
    sealed, key = [], b""
    for message, answer, _, text in exchanges:
        sealed.append(_seal(key, message))
        key = hashlib.sha256(key + (answer.lower() + text.strip()).encode()).digest()
    sealed.append(_seal(key, f"That is all. The word is {word}."))
    files = {"desk.py": DESK, "desk.json": json.dumps(sealed, indent=0)}
    files |= {name: "limit = 0\n" for _, _, name, _ in exchanges if name}
    answers = [(name, text, answer) for _, answer, name, text in exchanges]
    write_task(
        folder,
        {
            "prompt": _PROMPT,
            "tags": [kind, f"steps-{steps}"],
            "timeout": 60.0 * steps,
            "steps": 3 * steps,
            "solution": f"python3 solve.py && printf {word} > answer.txt",
            "verify": [
                {"unchanged": ["desk.py", "desk.json"]},
                {"file": "answer.txt", "text": word},
            ],
        },
        files=files,
        solution={"solve.py": _SOLVER, "answers.json": json.dumps(answers)},
    )


def _seal(key: bytes, message: str) -> str:
    data = b"desk" + message.encode()
    stream = b"".join(hashlib.sha256(key + bytes([n])).digest() for n in range(len(data) // 32 + 1))
    return bytes(a ^ b for a, b in zip(data, stream, strict=False)).hex()


def _facts(steps: int) -> Iterator[_Exchange]:
    """Codes of places, corrected now and then, and asked for."""
    chooser, known = random.Random(f"facts {steps}"), dict[str, str]()
    for number in range(steps):
        code = f"{chooser.choice(_FRUIT.split())}-{chooser.randrange(10, 100)}"
        new = [place for place in _THINGS.split() if place not in known]
        kind = chooser.random()
        if new and (number < 3 or kind < 0.25):
            place = chooser.choice(new)
            known[place] = code
            yield f"The code of the {place} is {code}.", "ok", "", ""
        elif kind < 0.4:
            place = chooser.choice(sorted(known))
            known[place] = code
            yield f"The code of the {place} is no longer what I said: it is {code}.", "ok", "", ""
        elif kind < 0.7:
            place = chooser.choice(sorted(known))
            yield f"What is the code of the {place}?", known[place], "", ""
        else:
            first, second = chooser.randrange(11, 99), chooser.randrange(11, 99)
            yield f"What is {first} plus {second}?", str(first + second), "", ""


def _orders(steps: int) -> Iterator[_Exchange]:
    """Orders from towns, and questions about how many there were so far."""
    chooser, counts = random.Random(f"orders {steps}"), Counter[str]()
    for number in range(steps):
        town = chooser.choice(_TOWNS.split())
        if number < 5 or chooser.random() < 0.7:
            pieces = chooser.randrange(2, 30)
            counts[town] += 1
            yield f"An order from {town}: {pieces} pieces.", "ok", "", ""
        else:
            question = f"How many orders came from {town} so far? Answer with the number."
            yield question, str(counts[town]), "", ""


def _settings(steps: int) -> Iterator[_Exchange]:
    """Files to change, by rules that hold from then on."""
    chooser, unit = random.Random(f"settings {steps}"), "pieces"
    for number in range(steps):
        if number % 12 == 0:
            unit = chooser.choice(["pieces", "boxes", "crates", "pallets"])
            yield f"From now on, limits are in {unit}: write limits like 7 {unit}.", "ok", "", ""
        else:
            path = f"areas/{chooser.choice(_THINGS.split())}.txt"
            limit = chooser.randrange(10, 500)
            message = (
                f"Set the limit to {limit}, with its unit, as the only line `limit = …` of {path}"
            )
            yield message, "ok", path, f"limit = {limit} {unit}\n"
