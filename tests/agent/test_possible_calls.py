"""What a small model may call in its next reply."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.context.first_message import ShownFile
from laguna_agent.agent.context.git_task import (
    asks_for_edits,
    git_is_done,
    git_left,
    is_unasked,
)
from laguna_agent.agent.context.move_task import files_to_remove
from laguna_agent.agent.context.task_kind import (
    TaskKind,
    answer_file,
    first_command,
    only_renames,
    renamed,
    task_kind,
)
from laguna_agent.events import Reply, SystemNote
from support.scripted import call, end_of, take

Opened = Callable[..., Any]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "code.py").write_text("def two():\n    return 1\n")
    (root / "long.py").write_text("x = 1\n" * 4_000)
    return root


async def test_what_was_seen_as_it_is_cannot_be_read_again(opened: Opened, workspace: Path) -> None:
    script = [
        call("shell", command="echo '# more' >> code.py"),
        call("read", path="code.py"),
        call("done", summary="read"),
    ]
    session, conversation = await opened(script, pack="small")
    await take(session, "Which functions does code.py have?")
    first, changed, after = (set(options.files["read"]) for options in conversation.options[:3])
    assert "code.py" not in first, "it is shown in the first message"
    assert "code.py" in changed
    assert "code.py" not in after
    assert "long.py" in first & changed & after


async def test_the_text_of_a_file_is_known_as_an_edit_compares_it(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "long.py").unlink()
    (workspace / "dos.py").write_bytes(b"\xef\xbb\xbfx = 1\r\ny = 2\r\n")
    script = [call("read", path="dos.py"), call("done", summary="read")]
    session, conversation = await opened(script, pack="small")
    await take(session, "Which names does dos.py have?")
    for options in conversation.options:
        assert options.files["edit"]["dos.py"] in ("", "x = 1\ny = 2\n")
    assert conversation.options[-1].files["edit"]["dos.py"]


async def test_done_is_offered_once_something_changed(opened: Opened, workspace: Path) -> None:
    script = [
        call("shell", command="ls"),
        call("write", path="code.py", content="def two():\n    return 2\n"),
        call("done", summary="changed"),
    ]
    session, conversation = await opened(script, pack="small")
    events = await take(session, "Let two() return one more.")
    assert end_of(events).status == "done"
    offered = ["done" in (options.allowed or ()) for options in conversation.options]
    assert offered == [False, False, True]


async def test_an_answer_is_written_where_the_task_wants_it(
    opened: Opened, workspace: Path
) -> None:
    script = [call("write", path="n.txt", content="two\n"), call("done", summary="two")]
    session, conversation = await opened(script, pack="small")
    await take(session, "Which function returns 1? Write its name to n.txt, nothing else.")
    assert list(conversation.options[0].files["write"]) == ["n.txt"]


async def test_a_rename_is_one_command(opened: Opened, workspace: Path) -> None:
    (workspace / "use.py").write_text("from code import two\n\ntwo_more = two()\n")
    session, conversation = await opened([call("done", summary="so")], pack="small")
    await take(session, "Rename the function `two` to `pair` in all files.")
    assert conversation.played == 1
    text = (workspace / "use.py").read_text()
    assert text == "from code import pair\n\ntwo_more = pair()\n"
    assert (workspace / "code.py").read_text().startswith("def pair()")


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("Rename the class Cart to Basket everywhere.", ("Cart", "Basket")),
        ("Please rename `calc()` to `net_price()`.", ("calc", "net_price")),
        (
            "Rename `old_name` everywhere to `new_name`, and run the tests.",
            ("old_name", "new_name"),
        ),
        ("Rename the function calc in all files to net.", None),
        ("Rename `a.py` to `b.py`.", None),
        ("Rename notes.txt to ideas.txt", None),
        ("Rename name to title", None),
        ("Rename the parameter `n` of area to `width`.", None),
        ("Rename the branch main to trunk.", None),
        ("Rename `two` to `two.py`.", None),
    ],
)
def test_only_names_in_code_are_renamed_everywhere(
    task: str, names: tuple[str, str] | None
) -> None:
    assert renamed(task) == names
    assert (task_kind(task) == "rename") == (names is not None)


@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("Count the lines that contain ERROR and write the number to errors.txt.", "errors.txt"),
        (
            "Which is the largest? Write its name into the file out/largest.txt, please",
            "out/largest.txt",
        ),
        ("List the functions in code.py", None),
        ("Find the bug. Then write a test in test_a.py", None),
        ("How many? Save it in `count.md`.", "count.md"),
    ],
)
def test_the_file_of_an_answer_is_the_one_that_the_task_names(task: str, file: str | None) -> None:
    assert answer_file(task) == file


async def test_after_a_rename_only_done_is_left(opened: Opened, workspace: Path) -> None:
    script = [call("shell", command="sed -i s/two/pair/ code.py"), call("done", summary="so")]
    session, conversation = await opened(script, pack="small")
    events = await take(session, "Rename the function `two` to `pair` in all files.")
    assert end_of(events).status == "done"
    assert conversation.options[1].allowed == ["done"]
    session, conversation = await opened(script, pack="small")
    await take(
        session, "Rename the function `pair` to `two`. Then add a function three() that returns 3."
    )
    assert "write" in (conversation.options[1].allowed or ())


async def test_a_question_may_be_answered_at_once(opened: Opened, workspace: Path) -> None:
    session, conversation = await opened([call("done", summary="one")], pack="small")
    await take(session, "What does two() return?")
    assert "done" in (conversation.options[0].allowed or ())


def streamed(path: str, content: str) -> Reply:
    """A reply that writes a file, as it streams."""
    reply = call("write", path=path, content=content)
    reply.tool_calls[0].raw = f"### write {path}\n```\n{content}```\n"
    return reply


async def test_what_was_just_written_is_not_written_again(opened: Opened, workspace: Path) -> None:
    again = "def two():\n    return 2  # as asked\n"
    script = [
        streamed("code.py", "def two():\n    return 2\n"),
        streamed("code.py", again),
        call("done", summary="2"),
    ]
    session, conversation = await opened(script, pack="small")
    events = await take(session, "Let two() return one more.")
    assert end_of(events).status == "done"
    kept, ended, done = (event for event in events if isinstance(event, Reply))
    assert (kept.discarded, ended.discarded, done.discarded) == (False, True, False)
    assert 0 < ended.usage.completion_tokens < 10, "it is ended at its first line"
    assert "write" not in (conversation.options[-1].allowed or ())
    assert (workspace / "code.py").read_text() == "def two():\n    return 2\n"


async def test_after_one_file_the_others_that_the_task_names_are_left(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "use.py").write_text("import code\n")
    again = streamed("code.py", "def two():\n    return 2\n")
    used = "import code as c\n\nc.two()\n"
    script = [again, again, call("write", path="use.py", content=used), again]
    session, conversation = await opened([*script, call("done", summary="2")], pack="small")
    await take(session, "Let two() in code.py return 2, and let use.py import code as c.")
    assert list(conversation.options[1].files["write"]) == ["use.py"]
    assert conversation.options[1].allowed == ["write", "done"]
    assert conversation.options[-1].allowed == ["done"]
    assert (workspace / "use.py").read_text() == used


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(call("shell", command="exit 3"), id="a command that fails"),
        pytest.param(call("read", path="long.py"), id="another file"),
    ],
)
async def test_after_something_new_a_file_is_written_again(
    opened: Opened, workspace: Path, between: Reply
) -> None:
    again = "def two():\n    return 1 + 1\n"
    first = streamed("code.py", "def two():\n    return 2\n")
    script = [first, between, streamed("code.py", again), call("done", summary="2")]
    session, _ = await opened(script, pack="small")
    await take(session, "Let two() return one more.")
    assert (workspace / "code.py").read_text() == again


async def test_one_definition_after_the_other_is_written(opened: Opened, workspace: Path) -> None:
    (workspace / "long.py").write_text("def a():\n    return 1\n\n\ndef b():\n    return 1\n")
    script = [
        streamed("long.py", "def a():\n    return 2\n"),
        streamed("long.py", "def b():\n    return 2\n"),
        call("done", summary="2"),
    ]
    session, _ = await opened(script, pack="small")
    await take(session, "Let a and b in long.py return 2.")
    assert (workspace / "long.py").read_text().count("return 2") == 2


async def test_after_a_copy_of_a_file_another_one_is_written(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "use.py").write_text("import code\n")
    script = [
        call("write", path="use.py", content="import code\n"),
        call("write", path="code.py", content="def two():\n    return 2\n"),
        call("done", summary="2"),
    ]
    session, conversation = await opened(script, pack="small")
    await take(session, "Let two() in code.py return 2.")
    assert sorted(conversation.options[1].files["write"]) == ["code.py", "long.py"]
    assert "write" in (conversation.options[1].allowed or ())


async def test_what_is_to_be_fixed_is_in_a_file_that_is_there(
    opened: Opened, workspace: Path
) -> None:
    session, conversation = await opened([call("done", summary="")], pack="small")
    await take(session, "two() in code.py returns a wrong number. Fix it.")
    assert sorted(conversation.options[0].files["write"]) == ["code.py", "long.py"]


async def test_the_lines_that_a_question_names_are_shown(opened: Opened, workspace: Path) -> None:
    (workspace / "use.py").write_text(
        'import os\n\n\ndef port():\n    # PORT is read\n    return os.environ["PORT"]\n'
    )
    session, conversation = await opened([call("done", summary="port")], pack="small")
    await take(session, "Which function reads the environment variable PORT?")
    assert '\nuse.py, line 6, def port(): return os.environ["PORT"]\n' in conversation.prompt
    assert "line 5" not in conversation.prompt, "a comment reads nothing"
    assert "read" not in (conversation.options[0].allowed or ())


async def test_when_git_did_what_was_asked_only_done_is_left(
    opened: Opened, workspace: Path
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=workspace, check=True)
    script = [
        call("shell", command="git add code.py"),
        call("shell", command="git -c user.name=a -c user.email=a@b.c commit -qm 'Add code'"),
        call("done", summary="so"),
    ]
    session, conversation = await opened(script, pack="small")
    await take(session, "Commit code.py with the message `Add code`.")
    assert "shell" in (conversation.options[1].allowed or ())
    assert conversation.options[2].allowed == ["done"]


@pytest.mark.parametrize(
    ("task", "commands", "done"),
    [
        ("Commit it with the message `Add a. And push it`.", ["git commit -m x"], True),
        ("Commit only a.txt. Leave b.txt as it is.", ["git add a.txt && git commit -m x"], True),
        ("Commit a.txt, then write a changelog.", ["git commit -m x"], False),
        ("Commit everything and push it.", ["git commit -m x"], False),
        ("Commit a.txt.", ["git add a.txt"], False),
        ("Commit a.txt.", ["git commit -m x", "git status"], False),
        ("Commit a.txt, and tag that commit `v2`.", ["git commit -m x"], False),
        ("Commit a.txt, and tag that commit `v2`.", ["git commit -m x", "git tag v2"], True),
        ("Create a branch `b`, fix the typo, and commit it.", ["git checkout -b b"], False),
        (
            "Create a branch `b`, fix the typo, and commit it.",
            ["git switch -c b", "git commit -am x"],
            True,
        ),
        ("Revert the last commit, so that the history keeps it.", ["git revert HEAD"], True),
        ("Merge the branch next.", ["git merge next"], True),
        ("Create a tag v1.0 on HEAD", ["git tag -l"], False),
        ("Create a branch called dev", ["git branch"], False),
        ("Create a branch called dev", ["git branch --show-current"], False),
        ("Create a branch called dev", ["git branch dev"], True),
        ("Commit the changes", ["git commit --dry-run"], False),
        ("Commit the changes", ["git log --format='last commit'"], False),
        ("Commit the changes", ["git add -A && git -c user.name=a commit -m x"], True),
        ("Commit each file separately", ["git commit -m x a.txt"], False),
        ("Revert the last two commits", ["git revert HEAD"], False),
        ("Commit the changes, push", ["git commit -m x"], False),
        ("Commit the changes, merge the branch into main", ["git commit -m x"], False),
        ("Commit the changes and note the hash in HASH.md", ["git commit -m x"], False),
        ("Commit it. The hash should be written to hash.txt.", ["git commit -m x"], False),
    ],
)
def test_what_a_task_asks_of_git_is_known_to_be_done(
    task: str, commands: list[str], done: bool
) -> None:
    assert git_is_done(task, commands) == done


@pytest.mark.parametrize(
    ("task", "commands", "left"),
    [
        ("Correct the typo and commit it.", [], ["commit"]),
        ("Correct the typo, then commit it with the message `commit`.", ["git add -A"], ["commit"]),
        ("Correct the typo and commit it.", ["git add -A && git commit -m typo"], []),
        ("Create a branch `b`, change a.txt, and commit it.", ["git switch -c b"], ["commit"]),
        ("Commit the file and tag the commit `v1`.", ["git commit -m x"], ["tag"]),
        ("Fix the parser and commit hooks.", [], []),
        ("Do not commit anything.", [], []),
        ("What did the last commit change?", [], []),
        ("Add a command `commit` to todo.py.", [], []),
        ("Explain when to commit and tag releases.", [], ["tag"]),
    ],
)
def test_what_git_was_not_asked_to_do_yet_is_known(
    task: str, commands: list[str], left: list[str]
) -> None:
    assert git_left(task, commands) == left


async def test_a_task_to_commit_is_not_done_before_the_commit(
    opened: Opened, workspace: Path
) -> None:
    script = [
        call("write", path="code.py", content="def two():\n    return 2\n"),
        call("shell", command="git add -A && git commit -qm two"),
        call("done", summary="2"),
    ]
    session, conversation = await opened(script, pack="small")
    events = await take(session, "Let two() return one more, and commit it.")
    assert "done" not in (conversation.options[1].allowed or ())
    assert end_of(events).status == "done"
    notes = [e.text for e in events if isinstance(e, SystemNote) and e.reason == "reminder"]
    assert "commit it with ### shell git." in notes[0]


async def test_a_reply_that_repeats_is_drawn_again_with_another_tool(
    opened: Opened, workspace: Path
) -> None:
    same = call("write", path="code.py", content="def two():\n    return 2\n")
    session, conversation = await opened([same, same, call("done", summary="2")], pack="small")
    events = await take(session, "Let two() return one more.")
    assert end_of(events).status == "done"
    assert "write" in (conversation.options[0].allowed or ())
    assert "write" not in (conversation.options[-1].allowed or ())
    assert [event.discarded for event in events if isinstance(event, Reply)] == [False, True, False]


async def test_in_a_large_repository_any_file_may_be_read(opened: Opened, workspace: Path) -> None:
    for number in range(120):
        (workspace / f"file{number}.txt").write_text("x\n")
    session, conversation = await opened([call("done", summary="none")], pack="small")
    await take(session, "What is here?")
    assert conversation.options[0].files == {}


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("A test in test_week.py fails. Fix the bug in week.py.", "fix"),
        ("`python3 names.py` crashes on people.csv.", "fix"),
        ("Commit the new file CHANGES.md with the message `Release 2.0`.", "git"),
        ("Which file calls `normalise`? Write its path to answer.txt.", "answer"),
        ("Write unit tests for `parse` into test_settings.py.", "write"),
        ("Add a function `chunks(items, size)` that returns lists.", "change"),
        ("Rename the class `Usr` to `User` in all files.", "rename"),
        ("Add an option --branch to deploy.py", "change"),
        ("", "answer"),
    ],
)
def test_the_kind_of_a_task_is_told_from_its_words(task: str, kind: TaskKind) -> None:
    assert task_kind(task) == kind


def test_a_task_whose_check_fails_is_a_fix() -> None:
    assert task_kind("Add a flag.", check_fails=True) == "fix"


async def test_a_command_that_a_task_begins_with_is_run_first(
    opened: Opened, workspace: Path
) -> None:
    script = [
        call("write", path="n.txt", content="1\n"),
        call("done", summary="so"),
    ]
    session, _ = await opened(script, pack="small")
    events = await take(session, "Run `python3 code.py` and write what it prints to n.txt.")
    first, *others = [event for event in events if isinstance(event, Reply)]
    assert first.composed
    assert first.tool_calls[0].arguments == {"command": "python3 code.py"}
    assert not any(reply.composed for reply in others)


@pytest.mark.parametrize(
    ("task", "command"),
    [
        ("Run `make data`, then tell me the size of data.csv", "make data"),
        ("Please execute `./x.sh` and note the exit code.", "./x.sh"),
        ("`python3 x.py` crashes. Run it.", ""),
        ("Create a branch `fix-typo` and commit there.", "git checkout -b fix-typo"),
        ("Make a new branch named v1.2/next.", "git checkout -b v1.2/next"),
        ("Commit it on the branch `next`.", ""),
        ("Create a branch for the new parser and commit", ""),
        ("Create a branch from main", ""),
        ("How do I create a branch in git?", ""),
        ("Do not create a branch named x for this", ""),
        ("Create a branch named release from v1.0", ""),
    ],
)
def test_the_command_that_a_task_begins_with(task: str, command: str) -> None:
    assert first_command(task, "git") == command


@pytest.mark.parametrize(
    ("task", "command"),
    [
        ("commit all my changes (the new file too) with the message: Add soup", "'Add soup'"),
        ('Commit everything with the message "Fix the typo".', "'Fix the typo'"),
        ("Please commit the changes with message 'Speed up'", "'Speed up'"),
        ("Commit what's here with the message: It's done.", "'It'\"'\"'s done'"),
        ('Commit everything with message "It\'s done"', "'It'\"'\"'s done'"),
        ('Commit all changes with message "say `hi`"', "'say `hi`'"),
        ("commit all changes except notes.txt with the message: Foo", None),
        ('Commit all changes with message "x" excluding .env', None),
        ('Commit everything besides notes.txt with message "x"', None),
        ("Commit everything, but as two commits, with the message: Foo", None),
        ("Commit all changes and push them, message: Foo", None),
        ("Commit only what is staged with the message 'Foo'", None),
        ("Commit everything that belongs to the parser with the message 'Foo'", None),
        ('Commit all the changes I made to utils.py with message "x"', None),
        ('Commit all tracked files with message "x"', None),
        ('Commit everything with message "x" if the tests pass', None),
        ('Commit everything after running the linter with message "x"', None),
        ('Commit everything with message "x", signed off', None),
        ("Commit everything with the same message as last time", None),
        ("Commit all changes.", None),
    ],
)
def test_the_command_that_commits_everything(task: str, command: str | None) -> None:
    expected = f"git add -A && git commit -m {command}" if command else ""
    assert first_command(task, "git") == expected
    assert command is None or (git_is_done(task, [expected]) and not asks_for_edits(task))


@pytest.mark.parametrize(
    ("task", "command"),
    [
        ("Merge the branch `spanish` into main.", "git switch main && git merge --no-edit spanish"),
        ("merge fix/a-1 into dev", "git switch dev && git merge --no-edit fix/a-1"),
        (
            "Merge feature into main. There is a conflict in a.py; keep both sides.",
            "git switch main && git merge --no-edit feature",
        ),
        ("Merge the two lists into one", ""),
        ("Merge it.", ""),
        ("Merge feature into main with --no-ff", ""),
        ("Merge feature into main using squash", ""),
        ("Merge feature into main if the tests pass", ""),
        ("Merge feature into main. Rebase it first.", ""),
        ("Merge feature into main, but only the docs", ""),
        ("Merge feature into main? What would conflict?", ""),
        ("Merge main into this branch", ""),
        ("Merge main into the current branch", ""),
        ("Merge the changes into main", ""),
        ("Merge a.py into b.py and commit", ""),
        ("Merge utils.py into helpers.py. Then commit.", ""),
        ("Merge duplicates into one list", ""),
        ("Create a branch named after the ticket in TODO.md", ""),
        ("Create a branch called something sensible.", ""),
        ("Create a branch called hotfix, starting from tag v1.0", ""),
        ("Make a new branch called next with git worktree", ""),
        ("Run `make test`, but first edit the Makefile", ""),
        ("Run `python app.py` in the folder sub", ""),
        ("Run `pytest` after installing dependencies", ""),
        ("Please run `git push` once you have committed", ""),
        ("Run `<command>` and tell", ""),
    ],
)
def test_the_command_with_which_a_merge_begins(task: str, command: str) -> None:
    assert first_command(task, "git") == command


@pytest.mark.parametrize(
    ("command", "asked", "unasked"),
    [
        ("git push origin main", "Fix the typo in a.py", True),
        ("git add a.py && git commit -m x", "Add a flag", True),
        ("cd sub && git add -A; git status", "Add a flag", True),
        ("git push", "Merge next into main", True),
        ("git commit -am x", "Add a flag and commit it.", False),
        ("git commit -am x", "Fix it and check it in", False),
        ("git commit -am x", "Make a PR of that", False),
        ("git commit -am x", "Einchecken bitte, für alle", False),
        ("git status && git diff", "Add a flag", False),
        ("echo git commit", "Add a flag", False),
        ("python3 fix.py && git commit -am x", "Add a flag", False),
        ("cat <<E > run.sh\ngit add .\nE", "Write run.sh", False),
        ("git push", "Release it", False),
        ("git push", "Create a pull request for the branch", False),
        ("git push origin v1", "Tag it v1 and publish the tag", False),
    ],
)
def test_what_nobody_asked_git_to_do(command: str, asked: str, unasked: bool) -> None:
    assert is_unasked(command, asked) is unasked


async def test_what_nobody_asked_git_to_do_is_not_done(opened: Opened, workspace: Path) -> None:
    script = [
        call("write", path="code.py", content="def two():\n    return 2\n"),
        call("shell", command="git add code.py"),
        call("done", summary="changed"),
    ]
    session, conversation = await opened(script, pack="small")
    events = await take(session, "Let two() return one more.")
    assert end_of(events).status == "done"
    replies = [event for event in events if isinstance(event, Reply)]
    assert [reply.discarded for reply in replies] == [False, True, False]
    assert conversation.options[-1].allowed == ["done"]


async def test_a_message_that_speaks_of_it_lets_git_do_it(opened: Opened, workspace: Path) -> None:
    script = [
        call("write", path="code.py", content="def two():\n    return 2\n"),
        call("shell", command="git init -q"),
        call("shell", command="git add code.py"),
        call("done", summary="changed"),
    ]
    session, conversation = await opened(script, pack="small")
    events = await take(session, "Let two() return one more, and stage it.")
    assert end_of(events).status == "done"
    assert conversation.played == 4


async def test_files_that_code_moves_from_are_written_after_the_new_one(
    opened: Opened, workspace: Path
) -> None:
    both = "def cents(n):\n    return n * 100\n"
    (workspace / "long.py").write_text(both)
    (workspace / "code.py").write_text(both + "\n\nprint(cents(2))\n")
    script = [
        call("write", path="money.py", content=both),
        call("write", path="code.py", content="from money import cents\n\nprint(cents(2))\n"),
        call("write", path="long.py", content="from money import cents\n"),
        call("done", summary="moved"),
    ]
    session, conversation = await opened(script, pack="small")
    task = "code.py and long.py both have cents. Move it to a new money.py and use that in both."
    assert end_of(await take(session, task)).status == "done"
    held = [(o.allowed, sorted(o.files.get("write", {}))) for o in conversation.options[1:3]]
    assert held == [(["write"], ["code.py", "long.py"]), (["write"], ["long.py"])]


async def test_a_file_that_is_to_stay_is_not_held_to(opened: Opened, workspace: Path) -> None:
    (workspace / "long.py").write_text("x = 1\n")
    script = [
        call("write", path="money.py", content="x = 1\n"),
        call("done", summary="moved"),
    ]
    session, conversation = await opened(script, pack="small")
    task = "Put a copy of x of long.py into money.py. Don't change long.py."
    assert end_of(await take(session, task)).status == "done"
    assert all(options.allowed != ["write"] for options in conversation.options)


async def test_a_file_that_code_moved_from_is_removed_where_the_task_says_so(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "shapes.py").write_text("SIDE = 1\nRADIUS = 2\n")
    (workspace / "draw.py").write_text("from shapes import RADIUS, SIDE\n")
    script = [
        call("write", path="side.py", content="SIDE = 1\nRADIUS = 2\n"),
        call("write", path="draw.py", content="from side import SIDE\n"),
        call("done", summary="moved"),
    ]
    session, conversation = await opened(script, pack="small")
    task = "Move SIDE from shapes.py to side.py, remove shapes.py, and let draw.py import it there."
    assert end_of(await take(session, task)).status == "done"
    assert sorted(conversation.options[1].files["write"]) == ["draw.py"]
    assert not (workspace / "shapes.py").exists()
    assert conversation.options[-1].allowed == ["done"]


async def test_a_copy_of_a_file_that_code_moves_from_may_be_the_end(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "long.py").write_text("x = 1\n")
    script = [
        call("write", path="money.py", content="x = 1\n"),
        call("write", path="long.py", content="x = 1\n"),
        call("write", path="long.py", content="x = 1\n"),
        call("done", summary="nothing to do there"),
    ]
    session, conversation = await opened(script, pack="small")
    task = "Put the number one of long.py and of code.py into money.py."
    events = await take(session, task)
    assert end_of(events).status == "done"
    assert [e.discarded for e in events if isinstance(e, Reply)][:4] == [False, True, True, False]
    assert conversation.options[3].allowed == ["done"]


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("I do not like calc_tot. Rename the function to total everywhere.", ("calc_tot", "total")),
        ("rename get_usr to get_user", ("get_usr", "get_user")),
        ("rename getUser to fetchUser in the project", ("getUser", "fetchUser")),
        ("The method `run` is badly named: rename it to `start`.", ("run", "start")),
        ("a_b and c_d are bad. Rename it to e.", None),
        ("rename old.py to new.py", None),
        ("rename the file a_b.py to b_c.py", None),
    ],
)
def test_names_that_a_task_gives_to_code(task: str, names: tuple[str, str] | None) -> None:
    assert renamed(task) == names
    assert names is None or only_renames(task)


@pytest.mark.parametrize(
    "task",
    [
        "Don't rename `load` to `read`; add an alias instead.",
        "Rename `load` to `read` only in utils.py, leave the others alone.",
        "Rename `id_of` to `user_id` in the User model",
        "Rename the method `get` to `fetch` in class Cache",
        "Rename the function save to store, but keep a deprecated alias save",
        "Rename the class `Foo` to `Bar`. Keep `Foo` in the CHANGELOG",
        "How do I rename user_name to login in git?",
        "Explain how to rename get_user to fetch_user",
        "The file data_old is a mess, rename it to data_new",
        "There is a directory my_dir; rename it to your_dir",
        "Rename the function parse to parse_line and add a new function parse.",
    ],
)
def test_no_command_renames_where_more_is_said(task: str) -> None:
    assert first_command(task, "rename") == ""


@pytest.mark.parametrize(
    ("task", "removed"),
    [
        ("Move f to b.py, and remove a.py.", True),
        ("Split a.py: f to b.py. Then delete the old file `a.py`", True),
        ("Extract f to b.py, then remove a.py, and let c.py import it there.", True),
        ("Move f to b.py. Remove a.py entries in setup.cfg", False),
        ("Move f to b.py. Remove `a.py` mentions in README.md", False),
        ("Move f to b.py. Make sure nobody can delete a.py.", False),
        ("Move f to b.py. I will delete a.py myself.", False),
        ("Move f to b.py. Did someone delete a.py already? Keep it.", False),
        ("Move f to b.py. Remove a.py only once all callers are gone", False),
        ("Move f to b.py. Do not remove a.py.", False),
        ("Extract cli into b.py. The command delete a.py must work.", False),
        ("Extract `delete a.py` handling into b.py", False),
    ],
)
def test_a_file_is_removed_only_where_the_task_says_so(task: str, removed: bool) -> None:
    file = ShownFile("a.py", "def f():\n    return 1\n")
    assert files_to_remove(task, [file], "def f(): ...\n") == (["a.py"] if removed else [])
    assert files_to_remove(task, [file], "def g(): ...\n") == [], "f would be lost"


async def test_where_nothing_is_to_be_committed_yet_a_file_is_written_first(
    opened: Opened, workspace: Path
) -> None:
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "first"]):
        settings = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *settings, *arguments], cwd=workspace, check=True)
    script = [
        call("write", path="code.py", content="def two():\n    return 2\n"),
        call("shell", command="git -c user.name=a -c user.email=a@b.c commit -qam 'Correct two'"),
        call("done", summary="so"),
    ]
    session, conversation = await opened(script, pack="small")
    await take(
        session, "Create a branch `two`, correct the number in code.py there, and commit it."
    )
    allowed = [options.allowed or [] for options in conversation.options]
    assert allowed[0] == ["write"]
    assert "shell" in allowed[1]
    assert allowed[2] == ["done"]


@pytest.mark.parametrize(
    ("task", "edits"),
    [
        ("Correct the typo in README.md and commit it.", True),
        ("Add dist/ to .gitignore and commit.", True),
        ("Change the commit message of the last commit to 'x'", False),
        ("Update the tag v1.0 to point to HEAD", False),
        ("Edit the last commit's author", False),
        ("Change the default branch from master to main", False),
        ("Commit the change in notes.md.", False),
        ("Set an upstream for the branch", False),
    ],
)
def test_what_a_task_for_git_edits(task: str, edits: bool) -> None:
    assert asks_for_edits(task) == edits


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ("The app crashes because config.json is missing: add one.", "config.json"),
        ("Fix the wrong version in requirements.txt.", "requirements.txt"),
    ],
)
async def test_a_fix_may_need_a_file_that_the_task_names(
    opened: Opened, workspace: Path, task: str, path: str
) -> None:
    if path.endswith(".txt"):
        (workspace / path).write_text("a==1\n")
    session, conversation = await opened([call("done", summary="")], pack="small")
    await take(session, task)
    assert path in conversation.options[0].files["write"]


async def test_what_was_refused_can_be_read(opened: Opened, workspace: Path) -> None:
    (workspace / "long.py").write_text("x = 1\n" * 4_000 + "def last():\n    return x\n")
    script = [call("write", path="long.py", content="y = 2\n"), call("done", summary="")]
    session, conversation = await opened(script, pack="small")
    await take(session, "Change `last` in long.py.")
    offered = ["long.py" in options.files["read"] for options in conversation.options[:2]]
    assert offered == [False, True]


async def test_files_that_the_task_names_are_told_before_the_end(
    opened: Opened, workspace: Path
) -> None:
    (workspace / "use.py").write_text("from code import two\n")
    done = call("done", summary="moved")
    script = [
        call("write", path="two.py", content="def two():\n    return 1\n"),
        done,
        call("write", path="use.py", content="from two import two\n\ntwo()\n"),
        done,
        done,
    ]
    session, _ = await opened(script, pack="small")
    events = await take(
        session, "Move two() from code.py to two.py and three.py. use.py imports it from two.py."
    )
    assert end_of(events).status == "done"
    told = [e.text for e in events if isinstance(e, SystemNote) and "as before" in e.text]
    assert [text.partition(" If")[0] for text in told] == [
        "three.py: not there yet. code.py and use.py: as before.",
        "three.py: not there yet. code.py: as before.",
    ]


async def test_data_is_not_what_is_to_be_fixed(opened: Opened, workspace: Path) -> None:
    (workspace / "people.csv").write_text("id\n1\n")
    session, conversation = await opened([call("done", summary="")], pack="small")
    await take(session, "`python3 code.py` crashes on people.csv. Fix it.")
    assert sorted(conversation.options[0].files["write"]) == ["code.py", "long.py"]


async def test_a_copy_that_names_what_another_file_defines_gives_way_to_that_file(
    opened: Opened, workspace: Path
) -> None:
    use = "from code import two\n\nprint(two())\n"
    (workspace / "long.py").unlink()
    (workspace / "use.py").write_text(use)
    (workspace / "other.py").write_text("def three():\n    return 3\n")
    copied = call("write", path="use.py", content=use)
    copied.text = "The bug is in the `two` function."
    script = [
        copied,
        call("write", path="code.py", content="def two():\n    return 2\n"),
        call("done", summary="fixed"),
    ]
    session, conversation = await opened(script, pack="small")
    events = await take(session, "use.py prints the wrong number. Fix it.")
    assert end_of(events).status == "done"
    assert list(conversation.options[1].files["write"]) == ["code.py"]
    assert [e.discarded for e in events if isinstance(e, Reply)][:2] == [True, False]
