"""The git tool on real repositories, friendly and hostile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from laguna_agent.actions import GitWrite, ReadPath
from laguna_agent.tools.git import GitArguments, GitTool
from laguna_agent.tools.tool import ToolContext, ToolResult


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Ann\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    monkeypatch.setenv("HOME", str(home))
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    return home


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    git(workspace, "init", "-q")
    return ToolContext(workspace=workspace, state_dir=tmp_path / "state")


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def write(context: ToolContext, **files: str) -> None:
    for name, text in files.items():
        path = context.workspace / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def call(
    context: ToolContext, action: str, target: str = "", message: str = ""
) -> ToolResult:
    raw = {"action": action, "target": target, "message": message}
    return await GitTool().run(GitArguments.model_validate(raw), context)


async def commit_all(context: ToolContext, message: str = "first") -> None:
    result = await call(context, "commit", ".", message)
    assert result.ok, result.content


# --- reading and committing ---------------------------------------------------------------------


async def test_status_groups_paths_by_kind_of_change(context: ToolContext) -> None:
    write(context, a_py="1\n", b_py="1\n", sub__c_py="1\n")
    await commit_all(context)
    write(context, a_py="2\n", b_py="2\n", new_py="x\n")
    (context.workspace / "sub/c.py").unlink()
    await call(context, "add", "a.py")
    result = await call(context, "status")
    assert result.content == "on main\nstaged: M a.py\nchanged: M b.py, D sub/c.py\nnew: new.py"


async def test_a_clean_repository_is_reported(context: ToolContext) -> None:
    write(context, a_py="1\n")
    await commit_all(context)
    assert (await call(context, "status")).content == "on main\nnothing changed"
    assert (await call(context, "diff")).content == "no changes"


async def test_status_shows_the_distance_to_the_upstream(
    context: ToolContext, tmp_path: Path
) -> None:
    write(context, a_py="1\n")
    await commit_all(context)
    git(tmp_path, "clone", "-q", "--bare", str(context.workspace), "origin.git")
    git(context.workspace, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(context.workspace, "fetch", "-q")
    git(context.workspace, "branch", "-q", "-u", "origin/main")
    assert (await call(context, "status")).content.startswith("on main, even with origin/main")
    write(context, a_py="2\n")
    await commit_all(context, "second")
    assert (await call(context, "status")).content.startswith("on main, 1 ahead of origin/main")


async def test_diff_shows_staged_and_unstaged_changes_and_names_new_files(
    context: ToolContext,
) -> None:
    write(context, a_py="one\n", b_py="one\n")
    await commit_all(context)
    write(context, a_py="two\n", b_py="two\n", c_py="new\n")
    await call(context, "add", "a.py")
    both = (await call(context, "diff")).content
    assert "+++ b/a.py" in both
    assert "+++ b/b.py" in both
    assert both.endswith("[new, not known to git: c.py]")
    staged = (await call(context, "diff", "--staged")).content
    assert "+++ b/a.py" in staged
    assert "b.py" not in staged
    assert "a.py" not in (await call(context, "diff", "b.py")).content
    assert "2 files changed" in (await call(context, "diff", "--stat")).content


async def test_every_action_works_before_the_first_commit(context: ToolContext) -> None:
    write(context, a_py="one\n")
    assert (await call(context, "log")).content == "no commits yet"
    assert "new: a.py" in (await call(context, "status")).content
    assert "a.py" in (await call(context, "diff")).content
    assert not (await call(context, "show")).ok


async def test_log_show_and_blame(context: ToolContext) -> None:
    write(context, a_py="one\ntwo\n", b_py="x\n")
    await commit_all(context, "first\n\nwith a body")
    write(context, a_py="one\nTWO\n")
    await commit_all(context, "second")
    log = (await call(context, "log")).content.split("\n")
    assert [line.split(": ", 1)[1] for line in log] == ["second (HEAD -> main)", "first"]
    assert "first" not in (await call(context, "log", "-n 1")).content
    assert len((await call(context, "log", "b.py")).content.split("\n")) == 1
    shown = (await call(context, "show", "HEAD~1")).content
    assert "with a body" in shown
    assert "+two" in shown
    assert (await call(context, "show", "HEAD~1:a.py")).content == "one\ntwo"
    blame = (await call(context, "blame", "a.py")).content.split("\n")
    assert blame[1].endswith("2) TWO")
    assert "Ann" in blame[0]
    assert (await call(context, "blame", "a.py:2-2")).content == blame[1]


async def test_add_and_commit(context: ToolContext) -> None:
    write(context, a_py="1\n", b_py="1\n")
    assert (await call(context, "add", "a.py")).content == "staged: A a.py"
    result = await call(context, "commit", "", "Add a")
    assert result.ok
    assert "Add a" in result.content
    assert git(context.workspace, "log", "--format=%s %an").strip() == "Add a Ann"
    assert "new: b.py" in (await call(context, "status")).content
    nothing = await call(context, "commit", "", "again")
    assert not nothing.ok
    assert "nothing is staged" in nothing.content
    missing = await call(context, "commit", "b.py")
    assert "takes a message" in missing.content
    assert (await call(context, "commit", "b.py", "Add b")).ok
    (context.workspace / "a.py").unlink()
    assert (await call(context, "commit", "-a", "Remove a")).ok
    assert git(context.workspace, "ls-files").strip() == "b.py"


async def test_stash_push_and_pop(context: ToolContext) -> None:
    write(context, a_py="1\n")
    await commit_all(context)
    write(context, a_py="2\n")
    assert (await call(context, "stash", "", "try")).ok
    assert (context.workspace / "a.py").read_text() == "1\n"
    assert "try" in (await call(context, "stash", "list")).content
    assert "+2" in (await call(context, "stash", "show")).content
    assert (await call(context, "stash", "pop")).ok
    assert (context.workspace / "a.py").read_text() == "2\n"
    assert (await call(context, "stash", "list")).content == "no stash"


async def test_a_missing_identity_is_explained(context: ToolContext, home: Path) -> None:
    (home / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    write(context, a_py="1\n")
    result = await call(context, "commit", ".", "x")
    assert "the user must set user.name" in result.content


async def test_a_missing_repository_is_reported(tmp_path: Path) -> None:
    context = ToolContext(workspace=tmp_path, state_dir=tmp_path / "s")
    result = await call(context, "status")
    assert not result.ok
    assert result.content == "there is no git repository here"


async def test_a_large_diff_is_bounded(context: ToolContext) -> None:
    write(context, a_py="x\n")
    await commit_all(context)
    write(context, a_py="".join(f"line {n}\n" for n in range(100_000)))
    result = await call(context, "diff")
    assert result.truncated
    assert len(result.content) < context.max_output_chars + 300
    assert result.output_file


async def test_names_with_blanks_and_odd_characters(context: ToolContext) -> None:
    name = 'with blank "and" ünï'
    (context.workspace / name).write_text("1\n")
    assert (await call(context, "add", name)).content == f"staged: A {name}"
    assert (await call(context, "commit", "", "x")).ok
    (context.workspace / name).write_text("2\n")
    assert "+2" in (await call(context, "diff", name)).content
    assert "+2" in (await call(context, "diff", f"'{name}'")).content


async def test_a_removed_file_can_be_named(context: ToolContext) -> None:
    write(context, a_py="1\n")
    await commit_all(context)
    (context.workspace / "a.py").unlink()
    assert "-1" in (await call(context, "diff", "a.py")).content
    assert (await call(context, "commit", "a.py", "Remove")).ok
    assert "Remove" in (await call(context, "log", "a.py")).content


def test_the_policy_decides_about_writes_and_named_paths(context: ToolContext) -> None:
    write(context, a_py="1\n")

    def actions(action: str, target: str = "", message: str = "") -> list[object]:
        raw = {"action": action, "target": target, "message": message}
        return list(GitTool().actions(GitArguments.model_validate(raw), context))

    path = ReadPath(path=str(context.workspace / "a.py"))
    assert actions("status") == []
    assert actions("diff", "a.py") == [path]
    assert actions("blame", "a.py:1-2") == [path]
    assert actions("show", "HEAD:a.py") == [path]
    assert actions("stash", "list") == []
    assert actions("add", "a.py") == [GitWrite(operation="add", detail="a.py")]
    assert actions("commit", "", "x") == [GitWrite(operation="commit", detail="x")]
    assert actions("stash") == [GitWrite(operation="stash", detail="")]


async def test_files_that_may_not_be_read_are_left_out(context: ToolContext) -> None:
    write(context, a_py="1\n", secret_py="hidden one\n")
    await commit_all(context)
    write(context, a_py="2\n", secret_py="hidden two\n")
    context.may_read = context.may_name = lambda path: not path.endswith("secret.py")
    assert "hidden" not in (await call(context, "diff")).content
    assert "+2" in (await call(context, "diff")).content
    assert "hidden" not in (await call(context, "show")).content
    assert "may not be read" in (await call(context, "show", "HEAD:secret.py")).content
    assert "may not be read" in (await call(context, "blame", "secret.py")).content
    assert "hidden" not in (await call(context, "log", "-p")).content


async def test_a_file_that_asks_is_shown_only_to_a_call_that_names_it(context: ToolContext) -> None:
    """Whether it may be shown was decided by the actions of the call."""
    (context.workspace / ".env").write_text("hidden one\n")
    write(context, a_py="1\n")
    await commit_all(context)
    (context.workspace / ".env").write_text("hidden two\n")
    write(context, a_py="2\n")
    context.may_read = lambda path: not path.endswith(".env")
    blob = git(context.workspace, "rev-parse", "HEAD:.env").strip()
    for action, target in (
        ("diff", ""), ("diff", "."), ("diff", "*.env"), ("diff", ":(glob)**"), ("show", ""),
        ("show", blob), ("log", "-p"), ("log", "-p ."), ("blame", "a.py"),
    ):  # fmt: skip
        assert "hidden" not in (await call(context, action, target)).content, (action, target)
    for action, target in (
        ("diff", ".env"), ("show", "HEAD:.env"), ("show", "HEAD:./.env"), ("blame", ".env"),
        ("log", "-p .env"),
    ):  # fmt: skip
        assert "hidden" in (await call(context, action, target)).content, (action, target)
        arguments = GitArguments(action=action, target=target)  # type: ignore[arg-type]
        asked = [a.path for a in GitTool().actions(arguments, context) if isinstance(a, ReadPath)]
        assert str(context.workspace / ".env") in asked
    await call(context, "stash")
    assert "hidden" not in (await call(context, "stash", "show")).content
    assert "+2" in (await call(context, "stash", "show 0")).content


async def test_a_deleted_file_in_an_old_revision_is_decided_about_too(context: ToolContext) -> None:
    arguments = GitArguments(action="show", target="HEAD~3:conf/.env")
    path = str(context.workspace / "conf" / ".env")
    assert GitTool().actions(arguments, context) == [ReadPath(path=path)]


# --- refusals and hostile repositories ----------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "target"),
    [
        ("diff", "--output=CANARY"),
        ("log", "--output=CANARY"),
        ("show", "--output=CANARY"),
        ("diff", "--ext-diff"),
        ("log", "--textconv"),
        ("log", "--show-signature"),
        ("blame", "--contents=/etc/passwd a.py"),
        ("diff", "--no-index /etc/passwd a.py"),
        ("add", "--pathspec-from-file=/etc/passwd"),
        ("add", "-f a.py"),
        ("add", "--chmod=+x a.py"),
        ("commit", "--template=x"),
        ("commit", "-F /etc/passwd"),
        ("stash", "push --pathspec-from-file=x"),
        ("stash", "branch x"),
        ("show", "-OCANARY"),
        ("log", "--upload-pack=x"),
        ("show", "ext::sh"),
        ("diff", "../outside"),
        ("diff", "/etc/passwd"),
    ],
)
async def test_unsupported_options_and_outside_paths_are_refused(
    context: ToolContext, action: str, target: str
) -> None:
    write(context, a_py="1\n")
    await commit_all(context)
    write(context, a_py="2\n")
    result = await call(context, action, target, "message")
    assert not result.ok
    assert not list(context.workspace.rglob("CANARY*"))
    assert "root:" not in result.content


def hostile(context: ToolContext, canary: Path) -> None:
    """A repository that runs something at every chance it gets."""
    root = context.workspace
    script = root / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {canary}\nexec cat\n")
    script.chmod(0o755)
    evil = str(script)
    hooks = root / "hooks"
    hooks.mkdir()
    for folder in (hooks, root / ".git" / "hooks"):
        folder.mkdir(exist_ok=True)
        for name in (
            *("pre-commit", "commit-msg", "post-commit", "prepare-commit-msg", "post-index-change"),
            *("post-checkout", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman"),
        ):
            (folder / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
            (folder / name).chmod(0o755)
    for key, value in {
        "core.fsmonitor": evil,
        "core.hooksPath": str(hooks),
        "core.pager": evil,
        "pager.log": evil,
        "pager.diff": evil,
        "core.editor": evil,
        "sequence.editor": evil,
        "core.sshCommand": evil,
        "core.askPass": evil,
        "core.gitProxy": evil,
        "credential.helper": evil,
        "diff.external": evil,
        "diff.evil.command": evil,
        "diff.evil.textconv": evil,
        "filter.evil.clean": evil,
        "filter.evil.smudge": evil,
        "filter.evil.process": evil,
        "filter.evil.required": "true",
        "merge.evil.driver": f"{evil} %A",
        "merge.default": "evil",
        "hook.evil.command": evil,
        "hook.evil.event": "pre-commit",
        "interactive.diffFilter": evil,
        "commit.gpgSign": "true",
        "gpg.program": evil,
        "log.showSignature": "true",
        "submodule.recurse": "true",
        "status.submoduleSummary": "true",
        "diff.submodule": "log",
        "alias.status": f"!{evil}",
        "alias.diff": f"!{evil}",
        "trailer.sign.command": evil,
        "blame.ignoreRevsFile": "/etc/passwd",
        "core.alternateRefsCommand": evil,
        "remote.origin.url": f"ext::{evil}",
        "remote.origin.promisor": "true",
        "remote.origin.uploadpack": evil,
        "protocol.ext.allow": "always",
        "extensions.partialClone": "origin",
    }.items():
        git(root, "config", key, value)
    git(root, "config", "core.repositoryFormatVersion", "1")
    (root / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    subprocess.run(["/usr/bin/env", "git", "diff"], cwd=root, check=False, capture_output=True)
    assert canary.exists(), "git itself is not fooled, so that this would prove nothing"
    canary.unlink()


EVERYTHING = [
    ("status", "", ""),
    ("diff", "", ""),
    ("diff", "--stat", ""),
    ("diff", "HEAD", ""),
    ("log", "", ""),
    ("log", "-p", ""),
    ("show", "", ""),
    ("show", "HEAD:a.py", ""),
    ("blame", "a.py", ""),
    ("add", ".", ""),
    ("diff", "--staged", ""),
    ("commit", "", "message"),
    ("commit", "-a", "message"),
    ("stash", "", ""),
    ("stash", "list", ""),
    ("stash", "show", ""),
    ("stash", "pop", ""),
    ("stash", "push -u", ""),
    ("stash", "apply", ""),
    ("stash", "drop", ""),
]


async def test_nothing_that_a_repository_configures_is_run(
    context: ToolContext, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    write(context, a_py="one\ntwo\nthree\n")
    await commit_all(context)
    hostile(context, canary)
    for number, (action, target, message) in enumerate(EVERYTHING):
        if action in ("add", "diff", "commit") or target == "":
            write(context, a_py=f"one {number}\ntwo\nthree {number}\n")
        result = await call(context, action, target, message)
        assert not canary.exists(), (action, target)
        assert "root:" not in result.content
        if action == "add":
            assert "the filter evil of this repository's own configuration" in result.content
        elif action not in ("stash", "commit", "blame"):
            assert result.ok, (action, target, result.content)


async def test_a_stash_that_conflicts_runs_no_merge_driver(
    context: ToolContext, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    write(context, a_py="one\ntwo\nthree\n")
    await commit_all(context)
    hostile(context, canary)
    (context.workspace / ".gitattributes").write_text("* diff=evil merge=evil\n")
    write(context, a_py="one\nstashed\nthree\n")
    assert (await call(context, "stash")).ok
    write(context, a_py="one\ncommitted\nthree\n")
    assert (await call(context, "commit", "a.py", "other")).ok
    await call(context, "stash", "pop")
    assert "<<<<<<<" in (context.workspace / "a.py").read_text()
    assert not canary.exists()


async def test_the_users_own_filters_run_and_those_of_the_repository_are_refused(
    context: ToolContext, home: Path
) -> None:
    with (home / ".gitconfig").open("a") as stream:
        stream.write('[filter "up"]\n\tclean = tr a-z A-Z\n')
    git(context.workspace, "config", "filter.up.clean", "false")
    git(context.workspace, "config", "filter.down.clean", "tr A-Z a-z")
    (context.workspace / ".gitattributes").write_text("*.up filter=up\n*.down filter=down\n")
    (context.workspace / "a.up").write_text("small\n")
    (context.workspace / "a.down").write_text("LARGE\n")
    for action in ("add", "commit"):
        refused = await call(context, action, ".", "x")
        assert not refused.ok
        assert "a.down passes the filter down" in refused.content
        assert "there is no sandbox" in refused.content
    assert (await call(context, "commit", "a.up .gitattributes", "x")).ok
    assert git(context.workspace, "cat-file", "blob", "HEAD:a.up") == "SMALL\n"
    # git reads a file again that is as new as its index, by the filter that it is told here
    again = ("-c", "filter.up.clean=tr a-z A-Z", "status", "--porcelain")
    assert git(context.workspace, *again) == "?? a.down\n"


@pytest.mark.slow
@pytest.mark.parametrize("registered", [False, True])
async def test_a_nested_repository_is_not_entered(
    context: ToolContext, tmp_path: Path, registered: bool
) -> None:
    canary = tmp_path / "canary"
    write(context, a_py="1\n")
    await commit_all(context)
    sub = context.workspace / "sub"
    sub.mkdir()
    git(sub, "init", "-q")
    (sub / "f").write_text("1\n")
    git(sub, "add", "f")
    git(sub, "commit", "-qm", "x")
    if registered:
        git(context.workspace, "add", "sub")
        git(context.workspace, "commit", "-qm", "sub")
    (sub / "f").write_text("2\n")
    hostile(ToolContext(workspace=sub, state_dir=tmp_path), canary)
    for action, target, message in EVERYTHING:
        write(context, a_py=f"{action}{target}\n")
        await call(context, action, target, message)
        assert not canary.exists(), (action, target)
    for action, target in (("add", "sub"), ("add", "sub/f"), ("diff", "sub"), ("blame", "sub/f")):
        await call(context, action, target)
        assert not canary.exists(), (action, target)


async def test_a_crafted_bare_repository_in_a_folder_is_not_found(
    context: ToolContext, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    sub = context.workspace / "sub"
    sub.mkdir()
    git(sub, "init", "-q", "--bare", ".")
    git(sub, "config", "core.fsmonitor", f"touch {canary}")
    git(sub, "config", "core.bare", "false")
    git(sub, "config", "core.worktree", str(sub))
    for action in ("status", "diff", "add"):
        await call(context, action, "sub" if action != "status" else "")
    inside = ToolContext(workspace=sub, state_dir=tmp_path / "s")
    assert not (await call(inside, "status")).ok
    assert not canary.exists()


async def test_a_configured_work_tree_elsewhere_is_not_written(
    context: ToolContext, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.py").write_text("mine\n")
    write(context, a_py="1\n")
    await commit_all(context)
    git(context.workspace, "config", "core.worktree", str(outside))
    write(context, a_py="2\n")
    assert "+2" in (await call(context, "diff")).content
    assert (await call(context, "stash")).ok
    assert (outside / "a.py").read_text() == "mine\n"
    assert (context.workspace / "a.py").read_text() == "1\n"


async def test_the_users_environment_does_not_redirect_git(
    context: ToolContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(context, a_py="1\n")
    await commit_all(context)
    write(context, a_py="2\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {tmp_path}/canary")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "diff.noprefix")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert "+++ b/a.py" in (await call(context, "diff")).content
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "index").exists()


async def test_a_linked_worktree_is_a_repository(context: ToolContext, tmp_path: Path) -> None:
    write(context, a_py="1\n")
    await commit_all(context)
    git(context.workspace, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    other = ToolContext(workspace=tmp_path / "other", state_dir=tmp_path / "s")
    (tmp_path / "other" / "a.py").write_text("2\n")
    assert (await call(other, "status")).content == "on other\nchanged: M a.py"
    assert (await call(other, "commit", ".", "in the other")).ok
    assert "in the other" not in git(context.workspace, "log", "--format=%s", "main")


async def test_terminal_escapes_in_history_are_not_passed_on(context: ToolContext) -> None:
    write(context, a_py="1\n")
    await commit_all(context, "evil \x1b]52;c;aGk=\x07 \x1b[31mred\u202e")
    for action in ("log", "show"):
        content = (await call(context, action)).content
        assert "\x1b" not in content
        assert "\u202e" not in content
