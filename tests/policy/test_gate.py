"""The gate's decisions about paths, rules, modes and git repositories."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent import paths
from laguna_agent.actions import Action, GitWrite, Network, ReadPath, RunCommand, WritePath
from laguna_agent.config import RuleConfig, load_config
from laguna_agent.errors import UsageError
from laguna_agent.policy.gate import Gate
from laguna_agent.policy.permissions import write_rule
from support.shell_runs import copied, run_gated, run_in_bash

Make = Callable[..., Gate]


def deny(**about: object) -> tuple[RuleConfig, ...]:
    return (RuleConfig.model_validate({"verdict": "deny", **about}),)


def allow(**about: object) -> tuple[RuleConfig, ...]:
    return (RuleConfig.model_validate({"verdict": "allow", **about}),)


def read(gate: Gate, path: str | Path) -> str:
    return gate.decide(ReadPath(path=os.fspath(path)), tool="read").verdict


def write(gate: Gate, path: str | Path) -> str:
    return gate.decide(WritePath(path=os.fspath(path)), tool="edit").verdict


def run(gate: Gate, command: str, cwd: Path | None = None) -> str:
    action = RunCommand(command=command, cwd=os.fspath(cwd or gate.workspace))
    return gate.decide(action, tool="shell").verdict


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ask", "accept-edits", "auto"])
def test_outside_and_secret_files_ask(
    mode: str, make_gate: Make, workspace: Path, home: Path
) -> None:
    gate = make_gate(mode, sandboxed=True)
    (workspace / "a").symlink_to(workspace.parent / "repo-evil")
    (workspace / "key").symlink_to(home / ".ssh" / "id_ed25519")
    for path in (
        workspace.parent / "repo-evil" / "f",
        workspace / ".." / "repo-evil" / "f",
        workspace / "a" / "f",
        workspace / "key",
        workspace / ".env",
        workspace / ".ENV",
        workspace / "deep" / ".env.local",
        home / ".ssh" / "id_ed25519",
        home / ".SSH" / "id_ed25519",
        home / ".config" / "gh" / "hosts.yml",
        home / "notes.txt",
        paths.config_dir() / "config.toml",
        paths.state_dir() / "trust.json",
        "/etc/shadow",
        "/proc/self/environ",
        "/",
    ):
        assert read(gate, path) == "ask", path
    for path in (workspace / "README.md", workspace / ".env.example", "/usr/include/stdio.h"):
        assert read(gate, path) == "allow", path


@pytest.mark.parametrize(
    "command",
    [
        "cat ../repo-evil/f",
        "cat {out}/f",
        "cat src/../../repo-evil/f",
        "cd .. && cat repo-evil/f",
        "cd ../repo-evil; cat f",
        "cd {out} && ls",
        "cat a/f",
        "cat a/*",
        "cat ../repo*/f",
        "cat < ../repo-evil/f",
        "grep -r hunter {out}",
        "rg hunter ../repo-evil",
        "find .. -name f",
        "head -n1 -- ../repo-evil/f",
        "git -C ../repo-evil log",
        "git diff --no-index README.md ../repo-evil/f",
        "sed -n p ../repo-evil/f",
        "wc --files0-from=../repo-evil/f",
        "awk 1 ../repo-evil/f",
        "diff README.md ../repo-evil/f",
        "cat ~/.ssh/id_ed25519",
        "cat {home}/.aws/credentials",
        "cat .env",
        "grep PASS .env",
        "cat ./.e''nv",
        'cat ".env"',
        "cat .e*",
        "ls ~",
        "cat /proc/self/environ",
        "sort -k1 ../repo-evil/f",
        "cd a/.. && cat f",
        "cd src; cd ..; cd ..; cat repo-evil/f",
    ],
)
def test_a_command_reads_no_more_than_a_file_tool(
    command: str, make_gate: Make, workspace: Path, home: Path
) -> None:
    out = workspace.parent / "repo-evil"
    (workspace / "a").symlink_to(out)
    text = command.format(out=out, home=home)
    assert run(make_gate("ask"), text) == "ask"


def test_the_cwd_of_a_command_widens_nothing(make_gate: Make, workspace: Path) -> None:
    gate = make_gate("accept-edits")
    assert run(gate, "ls", Path("/")) == "ask"
    assert run(gate, "cat f", workspace.parent / "repo-evil") == "ask"
    assert write(gate, "/C") == "ask"


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ask", "accept-edits", "auto"])
def test_writing_protected_and_outside_paths_asks(
    mode: str, make_gate: Make, workspace: Path, home: Path
) -> None:
    gate = make_gate(mode, sandboxed=True, rules=allow(path="**", write=True))
    (workspace / "d").symlink_to(workspace.parent / "repo-evil")
    (workspace / "g").symlink_to(workspace / ".git")
    for path in (
        workspace / ".git" / "hooks" / "pre-commit",
        workspace / ".git" / "config",
        workspace / ".GIT" / "config",
        workspace / ".gi\u200ct" / "config",
        workspace / "git~1" / "config",
        workspace / "g" / "config",
        workspace / "sub" / ".git" / "config",
        workspace / ".git",
        workspace / ".laguna" / "config.toml",
        workspace / ".Laguna" / "config.toml",
        workspace / "d" / "x",
        workspace / ".." / "repo-evil" / "x",
        home / ".bashrc",
        paths.config_dir() / "config.toml",
    ):
        assert write(gate, path) == "ask", path
    expected = "allow"  # the rule
    assert write(gate, workspace / "src" / "new.py") == expected
    assert write(gate, workspace / ".gitignore") == expected


def test_modes_allow_what_they_promise(make_gate: Make, workspace: Path) -> None:
    file = workspace / "src" / "a.py"
    commit, push = GitWrite(operation="commit"), GitWrite(operation="push")
    net = Network(host="example.org")
    expected = {
        # edit, ordinary command, commit, push, network
        ("ask", False): ("ask", "ask", "ask", "ask", "ask"),
        ("ask", True): ("ask", "ask", "ask", "ask", "ask"),
        ("accept-edits", True): ("allow", "ask", "ask", "ask", "ask"),
        ("auto", False): ("allow", "ask", "allow", "ask", "ask"),
        ("auto", True): ("allow", "allow", "allow", "ask", "ask"),
        ("allow-all", False): ("allow",) * 5,
    }
    for (mode, sandboxed), verdicts in expected.items():
        gate = make_gate(mode, sandboxed=sandboxed)
        actions: list[tuple[Action, str]] = [
            (WritePath(path=str(file)), "edit"),
            (RunCommand(command="make", cwd=str(workspace)), "shell"),
            (commit, "git"),
            (push, "git"),
            (net, "fetch"),
        ]
        found = tuple(gate.decide(action, tool=tool).verdict for action, tool in actions)
        assert found == verdicts, (mode, sandboxed)
        planning = make_gate(mode, sandboxed=sandboxed, plan=True)
        assert {planning.decide(a, tool=t).verdict for a, t in actions} == {"deny"}
        assert read(planning, file) == "allow"
        assert run(planning, "rg foo") == "allow"


def test_the_mode_can_be_switched(make_gate: Make, workspace: Path) -> None:
    gate = make_gate("ask")
    assert write(gate, workspace / "x") == "ask"
    gate.mode = "accept-edits"
    assert write(gate, workspace / "x") == "allow"


def test_offline_denies_the_network_even_when_a_rule_allows_it(make_gate: Make) -> None:
    gate = make_gate("ask", offline=True, rules=allow(host="*"))
    assert gate.decide(Network(host="example.org"), tool="fetch").verdict == "deny"


# --- rules --------------------------------------------------------------------------------------

COVERED = ["s/f", "a/f", "b", "s/../s/f", "./s//f", "chain/f", "src/../a/f"]


@pytest.mark.parametrize("path", COVERED)
def test_a_deny_rule_holds_through_links_and_spellings(
    path: str, make_gate: Make, workspace: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "s"
    secret.mkdir()
    (secret / "f").write_text("hunter2\n")
    (workspace / "s").symlink_to(secret)
    (workspace / "a").symlink_to(workspace / "s")
    (workspace / "chain").symlink_to("a")
    (workspace / "b").symlink_to(secret / "f")
    for rule in (deny(path=str(secret)), deny(path="s"), deny(path=f"{secret}/**")):
        for mode in ("ask", "auto", "allow-all"):
            gate = make_gate(mode, sandboxed=True, rules=(*allow(path="**"), *rule))
            assert read(gate, workspace / path) == "deny", (rule, mode)
            assert write(gate, workspace / path) == "deny"
    gate = make_gate("auto", sandboxed=True, rules=deny(path=str(secret)))
    assert run(gate, f"cat {path}") == "deny"
    assert read(gate, workspace / "README.md") == "allow"


def test_a_deny_rule_holds_for_other_cases_of_a_name(make_gate: Make, workspace: Path) -> None:
    gate = make_gate("allow-all", rules=deny(path="Private"))
    for name in ("private/f", "PRIVATE/F", "pri\u200cvate/f"):
        assert read(gate, workspace / name) == "deny"


def test_a_deny_rule_about_writing_leaves_reading(make_gate: Make, workspace: Path) -> None:
    gate = make_gate("auto", rules=deny(path="src/**", write=True))
    assert write(gate, workspace / "src" / "a.py") == "deny"
    assert read(gate, workspace / "src" / "a.py") == "allow"


def test_a_rule_does_not_cover_names_with_the_same_prefix(make_gate: Make, workspace: Path) -> None:
    gate = make_gate("auto", rules=deny(path="src"))
    assert write(gate, workspace / "srcs") == "allow"
    assert write(gate, workspace / "src" / "a.py") == "deny"


def test_searching_over_a_denied_file_asks_without_a_sandbox(
    make_gate: Make, workspace: Path
) -> None:
    gate = make_gate("ask", rules=deny(path="**/*.pem"))
    for command in ("rg foo", "grep -r foo .", "git log -p", "rg foo src"):
        assert run(gate, command) == "ask"
    assert run(gate, "cat README.md") == "allow"


@pytest.mark.parametrize(
    "command",
    [
        "git push",
        "git push origin main",
        "ls && git push",
        "ls; git push; ls",
        "true && " * 50 + "git push",
        "/usr/bin/git push",
        "\\git push",
        "'git' push",
        "git pu''sh",
        "GIT push",
        "env git push",
        "env A=1 git push",
        "A=1 git push",
        "timeout 5 git push",
        "sudo -u x git push",
        "nice -n 5 git push",
        "nohup git push",
        "command git push",
        "exec git push",
        "bash -c 'git push'",
        "sh -ec 'ls; git push'",
        "bash -c \"bash -c 'git push'\"",
        "eval git push",
        "eval 'git push'",
        "$(git push)",
        "echo `git push`",
        "cat <(git push)",
        "if true; then git push; fi",
        "f() { git push; }",
        "for i in 1; do git push; done",
        "find . -exec git push \\;",
        "echo origin | xargs git push",
        "(git push)",
        "{ git push; }",
        "! git push",
        "time git push",
        "git push &",
        "git push > /dev/null",
        "git -C . push",
        "git -C sub -c a.b=c --no-pager push origin",
        "git --git-dir=.git --work-tree . push",
        "git push --force",
        "env -S 'git push'",
        "env --split-string='git push'",
        "env -i -S 'A=1 git push' origin",
        "/usr/bin/env -S git\\ push",
        "echo git push | sh",
        "echo 'git push' | bash -s",
        "printf 'git push\\n' | bash -x -",
        "bash <<< 'git push'",
        "bash <<'E'\ngit push\nE",
        "sudo bash <<'E'\nls\ngit push\nE",
        "bash -lc 'git push'",
        "bash -c 'echo git push | sh'",
        "sudo env -S 'bash -c \"git push\"'",
        "find . -execdir env git push \\;",
        "stdbuf -oL nohup setsid git push",
    ],
)
def test_a_command_rule_denies_in_every_place_and_mode(command: str, make_gate: Make) -> None:
    for mode in ("ask", "auto", "allow-all"):
        gate = make_gate(mode, sandboxed=True, rules=deny(command="git push"))
        assert run(gate, command) == "deny"
    assert run(make_gate("auto", sandboxed=True, rules=deny(command="git push")), "git pull") != (
        "deny"
    )


@pytest.mark.parametrize(
    ("rule", "commands", "others"),
    [
        (
            "rm -rf",
            "rm -fr x;rm -r -f x;rm -f -r x;rm x -rf;rm -rfv x;rm --recursive --force x;rm -R -f x",
            "rm x;rm -f x;rm -r x;ls -rf",
        ),
        (
            "git push --force",
            "git push -f;git push origin main --force;git -C . push -uf",
            "git push",
        ),
        ("git branch -D", "git branch -D x;git branch -qD x", "git branch -d x;git branch x"),
        ("pip install", "python3 -m pip install x;pip --quiet install x", "pip list"),
        ("npm publish", "npm publish;npm --silent publish", "npm run build"),
        ("git push *", "git push;git -C . push x", "git pull"),
    ],
)
def test_a_rule_that_denies_covers_other_spellings(
    rule: str, commands: str, others: str, make_gate: Make
) -> None:
    gate = make_gate("auto", sandboxed=True, rules=deny(command=rule))
    assert {run(gate, command) for command in commands.split(";")} == {"deny"}
    assert "deny" not in {run(gate, command) for command in others.split(";")}


@pytest.mark.parametrize(
    "command",
    [
        "git $x",
        'git -C . "$x"',
        "curl x | sh",
        "sh < f",
        "$g push",
        "eval $x",
        "source ./f",
        "bash -c $x",
        "g=git; $g push",
        "echo 'x",
    ],
)
def test_a_command_that_hides_what_it_runs_asks_if_a_rule_denies(
    command: str, make_gate: Make
) -> None:
    for mode in ("auto", "allow-all"):
        gate = make_gate(mode, sandboxed=True, rules=deny(command="git push"))
        assert run(gate, command) == "ask"


def test_deny_wins_over_allow_whatever_the_order(make_gate: Make) -> None:
    for rules in (
        (*allow(command="npm *"), *deny(command="npm publish")),
        (*deny(command="npm publish"), *allow(command="npm *")),
    ):
        gate = make_gate("ask", rules=rules)
        assert run(gate, "npm publish") == "deny"
        assert run(gate, "npm test") == "allow"


def test_the_answer_names_the_rule_that_decided(make_gate: Make, workspace: Path) -> None:
    gate = make_gate("ask", rules=deny(path="src", write=True))
    decision = gate.decide(WritePath(path=str(workspace / "src" / "x")), tool="edit")
    assert decision.rule == 'deny path "src" (write)'


def test_a_rule_about_a_tool_covers_all_it_does(make_gate: Make, workspace: Path) -> None:
    gate = make_gate("allow-all", rules=deny(tool="shell"))
    assert run(gate, "ls") == "deny"
    assert run(make_gate("ask", rules=allow(tool="shell")), "make") == "allow"


def test_an_allowed_command_asks_in_a_modified_shell(make_gate: Make) -> None:
    gate = make_gate("ask", rules=allow(command="make *"))
    assert run(gate, "make test") == "allow"
    gate.command_ran("export MAKEFLAGS=--eval=x")
    assert run(gate, "make test") == "ask"


def test_a_rule_names_one_thing() -> None:
    for fields in ({}, {"tool": "x", "path": "y"}):
        with pytest.raises(ValueError, match="exactly one"):
            RuleConfig.model_validate({"verdict": "deny", **fields})


def test_a_project_may_only_tighten(tmp_path: Path) -> None:
    project = tmp_path / "config.toml"
    project.write_text('[[policy.rules]]\nverdict = "allow"\ncommand = "*"\n')
    with pytest.raises(UsageError, match="only ask or deny"):
        load_config(project=project, user=tmp_path / "none", environment={})
    project.write_text('[[policy.rules]]\nverdict = "deny"\ncommand = "git push"\n')
    assert load_config(project=project, user=tmp_path / "none", environment={}).policy.rules


# --- suggesting and writing rules ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        ("pytest -q tests/a.py", "pytest *"),
        ("cargo test --lib", "cargo test *"),
        ("npm run build", "npm run build"),
        ("python3 -m pytest -x", "python3 -m pytest *"),
        ("cd src && make lint | head", "make lint"),
        ("rm -rf build", "rm -rf build"),
        ("./run.sh --fast", "./run.sh --fast"),
        ("curl https://example.org", "curl https://example.org"),
        ("rm -rf *", None),
        ("make && ./run", None),
        ("echo $(make)", None),
        ("make > log", None),
        ("x=1 make", None),
    ],
)
def test_always_suggests_the_narrowest_useful_rule(
    command: str, pattern: str | None, make_gate: Make, workspace: Path
) -> None:
    gate = make_gate("ask")
    action = RunCommand(command=command, cwd=str(workspace))
    rule = gate.suggest_rule(action, "shell")
    assert (rule.command if rule else None) == pattern
    if rule:
        assert gate.decide(action, tool="shell").verdict == "ask"
        gate.rule_set.add(rule, "session")
        decision = gate.decide(action, tool="shell")
        assert (decision.verdict, decision.rule) == ("allow", f'allow command "{pattern}"')


def test_no_rule_is_suggested_for_secrets_and_protected_places(
    make_gate: Make, workspace: Path, home: Path
) -> None:
    gate = make_gate("ask")
    assert gate.suggest_rule(ReadPath(path=str(workspace / ".env")), "read") is None
    assert gate.suggest_rule(WritePath(path=str(workspace / ".git/config")), "edit") is None


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# mine\nmodel = 'x'",
        "[policy]\nnetwork = true\n",
        '[[policy.rules]]\nverdict = "deny"\ncommand = "rm"\n\n[tui]\nmouse = false # keep\n',
        '[policy]\nrules = [\n  # first\n  { verdict = "deny", command = "rm" },\n]\n',
        "[policy]\nrules = []\n",
        'model = "x"\r\n[policy]\r\nnetwork = true\r\n',
    ],
)
def test_a_written_rule_leaves_the_rest_of_the_file_as_it_is(
    before: str, make_gate: Make, tmp_path: Path
) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_bytes(before.encode())
    real.chmod(0o640)
    path = tmp_path / "config.toml"
    path.symlink_to(real)
    rule = allow(command='say "hi\\n" *')[0]
    write_rule(rule, path)
    after = real.read_bytes().decode()
    for line in before.split("\n"):
        assert line.replace("rules = []", "rules = [") in after
    config = load_config(user=path, environment={})
    old = tomllib.loads(before).get("policy", {}).get("rules", [])
    assert len(config.policy.rules) == len(old) + 1
    assert rule in config.policy.rules
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    write_rule(rule, path)
    assert real.read_bytes().decode() == after, "written twice"


def test_a_rule_is_added_to_an_inline_table(make_gate: Make, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("policy = { network = true } # mine\n")
    (rule,) = allow(command="make")
    write_rule(rule, path)
    policy = load_config(user=path, environment={}).policy
    assert (policy.network, policy.rules) == (True, [rule])
    assert path.read_text().endswith("# mine\n")


def test_a_file_that_cannot_hold_a_rule_is_left_alone(make_gate: Make, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for text in ('policy = "none"\n', "not toml ["):
        path.write_text(text)
        with pytest.raises(UsageError):
            write_rule(allow(command="make")[0], path)
        assert path.read_text() == text


# --- git repositories that run programs ---------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "command"),
    [
        ("core.fsmonitor", "git status"),
        ("diff.external", "git diff"),
        ("diff.x.textconv", "git diff"),
        ("diff.x.command", "git diff"),
        ("filter.x.clean", "git status"),
        ("core.hooksPath", "git status"),
    ],
)
def test_a_repository_s_configuration_runs_nothing_without_asking(
    setting: str, command: str, make_gate: Make, workspace: Path, tmp_path: Path
) -> None:
    (workspace / ".gitattributes").write_text("*.md diff=x filter=x\n")
    (workspace / "README.md").write_text("changed\n")
    hooks = workspace / "hooks"
    hooks.mkdir()
    (hooks / "post-index-change").write_text("#!/bin/sh\ntouch C\n")
    (hooks / "post-index-change").chmod(0o755)
    value = "hooks" if setting == "core.hooksPath" else "./x.sh"
    subprocess.run(["git", "config", setting, value], cwd=workspace, check=True)
    bare = copied(workspace, tmp_path / "bare")
    run_in_bash([f"GIT_OPTIONAL_LOCKS=1 {command}"], bare)
    assert (bare / "C").exists(), "the attack does nothing"
    decision = run_gated(make_gate("ask"), [command], workspace, approved=0)[0]
    assert decision.verdict == "ask"
    assert not (workspace / "C").exists()


@pytest.mark.parametrize("command", ["git -C sub status", "cd sub && git status", "git status"])
@pytest.mark.parametrize("bare", [False, True])
def test_a_crafted_repository_in_a_folder_runs_nothing_without_asking(
    command: str, bare: bool, make_gate: Make, workspace: Path, tmp_path: Path
) -> None:
    sub = workspace / "sub"
    directory = sub if bare else sub / ".git"
    subprocess.run(["git", "init", "-q", "--bare", str(directory)], check=True)
    with (directory / "config").open("w") as config:
        config.write(
            f"[core]\nrepositoryformatversion = 0\nbare = false\nworktree = {sub}\n"
            f"fsmonitor = {workspace}/x.sh\n"
        )
    cwd = sub if command == "git status" else workspace
    action = RunCommand(command=command, cwd=str(cwd))
    assert make_gate("ask").decide(action, tool="shell").verdict == "ask"
    run_in_bash([command], cwd)
    assert (sub / "C").exists() or (workspace / "C").exists(), "the attack does nothing"


def test_a_submodule_s_configuration_is_not_followed_without_asking(
    make_gate: Make, workspace: Path, tmp_path: Path
) -> None:
    inner = copied(workspace, workspace / "inner")
    for words in (["add", "inner"], ["commit", "-qm", "inner"]):
        subprocess.run(["git", *words], cwd=workspace, check=True, capture_output=True)
    subprocess.run(["git", "config", "core.fsmonitor", "./x.sh"], cwd=inner, check=True)
    assert run(make_gate("ask"), "git status") == "ask"
    run_in_bash(["git status"], workspace)
    assert (inner / "C").exists(), "the attack does nothing"


def test_a_plain_repository_and_git_lfs_are_allowed(make_gate: Make, workspace: Path) -> None:
    with (workspace / ".git" / "config").open("a") as config:
        config.write(
            '[remote "origin"]\n\turl = https://example.org/x.git\n'
            '\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch "main"]\n\tremote = origin\n'
            '[filter "lfs"]\n\tclean = git-lfs clean -- %f\n\trequired = true\n'
        )
    assert run(make_gate("ask"), "git status") == "allow"
