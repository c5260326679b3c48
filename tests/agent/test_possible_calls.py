"""What a small model may call in its next reply."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.context.git_task import asks_for_edits, git_is_done, git_left
from laguna_agent.agent.context.task_kind import (
    TaskKind,
    answer_file,
    command_to_run,
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


async def test_a_rename_is_told_as_one_command(opened: Opened, workspace: Path) -> None:
    (workspace / "use.py").write_text("from code import two\n\ntwo_more = two()\n")
    session, conversation = await opened([call("done", summary="so")], pack="small")
    await take(session, "Rename the function `two` to `pair` in all files.")
    hint = next(line for line in conversation.prompt.split("\n") if line.startswith("### shell "))
    command = hint.removeprefix("### shell ")
    subprocess.run(["bash", "-c", command], cwd=workspace, check=True)
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
        ("Merge the branch next.", ["git merge next"], False),
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
        call("shell", command="python3 code.py"),
        call("write", path="n.txt", content="1\n"),
        call("done", summary="so"),
    ]
    session, conversation = await opened(script, pack="small")
    await take(session, "Run `python3 code.py` and write what it prints to n.txt.")
    assert "### shell python3 code.py" in conversation.prompt
    assert [options.allowed == ["shell"] for options in conversation.options] == [
        True,
        False,
        False,
    ]


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
    assert command_to_run(task) == command


async def test_where_nothing_is_to_be_committed_yet_a_file_is_written_first(
    opened: Opened, workspace: Path
) -> None:
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "first"]):
        settings = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *settings, *arguments], cwd=workspace, check=True)
    script = [
        call("shell", command="git checkout -b two"),
        call("write", path="code.py", content="def two():\n    return 2\n"),
        call("shell", command="git -c user.name=a -c user.email=a@b.c commit -qam 'Correct two'"),
        call("done", summary="so"),
    ]
    session, conversation = await opened(script, pack="small")
    await take(
        session, "Create a branch `two`, correct the number in code.py there, and commit it."
    )
    allowed = [options.allowed or [] for options in conversation.options]
    assert allowed[:2] == [["shell"], ["write"]]
    assert "shell" in allowed[2]
    assert allowed[3] == ["done"]


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
