"""Tasks to work something out from a data file: told from others, and done by a script."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.context.first_message import ShownFile
from laguna_agent.agent.data_task import data_task, script
from laguna_agent.events import Reply, ToolFinished
from laguna_agent.prompts.loader.pack import load_pack
from support.candidates import Writer
from support.packs import write_files
from support.scripted import call, end_of, take

Opened = Callable[..., Any]
TASK = "Write the sum of the amounts of each customer in orders.csv to totals.json."
DONE = call("done", summary="Done.")
ADDS = """\
totals = {}
for row in rows:
    totals[row['customer']] = totals.get(row['customer'], 0) + int(row['amount'])
json.dump(totals, open('totals.json', 'w'))
```"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    rows = "customer,amount\n" + "".join(f"{'ab'[n % 2]},{n}\n" for n in range(400))
    return write_files(tmp_path / "repo", {"orders.csv": rows, "tool.py": "print(1)\n"})


async def done(opened: Opened, answer: str, *script: Reply, task: str = TASK) -> Any:
    session, conversation = await opened([*script, DONE, DONE], pack="small", conversation=Writer)
    conversation.bodies = [[answer]]
    return await take(session, task), conversation


async def test_a_script_works_it_out_and_the_turn_ends(opened: Opened, workspace: Path) -> None:
    events, conversation = await done(opened, ADDS)
    end = end_of(events)
    assert (end.error, end.status, end.summary) == (
        None,
        "done",
        "Wrote totals.json with a script.",
    )
    assert end.files_changed == ["totals.json"]
    totals = json.loads((workspace / "totals.json").read_text())
    assert totals == {"a": sum(range(0, 400, 2)), "b": sum(range(1, 400, 2))}
    [completion] = conversation.completed
    assert completion.begins.endswith("    rows = list(csv.DictReader(file))\n")
    assert "orders.csv begins so:\n```\ncustomer,amount\na,0\nb,1\n" in completion.message
    assert "399" not in completion.message
    assert conversation.played == 0


async def test_the_model_goes_on_where_the_script_fails(opened: Opened, workspace: Path) -> None:
    write = call("write", path="totals.json", content="{}\n")
    events, conversation = await done(opened, "raise SystemExit('no')\n```", write)
    assert end_of(events).status == "done"
    assert len(conversation.completed) == 1
    assert conversation.played >= 2
    [shell] = [e for e in events if isinstance(e, ToolFinished) and e.name == "shell"]
    assert shell.exit_code == 1
    entries = [getattr(entry, "content", "") for entry in conversation.entries]
    assert not any("no" in entry.split() for entry in entries), "nothing of it is in the prompt"


async def test_the_model_goes_on_where_no_script_comes(opened: Opened, workspace: Path) -> None:
    write = call("write", path="totals.json", content="{}\n")
    events, _ = await done(opened, "import csv", write)
    assert (workspace / "totals.json").read_text() == "{}\n"
    assert end_of(events).status == "done"
    replies = [event for event in events if isinstance(event, Reply)]
    written = sum(reply.usage.completion_tokens for reply in replies)
    assert end_of(events).usage.completion_tokens == written + 20, "what was cut is counted too"


FILES = [ShownFile("orders.csv", "a,1\n"), ShownFile("b.json", "{}"), ShownFile("tool.py", "")]


@pytest.mark.parametrize(
    ("message", "named", "made"),
    [
        (TASK, ["orders.csv"], ["totals.json"]),
        ("Write all distinct names of orders.csv, sorted, to n.txt.", ["orders.csv"], ["n.txt"]),
        ("Count the keys of b.json; the number goes to n.txt.", ["b.json"], ["n.txt"]),
    ],
)
def test_what_is_to_be_worked_out_is_known(message: str, named: list[str], made: list[str]) -> None:
    found = data_task(message, FILES, named, made)
    assert found is not None
    assert (found.target, [file.path for file in found.files]) == (made[0], named)


@pytest.mark.parametrize(
    ("message", "named", "made"),
    [
        ("Write a script that sums orders.csv into out.json.", ["orders.csv"], ["out.json"]),
        ("Write the sum of orders.csv to sum.py.", ["orders.csv"], ["sum.py"]),
        ("Write the number of functions of tool.py to n.txt.", ["tool.py"], ["n.txt"]),
        ("Write the total of orders.csv and b.csv to n.txt.", ["orders.csv", "b.csv"], ["n.txt"]),
        ("Copy orders.csv to c.csv.", ["orders.csv"], ["c.csv"]),
        ("Write the sum of orders.csv to b.json.", ["orders.csv", "b.json"], []),
        ("Write the sums of orders.csv to a.txt and c.txt.", ["orders.csv"], ["a.txt", "c.txt"]),
        ("Write the average of 3 and 4 to n.txt.", [], ["n.txt"]),
    ],
)
def test_other_tasks_are_left_alone(message: str, named: list[str], made: list[str]) -> None:
    assert data_task(message, FILES, named, made) is None


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("a.csv", "name,amount\n", "    rows = list(csv.DictReader(file))"),
        ("a.csv", "1,2\n", "    rows = list(csv.reader(file))"),
        ("a.tsv", "name\tamount\n", '    rows = list(csv.DictReader(file, delimiter="\\t"))'),
        ("a.json", "{}", "    data = json.load(file)"),
        ("a.jsonl", "{}", "    rows = [json.loads(line) for line in file if line.strip()]"),
        ("it's.log", "x", """with open("it's.log") as file:"""),
    ],
)
def test_a_script_begins_by_reading_the_file(path: str, text: str, line: str) -> None:
    task = data_task("Count it", [ShownFile(path, text)], [path], ["n.txt"])
    assert task is not None
    completion = script(load_pack("small", model_name="starter"), task, "Count it")
    assert line in completion.begins.split("\n")
    ast.parse(completion.begins.partition("\n")[2])
