"""AGENTS.md, nested and bounded, and skills."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.agent.instructions import Instructions
from laguna_agent.agent.skills import (
    SkillReader,
    find_skills,
    list_skills,
    read_skill,
    skill_prompt,
)
from laguna_agent.tools.base import ToolContext
from laguna_agent.tools.registry import builtin_tools, validate_arguments
from support.packs import write_files

SKILL = """---
name: release
description: Cut a release. Use when asked to publish a version.
license: MIT
metadata:
  author: me
---

# How

Bump the version, then tag.
"""


def instructions(root: Path, cwd: str = ".", **options: object) -> Instructions:
    return Instructions(root=root, cwd=root / cwd, **options)  # type: ignore[arg-type] # options


def test_the_nearest_file_stands_last_and_the_reader_is_told_that_it_wins(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {"AGENTS.md": "root rules\n", "a/AGENTS.md": "a rules", "a/b/x.py": "", "c/AGENTS.md": "c"},
    )
    text = instructions(tmp_path, "a/b").opening()
    assert text == (
        "Where these disagree, the last one wins.\n"
        "[AGENTS.md]\nroot rules\n[AGENTS.md for a]\na rules"
    )
    assert instructions(tmp_path).opening() == "[AGENTS.md]\nroot rules"


def test_claude_md_is_read_only_where_there_is_no_agents_md(tmp_path: Path) -> None:
    write_files(tmp_path, {"CLAUDE.md": "old", "sub/CLAUDE.md": "sub", "sub/AGENTS.md": "new"})
    text = instructions(tmp_path, "sub").opening()
    assert "[CLAUDE.md]\nold" in text
    assert "[AGENTS.md for sub]\nnew" in text
    assert "\nsub" not in text


def test_a_deeper_file_is_told_once_when_the_agent_works_there(tmp_path: Path) -> None:
    write_files(tmp_path, {"AGENTS.md": "root", "lib/AGENTS.md": "lib", "lib/deep/x.py": ""})
    found = instructions(tmp_path)
    found.opening()
    assert found.near(tmp_path / "lib/deep/x.py") == "[AGENTS.md for lib]\nlib"
    assert found.near(tmp_path / "lib/deep/x.py") == ""
    assert found.near(tmp_path / "lib/y.py") == ""


def test_what_is_too_long_is_cut_at_a_line_and_said(tmp_path: Path) -> None:
    lines = "".join(f"rule {n}\n" for n in range(1000))
    write_files(tmp_path, {"AGENTS.md": lines, "a/AGENTS.md": "near " * 30})
    found = instructions(tmp_path, "a", limit=500)
    text = found.opening()
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
    assert "first" in instructions(tmp_path, limit=100).opening()


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    write_files(tmp_path, {"secret": "secret", "repo/x": ""})
    (tmp_path / "repo/AGENTS.md").symlink_to("../secret")
    assert instructions(tmp_path / "repo").opening() == ""
    write_files(tmp_path, {"repo/docs/agents.md": "inside"})
    (tmp_path / "repo/AGENTS.md").unlink()
    (tmp_path / "repo/AGENTS.md").symlink_to("docs/agents.md")
    assert "inside" in instructions(tmp_path / "repo").opening()


def test_an_untrusted_repository_is_not_read_and_the_users_own_file_is(tmp_path: Path) -> None:
    write_files(tmp_path, {"repo/AGENTS.md": "theirs", "home/AGENTS.md": "mine"})
    found = instructions(tmp_path / "repo", trusted=False, user=tmp_path / "home")
    assert found.opening().endswith("mine")
    assert "theirs" not in found.opening() + found.near(tmp_path / "repo/x")
    both = instructions(tmp_path / "repo", user=tmp_path / "home").opening()
    assert both.index("mine") < both.index("theirs")


def test_bytes_that_are_not_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_bytes(b"\xef\xbb\xbfcaf\xe9\n")
    assert instructions(tmp_path).opening() == "[AGENTS.md]\ncaf\N{REPLACEMENT CHARACTER}"


# --- skills -----------------------------------------------------------------------------------


def test_a_skill_costs_one_line_until_it_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, {"release/SKILL.md": SKILL})
    skills, notices = find_skills([tmp_path, tmp_path / "none"])
    assert notices == []
    assert list_skills(skills) == ("- release: Cut a release. Use when asked to publish a version.")
    assert skills[0].body() == "# How\n\nBump the version, then tag."
    assert skill_prompt(skills[0], "1.2").endswith("then tag.\n\n1.2")


def test_the_first_folder_wins(tmp_path: Path) -> None:
    other = SKILL.replace("Cut a release", "Another")
    write_files(tmp_path, {"a/release/SKILL.md": SKILL, "b/release/SKILL.md": other})
    [skill], _ = find_skills([tmp_path / "a", tmp_path / "b"])
    assert skill.description.startswith("Cut")


@pytest.mark.parametrize(
    ("folder", "text", "says"),
    [
        ("x", "no front matter", "does not begin with front matter"),
        ("x", "---\nname: x\n---\n", "needs `name` and `description`"),
        ("x", "---\nname: x\ndescription: a: b: c\n---\n", "is not YAML (line 3)"),
        ("x", "---\nname: X Y\ndescription: d\n---\n", "no skill name"),
        ("x", "---\nname: y\ndescription: d\n---\n", "called `y` and lies in a folder called `x`"),
        ("x", f"---\nname: x\ndescription: {'d' * 1025}\n---\n", "more than 1024"),
        ("x", "---\n- a list\n---\n", "needs `name` and `description`"),
    ],
)
def test_a_skill_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, folder: str, text: str, says: str
) -> None:
    write_files(tmp_path, {f"{folder}/SKILL.md": text, "release/SKILL.md": SKILL})
    skills, notices = find_skills([tmp_path])
    assert [skill.name for skill in skills] == ["release"]
    assert [notice.level for notice in notices] == ["warning"]
    assert says in notices[0].text


def test_descriptions_may_be_folded_or_quoted(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "a/SKILL.md": "---\r\nname: a\r\ndescription: >\r\n  one\r\n  two\r\n---\r\nbody\r\n",
            "b/SKILL.md": '---\nname: b\ndescription: "x: y"\n---\nbody',
        },
    )
    skills, _ = find_skills([tmp_path])
    assert [skill.description for skill in skills] == ["one two", "x: y"]
    assert [skill.body() for skill in skills] == ["body", "body"]


async def test_the_read_tool_reads_skills_and_files_alike(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {"s/release/SKILL.md": SKILL, "s/release/notes/how.md": "more", "w/a.py": "x = 1\n"},
    )
    (tmp_path / "state").mkdir()
    context = ToolContext(workspace=tmp_path / "w", state_dir=tmp_path / "state")
    skills, _ = find_skills([tmp_path / "s"])
    tool = SkillReader(builtin_tools("read")["read"], skills)

    async def read(path: str) -> tuple[bool, str]:
        arguments = validate_arguments(tool, {"path": path})
        if path.startswith("skill:"):
            assert tool.actions(arguments, context) == []
        result = await tool.run(arguments, context)
        return result.ok, result.content

    assert await read("skill:release") == (
        True,
        "# How\n\nBump the version, then tag.\n\nFiles (read skill:release/FILE): notes/how.md",
    )
    assert await read("skill:release/notes/how.md") == (True, "more")
    ok, content = await read("a.py")
    assert ok
    assert "x = 1" in content
    assert await read("skill:relase") == (False, "There is no skill relase. Skills: release.")
    for path in ("skill:release/../../w/a.py", "skill:release//etc/passwd"):
        ok, content = await read(path)
        assert not ok
        assert "lies outside" in content


def test_a_skill_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    write_files(tmp_path, {"release/SKILL.md": SKILL + "x" * (300 << 10)})
    skills, notices = find_skills([tmp_path])
    assert skills == []
    assert "larger than" in notices[0].text
    with pytest.raises(ValueError, match="larger"):
        read_skill(tmp_path / "release/SKILL.md")
