"""Files are replaced whole or not at all, and are private."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.atomic_write import atomic_stream, atomic_write


def test_a_file_is_replaced_by_a_private_one(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("old")
    atomic_write(path, "nöw \udc80\n", sync=True)
    assert path.read_bytes() == "nöw \\udc80\n".encode()
    assert path.stat().st_mode & 0o777 == 0o600
    atomic_write(path, b"\x00\xff", mode=0o644)
    assert path.read_bytes() == b"\x00\xff"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_stream(path) as file:
            file.write("half of it")
            file.flush()
            raise ValueError("half")

    path = tmp_path / "notes.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="half"):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_missing_directory_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "missing" / "notes.txt", "text")


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("untouched")
    link.symlink_to(target)
    atomic_write(link, "new")
    assert target.read_text() == "untouched"
    assert not link.is_symlink()
    assert link.read_text() == "new"
