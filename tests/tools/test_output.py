"""Bounding output: head and tail are kept, and the whole is saved privately."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.tools.files.diffs import unified
from laguna_agent.tools.output import bound, save_output
from support.toolbox import Toolbox


def test_short_text_is_unchanged(box: Toolbox) -> None:
    assert bound(box.context, "a\nb").text == "a\nb"
    assert not (box.context.state_dir / "output").exists()


def test_head_and_tail_are_kept_at_line_ends(box: Toolbox) -> None:
    text = "".join(f"line {n}\n" for n in range(1000))
    bounded = bound(box.context, text, limit=200)
    assert bounded.truncated
    head, middle, tail = bounded.text.partition("[… ")
    assert text.startswith(head)
    assert head.endswith("\n")
    left_out, _, end = (middle + tail).partition("]\n")
    assert text.endswith(end)
    assert end.startswith("line ")
    count = 1000 - head.count("\n") - end.count("\n")
    assert left_out == f"[… {count} lines left out; all of it: read output:1"
    assert bounded.file is not None
    assert bounded.file.read_text() == text


def test_single_long_line_is_cut(box: Toolbox) -> None:
    bounded = bound(box.context, "x" * 100_000, limit=1_000)
    assert len(bounded.text) < 1_200
    assert "99,000 chars" in bounded.text


def test_planted_link_is_not_written_through(box: Toolbox, tmp_path: Path) -> None:
    directory = box.context.state_dir / "output"
    directory.mkdir()
    (tmp_path / "canary").write_text("untouched")
    (directory / "1").symlink_to(tmp_path / "canary")
    name, path = save_output(box.context, b"secret")
    assert name == "output:2"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "canary").read_text() == "untouched"


def test_unwritable_state_directory_does_not_lose_the_result(box: Toolbox) -> None:
    box.context.state_dir.rmdir()
    box.context.state_dir.write_text("a file where the directory should be")
    bounded = bound(box.context, "x\n" * 10_000, limit=100)
    assert "saving all of it failed" in bounded.text
    assert bounded.file is None


@given(st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=14), st.data())
def test_diff_says_how_to_get_from_old_to_new(lines: list[str], data: st.DataObject) -> None:
    """Applied by hand, the hunks turn the old text into the new one."""
    old = "\n".join(lines)
    new = data.draw(st.sampled_from(["\n", ""])).join([old, data.draw(st.sampled_from(["", "z"]))])
    diff = unified(old, new, context=1)
    assert bool(diff) == (old != new)
    result, position = [], 0
    source = old.split("\n")
    for line in diff.split("\n")[:-1]:
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            upto = int(start) - (1 if count != "0" else 0)
            result += source[position:upto]
            position = upto
        elif line.startswith("\\"):
            continue
        else:
            if line[0] in " -":
                assert source[position] == line[1:]
                position += 1
            if line[0] in " +":
                result.append(line[1:])
    result += source[position:]
    assert "\n".join(result).rstrip("\n") == new.rstrip("\n")
