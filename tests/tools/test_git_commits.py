"""What the git tool stages and commits: targets, filters, hooks and signatures."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from laguna_agent.policy.sandbox import Bubblewrap
from laguna_agent.programs import find_program
from laguna_agent.tools.git import GitArguments, GitTool
from laguna_agent.tools.tool import ToolContext, ToolResult


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolContext:
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    home, workspace = tmp_path / "home", tmp_path / "workspace"
    home.mkdir()
    workspace.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Ann\n\temail = a@example.org\n")
    monkeypatch.setenv("HOME", str(home))
    git(workspace, "init", "-q", "-b", "main")
    (workspace / "a.txt").write_text("a\n")
    git(workspace, "add", ".")
    git(workspace, "commit", "-qm", "first")
    return ToolContext(workspace=workspace, state_dir=tmp_path / "state")


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def trusted(context: ToolContext) -> ToolContext:
    context.sandbox = Bubblewrap(context.workspace, program=find_program("bwrap") or "")
    context.state["git.trusted"] = True
    return context


async def call(context: ToolContext, action: str, target: str, message: str = "m") -> ToolResult:
    raw = {"action": action, "target": target, "message": message}
    return await GitTool().run(GitArguments.model_validate(raw), context)


def committed(context: ToolContext) -> list[str]:
    return git(context.workspace, "show", "--format=", "--name-only").split()


# --- targets --------------------------------------------------------------------------------------


async def test_what_is_staged_already_can_be_named_as_a_target(context: ToolContext) -> None:
    (context.workspace / "a.txt").write_text("b\n")
    assert (await call(context, "add", "a.txt")).ok
    assert (await call(context, "add", "a.txt")).ok
    assert (await call(context, "commit", "a.txt")).ok
    assert committed(context) == ["a.txt"]
    nothing = await call(context, "commit", "a.txt")
    assert (nothing.ok, nothing.content) == (False, "nothing changed in a.txt")
    assert (await call(context, "add", ".")).content == "nothing to stage"


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("action", ["add", "commit"])
@pytest.mark.parametrize("target", ["sub", "sub/s.txt", "sub/s.txt sub/t.txt"])
async def test_a_removal_that_is_staged_can_be_named_as_a_target(
    target: str, action: str, other: bool, context: ToolContext
) -> None:
    workspace = context.workspace
    (workspace / "sub").mkdir()
    for name in ("s.txt", "t.txt"):
        (workspace / "sub" / name).write_text("s\n")
    git(workspace, "add", ".")
    git(workspace, "commit", "-qm", "more")
    git(workspace, "rm", "-rq", "sub")
    if other:
        (workspace / "b.txt").write_text("b\n")
        git(workspace, "add", "b.txt")
    result = await call(context, action, target)
    assert result.ok, result.content
    if action == "commit":
        wanted = {"sub/s.txt"} if target == "sub/s.txt" else {"sub/s.txt", "sub/t.txt"}
        assert set(committed(context)) == wanted


@pytest.mark.parametrize("target", ["a.txt .gitignore", "."])
async def test_a_file_that_is_to_be_ignored_from_now_on_leaves_the_index(
    target: str, context: ToolContext
) -> None:
    git(context.workspace, "rm", "-q", "--cached", "a.txt")
    (context.workspace / ".gitignore").write_text("a.txt\n")
    result = await call(context, "commit", target)
    assert result.ok, result.content
    assert committed(context) == [".gitignore", "a.txt"]
    assert git(context.workspace, "ls-files").split() == [".gitignore"]
    assert (context.workspace / "a.txt").exists()


@pytest.mark.parametrize("name", ["b.txt", "*", "[x].txt", ":(top)b", "-b.txt", "é b.txt"])
async def test_only_the_target_is_committed(name: str, context: ToolContext) -> None:
    (context.workspace / name).write_text("b\n")
    (context.workspace / "a.txt").write_text("changed\n")
    (context.workspace / "new").mkdir()
    (context.workspace / "new" / "c.txt").write_text("c\n")
    git(context.workspace, "add", "a.txt", "new")
    result = await call(context, "commit", f"./{name}" if name[0] in ":-" else name)
    assert result.ok, result.content
    shown = git(context.workspace, "-c", "core.quotePath=false", "show", "--format=", "--name-only")
    assert shown == f"{name}\n"
    assert (await call(context, "commit", "new")).ok
    assert committed(context) == ["new/c.txt"]
    (context.workspace / "a.txt").unlink()
    assert (await call(context, "commit", "a.txt")).ok
    assert git(context.workspace, "status", "--porcelain") == ""


async def test_an_ignored_target_is_named_as_such(context: ToolContext) -> None:
    (context.workspace / ".gitignore").write_text("*.log\nbuild/\na.txt\n")
    (context.workspace / "build").mkdir()
    for name in ("x.log", "build/y", "b.txt"):
        (context.workspace / name).write_text("x\n")
    for action in ("add", "commit"):
        for target in ("x.log", "build", "build/y", "b.txt x.log"):
            result = await call(context, action, target)
            assert not result.ok
            assert "is ignored by git" in result.content
            assert "pathspec" not in result.content
    (context.workspace / "a.txt").write_text("tracked\n")
    assert (await call(context, "commit", "a.txt")).ok


async def test_a_merge_is_committed_whole(context: ToolContext) -> None:
    root = context.workspace
    git(root, "checkout", "-qb", "other")
    (root / "o.txt").write_text("o\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "other")
    git(root, "checkout", "-q", "main")
    git(root, "merge", "--no-commit", "--no-ff", "-q", "other")
    (root / "a.txt").write_text("x\n")
    assert (await call(context, "commit", "a.txt")).ok
    assert len(git(root, "log", "-1", "--format=%P").split()) == 2


# --- filters --------------------------------------------------------------------------------------


async def test_a_filter_of_a_trusted_repository_runs_in_the_sandbox(
    context: ToolContext, tmp_path: Path
) -> None:
    root = context.workspace
    git(root, "config", "filter.up.clean", f"touch {tmp_path}/outside; tr a-z A-Z")
    (root / ".gitattributes").write_text("*.up filter=up\n")
    (root / "b.up").write_text("small\n")
    (root / "a.txt").rename(root / "gone.up")
    git(root, "-c", "filter.up.clean=", "add", ".")
    git(root, "-c", "filter.up.clean=", "commit", "-qm", "x")
    (root / "gone.up").unlink()
    assert (await call(context, "commit", "gone.up")).ok
    (root / "b.up").write_text("smaller\n")
    refused = await call(context, "add", "b.up")
    assert "passes the filter up" in refused.content
    context.sandbox = trusted(context).sandbox
    context.state["git.trusted"] = False
    assert "trusted repository only" in (await call(context, "add", "b.up")).content
    context.state["git.trusted"] = True
    assert (await call(context, "commit", "b.up")).ok
    assert git(root, "cat-file", "blob", "HEAD:b.up") == "SMALLER\n"
    assert not (tmp_path / "outside").exists()


LFS = '[filter "lfs"]\n\tclean = git-lfs clean -- %f\n\tprocess = git-lfs filter-process\n'


@pytest.mark.parametrize("place", ["none", "system", "global", "local"])
async def test_large_files_are_never_stored_raw(
    place: str, context: ToolContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, bins = context.workspace, tmp_path / "bins"
    bins.mkdir()
    (bins / "git-lfs").write_text("#!/bin/sh\n[ $1 = clean ] && echo pointer\n")
    (bins / "git-lfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bins}:{os.environ['PATH']}")
    text = LFS.replace("\tprocess = git-lfs filter-process\n", "") + "\trequired = true\n"
    (tmp_path / "system").write_text(text if place == "system" else "")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "system"))
    if place in ("global", "local"):
        own = tmp_path / "home" / ".gitconfig" if place == "global" else root / ".git" / "config"
        with own.open("a") as file:
            file.write(text)
    (root / ".gitattributes").write_text("*.bin filter=lfs\n")
    (root / "b.bin").write_text("raw\n")
    result = await call(context, "commit", "b.bin")
    if place == "none":
        assert "git lfs install" in result.content
        assert git(root, "status", "--porcelain", "b.bin") == "?? b.bin\n"
    else:
        assert result.ok, result.content
        assert git(root, "cat-file", "blob", "HEAD:b.bin") == "pointer\n"


@pytest.mark.parametrize(
    "key", ["lfs.extension.x.clean", "lfs.customtransfer.x.path", "filter.lfs.clean"]
)
async def test_a_repository_configures_no_program_of_git_lfs(
    key: str, context: ToolContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, bins = context.workspace, tmp_path / "bins"
    bins.mkdir()
    (bins / "git-lfs").write_text('#!/bin/sh\ncat; sh -c "$(git config lfs.extension.x.clean)"\n')
    (bins / "git-lfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bins}:{os.environ['PATH']}")
    with (tmp_path / "home" / ".gitconfig").open("a") as file:
        file.write('[filter "lfs"]\n\tclean = git-lfs clean -- %f\n')
    git(root, "config", key, f"touch {tmp_path}/ran")
    (root / ".gitattributes").write_text("*.bin filter=lfs\n")
    (root / "b.bin").write_text("raw\n")
    await call(context, "commit", "b.bin")
    assert not (tmp_path / "ran").exists()


async def test_the_author_may_stand_in_the_configuration_of_the_system(
    context: ToolContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / ".gitconfig").unlink()
    (tmp_path / "system").write_text("[user]\n\tname = Sys\n\temail = s@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "system"))
    (context.workspace / "a.txt").write_text("b\n")
    assert (await call(context, "commit", "a.txt")).ok
    assert git(context.workspace, "log", "-1", "--format=%an") == "Sys\n"


# --- hooks and signatures -------------------------------------------------------------------------


def hook(context: ToolContext, name: str, text: str, folder: str = ".git/hooks") -> None:
    path = context.workspace / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("folder", [".git/hooks", ".husky"])
async def test_hooks_run_in_the_sandbox_of_a_trusted_repository(
    folder: str, context: ToolContext, tmp_path: Path
) -> None:
    hook(context, "pre-commit", f"touch {tmp_path}/outside; git diff --cached -- '*.txt'", folder)
    hook(context, "commit-msg", 'echo "from the hook" > "$1"', folder)
    if folder != ".git/hooks":
        git(context.workspace, "config", "core.hooksPath", folder)
    (context.workspace / "a.txt").write_text("b\n")
    result = await call(trusted(context), "commit", "a.txt")
    assert result.ok, result.content
    assert git(context.workspace, "log", "-1", "--format=%s") == "from the hook\n"
    assert not (tmp_path / "outside").exists()
    assert "did not run" not in result.content
    hook(context, "pre-commit", "echo lint fails >&2; exit 1", folder)
    (context.workspace / "a.txt").write_text("c\n")
    refused = await call(context, "commit", "a.txt")
    assert (refused.ok, refused.content) == (False, "lint fails")


@pytest.mark.parametrize("confined", [False, True])
async def test_elsewhere_the_result_says_which_hooks_did_not_run(
    confined: bool, context: ToolContext, tmp_path: Path
) -> None:
    hook(context, "pre-commit", f"touch {tmp_path}/ran; exit 1")
    hook(context, "post-commit", f"touch {tmp_path}/ran")
    hook(context, "pre-push", "exit 1")
    (context.workspace / ".git/hooks/commit-msg").write_text("not executable\n")
    if confined:
        trusted(context).state["git.trusted"] = False
    (context.workspace / "a.txt").write_text("b\n")
    result = await call(context, "commit", "a.txt")
    assert result.ok
    assert "[hooks did not run: pre-commit, post-commit; " in result.content
    assert ("laguna trust" if confined else "no sandbox") in result.content
    assert not (tmp_path / "ran").exists()
    for path in (context.workspace / ".git/hooks").glob("*"):
        path.unlink()
    (context.workspace / "a.txt").write_text("c\n")
    assert "did not run" not in (await call(context, "commit", "a.txt")).content


@pytest.mark.parametrize("trust", [False, True])
async def test_a_signature_that_is_wanted_is_made_in_the_sandbox_or_missed_aloud(
    trust: bool, context: ToolContext, tmp_path: Path
) -> None:
    signer = context.workspace / "signer"
    signer.write_text(
        f"#!/bin/sh\ntouch {tmp_path}/ran\ncat > /dev/null\n"
        "echo '\n[GNUPG:] SIG_CREATED ' >&2; echo '-----BEGIN PGP SIGNATURE-----'\n"
    )
    signer.chmod(0o755)
    git(context.workspace, "config", "commit.gpgSign", "true")
    git(context.workspace, "config", "gpg.program", str(signer))
    (context.workspace / "a.txt").write_text("b\n")
    result = await call(trusted(context) if trust else context, "commit", "a.txt")
    assert result.ok
    assert not (tmp_path / "ran").exists()
    signed = "PGP SIGNATURE" in git(context.workspace, "cat-file", "commit", "HEAD")
    assert signed is trust
    assert signed or "[not signed, as commit.gpgSign wants" in result.content
