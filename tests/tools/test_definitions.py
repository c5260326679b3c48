"""The worker that lists a repository's definitions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from laguna_agent.tools.code import definitions
from laguna_agent.tools.code.definitions import batches, changed_last


def test_the_latest_change_is_read_first_and_skipped_files_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions, "MAX_FILES", 2)
    monkeypatch.setattr(definitions, "_BATCH", 1)
    for age, name in enumerate(["new.py", "older.py", "oldest.py"]):
        (tmp_path / name).write_text(f"def in_{name[:-3]}(): ...\n")
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "link.py").symlink_to("new.py")
    paths = changed_last(
        tmp_path, ["oldest.py", "older.py", "new.py", "notes.txt", "link.py", "gone.py"], 0
    )
    assert paths == ["new.py", "older.py", "oldest.py"]
    found = list(batches(tmp_path, tmp_path / "cache", paths))
    assert [(batch["done"], batch["total"], batch["left_out"]) for batch in found] == [
        (0, 2, 1), (1, 2, 1), (2, 2, 1),
    ]  # fmt: skip
    assert [batch["found"] for batch in found] == [
        [], [("in_new", "new.py:1")], [("in_older", "older.py:1")],
    ]  # fmt: skip


def test_only_files_changed_since_are_read(tmp_path: Path) -> None:
    for name, time in (("a.py", 100), ("b.py", 200)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    assert changed_last(tmp_path, ["a.py", "b.py"], 150) == ["b.py"]
