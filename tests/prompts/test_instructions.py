"""AGENTS.md, nested and bounded."""

from __future__ import annotations

from pathlib import Path

from laguna_agent.agent.instructions import Instructions
from support.packs import write_files


def instructions(root: Path, cwd: str = ".", **options: object) -> Instructions:
    return Instructions(root=root, cwd=root / cwd, **options)  # type: ignore[arg-type] # options


def test_the_nearest_file_comes_last_with_a_note_that_it_wins(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {"AGENTS.md": "root rules\n", "a/AGENTS.md": "a rules", "a/b/x.py": "", "c/AGENTS.md": "c"},
    )
    text = instructions(tmp_path, "a/b").for_first_message()
    assert text == (
        "Where these disagree, the last one wins.\n"
        "[AGENTS.md]\nroot rules\n[AGENTS.md for a]\na rules"
    )
    assert instructions(tmp_path).for_first_message() == "[AGENTS.md]\nroot rules"


def test_claude_md_is_read_only_where_there_is_no_agents_md(tmp_path: Path) -> None:
    write_files(tmp_path, {"CLAUDE.md": "old", "sub/CLAUDE.md": "sub", "sub/AGENTS.md": "new"})
    text = instructions(tmp_path, "sub").for_first_message()
    assert "[CLAUDE.md]\nold" in text
    assert "[AGENTS.md for sub]\nnew" in text
    assert "\nsub" not in text


def test_a_deeper_file_is_added_once_when_the_agent_works_there(tmp_path: Path) -> None:
    write_files(tmp_path, {"AGENTS.md": "root", "lib/AGENTS.md": "lib", "lib/deep/x.py": ""})
    found = instructions(tmp_path)
    found.for_first_message()
    assert found.near(tmp_path / "lib/deep/x.py") == "[AGENTS.md for lib]\nlib"
    assert found.near(tmp_path / "lib/deep/x.py") == ""
    assert found.near(tmp_path / "lib/y.py") == ""


def test_long_instructions_are_cut_at_a_line_with_a_notice(tmp_path: Path) -> None:
    lines = "".join(f"rule {n}\n" for n in range(1000))
    write_files(tmp_path, {"AGENTS.md": lines, "a/AGENTS.md": "near " * 30})
    found = instructions(tmp_path, "a", limit=500)
    text = found.for_first_message()
    assert "near near" in text, "the nearest is served first"
    assert len(text) < 700
    shown = text.partition("[AGENTS.md]\n")[2].partition("\n[…")[0]
    assert lines.startswith(shown + "\n")
    assert "[… cut; the rest is in AGENTS.md]" in text
    [notice] = found.notices
    assert notice.level == "warning"
    assert "8,889 characters" in notice.text


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "AGENTS.md").open("wb") as stream:
        stream.write(b"first\n")
        stream.truncate(3 << 30)
    assert "first" in instructions(tmp_path, limit=100).for_first_message()


def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path) -> None:
    write_files(tmp_path, {"secret": "secret", "repo/x": ""})
    (tmp_path / "repo/AGENTS.md").symlink_to("../secret")
    assert instructions(tmp_path / "repo").for_first_message() == ""
    write_files(tmp_path, {"repo/docs/agents.md": "inside"})
    (tmp_path / "repo/AGENTS.md").unlink()
    (tmp_path / "repo/AGENTS.md").symlink_to("docs/agents.md")
    assert "inside" in instructions(tmp_path / "repo").for_first_message()


def test_an_untrusted_repository_is_not_read_and_the_users_own_file_is(tmp_path: Path) -> None:
    write_files(tmp_path, {"repo/AGENTS.md": "theirs", "home/AGENTS.md": "mine"})
    found = instructions(tmp_path / "repo", trusted=False, user=tmp_path / "home")
    assert found.for_first_message().endswith("mine")
    assert "theirs" not in found.for_first_message() + found.near(tmp_path / "repo/x")
    both = instructions(tmp_path / "repo", user=tmp_path / "home").for_first_message()
    assert both.index("mine") < both.index("theirs")


def test_bytes_that_are_not_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_bytes(b"\xef\xbb\xbfcaf\xe9\n")
    assert instructions(tmp_path).for_first_message() == "[AGENTS.md]\ncaf\N{REPLACEMENT CHARACTER}"
