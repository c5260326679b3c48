"""Disguised command lines: each leaves a canary in a bare bash, and none behind the gate."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from laguna_agent.config import RuleConfig
from laguna_agent.policy.gate import Gate
from support.shell_runs import copied, run_gated, run_in_bash

# Name and command lines: the last is the attack, the others were approved.
ATTACKS: list[tuple[str, list[str]]] = [
    ("semicolon", ["ls; touch C"]),
    ("and", ["ls && touch C"]),
    ("or", ["ls missing || touch C"]),
    ("pipe", ["ls | touch C"]),
    ("background", ["ls & touch C; wait"]),
    ("newline", ["ls\ntouch C"]),
    ("pipe-both", ["ls |& touch C"]),
    ("subshell", ["(ls; touch C)"]),
    ("group", ["{ ls; touch C; }"]),
    ("negated", ["! touch C"]),
    ("keyword-time", ["time touch C"]),
    ("coproc", ["coproc touch C; wait"]),
    ("escaped-newline-joins-words", ["to\\\nuch C"]),
    ("escaped-newline-in-option", ["rg --p\\\nre=./x.sh foo ."]),
    ("carriage-return-is-no-blank", ["touch\tC\r"]),
    ("comment-ends-at-newline", ["ls # all\ntouch C"]),
    ("comment-does-not-continue", ["ls # \\\ntouch C"]),
    ("no-comment-inside-a-word", ["ls a#b; touch C"]),
    ("if", ["if true; then touch C; fi"]),
    ("for", ["for i in C; do touch $i; done"]),
    ("while", ["while touch C; do break; done"]),
    ("case", ["case a in a) touch C;; esac"]),
    ("for-option", ["for f in -o; do sort README.md $f C; done"]),
    ("for-command", ["for f in touch; do $f C; done"]),
    ("for-quoted-command", ['for f in touch; do "$f" C; done']),
    ("for-nested", ["for a in touch; do for b in C; do $a $b; done; done"]),
    ("for-in-body-assignment", ["for f in a; do f=touch; $f C; done"]),
    ("for-redirect", ["for f in a b; do echo $f; done > C"]),
    ("for-redirect-in-body", ["for f in C; do echo x > $f; done"]),
    ("for-substitution", ["for f in $(touch C); do echo $f; done"]),
    ("for-braces-in-pattern", ["for f in {touch,C}; do :; done; for f in C; do touch $f; done"]),
    ("if-condition", ["if touch C; then :; fi"]),
    ("if-else", ["if false; then :; elif touch C; then :; fi"]),
    ("if-redirect", ["if true; then echo x; fi > C"]),
    ("xargs-shell", ["ls x.sh | xargs sh"]),
    ("xargs-replaces", ["ls x.sh | xargs -I{} sh -c 'touch C; {}'"]),
    ("xargs-from-echo", ["echo -o C README.md | xargs sort"]),
    ("xargs-from-file", ["echo '-o C README.md' > l; cat l | xargs sort"]),
    ("xargs-input-file", ["echo '-o C README.md' > l; ls | xargs -a l sort"]),
    ("xargs-redirected-input", ["echo '-o C README.md' > l; find . -name x | xargs sort < l"]),
    ("xargs-not-piped", ["find . -name x; echo '-o C README.md' | xargs sort"]),
    ("echo-prompt-expansion", ["x='$(touch C)'; echo \"${x@P}\""]),
    ("printf-format-variable", ["x='-v a[$(touch${IFS}C)0]'; printf $x 1"]),
    ("test-variable", ["x='-v a[$(touch${IFS}C)0]'; test $x"]),
    ("rg-pre", ["rg --pre=./x.sh foo ."]),
    ("rg-pre-separate", ["rg --pre ./x.sh foo ."]),
    ("rg-config-inline", ["RIPGREP_CONFIG_PATH=./rc rg foo ."]),
    ("rg-config-exported", ["export RIPGREP_CONFIG_PATH=$PWD/rc", "rg foo ."]),
    ("rg-pattern-becomes-option", ["touch -- '--pre=sh'", "rg foo *sh"]),
    ("find-exec", ["find . -maxdepth 0 -exec touch C ';'"]),
    ("find-execdir", ["find README.md -execdir touch C ';'"]),
    ("find-ok", ["yes | find . -maxdepth 0 -ok touch C ';'"]),
    ("find-fprintf", ["find . -maxdepth 0 -fprintf C x"]),
    ("find-fprint", ["find . -maxdepth 0 -fprint C"]),
    ("find-fls", ["find . -maxdepth 0 -fls C"]),
    ("sed-w", ["sed 'w C' README.md"]),
    ("sed-s-w", ["sed 's/foo/x/w C' README.md"]),
    ("sed-e", ["sed 's/foo/touch C/e' README.md"]),
    ("sed-e-command", ["sed '1e touch C' README.md"]),
    ("sed-option-e", ["sed -n -e p -e 'w C' README.md"]),
    ("sed-cluster", ["sed -ne 'w C' README.md"]),
    ("sed-script-file", ["sed -f bad.sed README.md"]),
    ("sed-in-place", ["ln README.md C; sed -i.C s/a/b/ README.md; ls README.md.C && touch C"]),
    ("awk-system", ["awk 'BEGIN { system(\"touch C\") }'"]),
    ("awk-behind-redirect", ["awk > /dev/null 'BEGIN{system(\"touch C\")}'"]),
    ("sort-behind-redirects", ["sort < README.md 2> /dev/null -o > /dev/null C"]),
    ("find-behind-redirect", ["find > /dev/null . -maxdepth 0 -exec touch C ';'"]),
    ("pipe-behind-redirect", ["cat README.md | sort > /dev/null -o C"]),
    ("awk-redirect", ["awk 'BEGIN { print 1 > \"C\" }'"]),
    ("awk-pipe", ["awk 'BEGIN { print 1 | \"touch C\" }'"]),
    ("awk-getline", ["awk 'BEGIN { \"touch C\" | getline }'"]),
    ("sort-o", ["sort -o C README.md"]),
    ("sort-output-abbreviated", ["sort --out=C README.md"]),
    ("sort-compress-program", ["seq 30000 | sort -S 10k --compress-program=./x.sh | tail -1"]),
    ("uniq-output", ["uniq README.md C"]),
    ("xxd-output", ["xxd README.md C"]),
    ("tee", ["ls | tee C"]),
    ("xargs", ["echo C | xargs touch"]),
    ("env", ["env touch C"]),
    ("env-split", ["env -S 'touch C'"]),
    ("nice", ["nice touch C"]),
    ("timeout", ["timeout 5 touch C"]),
    ("timeout-nested", ["timeout 5 nice timeout 5 touch C"]),
    ("command", ["command touch C"]),
    ("builtin", ["builtin eval 'touch C'"]),
    ("exec", ["exec touch C"]),
    ("eval", ["eval 'touch C'"]),
    ("source", ["source ./x.sh"]),
    ("dot", [". ./x.sh"]),
    ("bash-c", ["bash -c 'touch C'"]),
    ("bash-from-pipe", ["echo touch C | bash"]),
    ("bash-verbose-from-pipe", ["echo touch C | bash -v"]),
    ("python-c", ['python3 -c \'open("C", "w")\'']),
    ("trap", ["trap 'touch C' EXIT"]),
    ("jobs-x", ["jobs -x touch C"]),
    ("test-v", ["test -v 'a[$(touch C)]'"]),
    ("bracket-v", ["[ -v 'a[$(touch C)]' ]"]),
    ("double-bracket-arithmetic", ["[[ 'a[$(touch C)]' -eq 0 ]]"]),
    ("printf-v", ["printf -v 'a[$(touch C)]' x"]),
    ("let", ["let 'a[$(touch C)]=1'"]),
    ("read-array", ["read 'a[$(touch C)]' <<< x"]),
    ("substitution-in-quotes", ['echo "$(touch C)"']),
    ("back-ticks", ["echo `touch C`"]),
    ("back-ticks-in-quotes", ['echo "`touch C`"']),
    ("nested-substitution", ['echo "${x:-$(touch C)}"']),
    ("arithmetic-substitution", ["echo $((a[$(touch C)0]))"]),
    ("assigning-expansion", ["echo ${x:=$(touch C)}"]),
    ("substitution-in-command-name", ["$(echo touch) C"]),
    ("quoted-command-name", ["'to''uch' C"]),
    ("escaped-command-name", ["\\touch C"]),
    ("variable-command-name", ["x=touch; $x C"]),
    ("brace-command", ["{touch,C}"]),
    ("brace-option", ["sort -{o,n} C README.md; sort {-o,C} README.md"]),
    ("ansi-c-name", ["$'\\x74ouch' C"]),
    ("process-substitution", ["cat <(touch C)"]),
    ("process-substitution-out", ["ls > >(touch C); wait; sleep 0.2"]),
    ("here-document", ["cat << E\n$(touch C)\nE"]),
    ("here-string", ['cat <<< "$(touch C)"']),
    ("redirect", ["echo x > C"]),
    ("redirect-append", ["echo x >> C"]),
    ("redirect-clobber", ["echo x >| C"]),
    ("redirect-both", ["echo x &> C"]),
    ("redirect-both-old", ["echo x >& C"]),
    ("redirect-read-write", ["cat <> C"]),
    ("redirect-number", ["ls 3> C"]),
    ("redirect-only", ["> C"]),
    ("redirect-first", ["> C ls"]),
    ("redirect-after-null", ["ls > /dev/null > C"]),
    ("redirect-in-group", ["{ ls; } > C"]),
    ("redirect-in-subshell", ["(ls) > C"]),
    ("redirect-descriptor-variable", ["ls {fd}> C"]),
    (
        "export-fsmonitor",
        [
            "export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.fsmonitor GIT_CONFIG_VALUE_0=./x.sh",
            "git status",
        ],
    ),
    ("export-external-diff", ["export GIT_EXTERNAL_DIFF=$PWD/x.sh; echo >> README.md", "git diff"]),
    ("inline-external-diff", ["echo >> README.md", "GIT_EXTERNAL_DIFF=./x.sh git diff"]),
    ("path-in-the-shell", ["mkdir b; cp x.sh b/ls; PATH=$PWD/b:$PATH", "ls"]),
    ("path-exported", ["mkdir b; cp x.sh b/ls; export PATH=$PWD/b:$PATH", "ls"]),
    ("path-by-for", ["mkdir b; cp x.sh b/ls; for PATH in $PWD/b:$PATH; do :; done", "ls"]),
    ("path-by-read", ["mkdir b; cp x.sh b/ls; read PATH <<< $PWD/b:$PATH", "ls"]),
    ("path-by-printf", ["mkdir b; cp x.sh b/ls; printf -v PATH %s $PWD/b:$PATH", "ls"]),
    (
        "path-by-expansion",
        ["mkdir b; cp x.sh b/ls; unset PATH; : ${PATH:=$PWD/b:/bin}", "ls"],
    ),
    (
        "path-by-sourced-file",
        ['mkdir b; cp x.sh b/ls; echo "PATH=$PWD/b:$PATH" > rc2; . ./rc2', "ls"],
    ),
    ("hash", ["hash -p ./x.sh ls", "ls"]),
    ("function", ["ls(){ touch C;}", "ls"]),
    ("function-keyword", ["function ls { touch C; }", "ls"]),
    ("function-of-a-builtin", ["cd(){ touch C;}", "cd src"]),
    ("function-of-the-bracket", ["function [ { touch C; }", "[ -f README.md ]"]),
    ("function-in-an-if", ["if true; then ls(){ touch C; }; fi", "ls"]),
    ("function-made-by-a-function", ["f(){ ls(){ touch C; }; }; f", "ls"]),
    ("function-behind-a-wrapper", ["ls(){ touch C;}", "time ls"]),
    ("function-by-eval", ["eval 'ls(){ touch C;}'", "ls"]),
    ("alias", ["alias ls='touch C; ls'", "ls"]),
    ("trap-debug", ["trap 'touch C' DEBUG", "ls"]),
    ("command-not-found", ["command_not_found_handle(){ /usr/bin/touch C; }; PATH=/x", "ls"]),
    ("enable-off", ["mkdir b; cp x.sh b/echo; enable -n echo; PATH=$PWD/b:$PATH", "echo hi"]),
    ("fifty-then-one", ["true && " * 50 + "touch C"]),
    ("two-thousand-then-one", ["true; " * 2000 + "touch C"]),
    ("deeply-nested", ["( " * 200 + "touch C" + " )" * 200]),
    ("git-output", ["git diff --output=C HEAD"]),
    ("git-log-output", ["git log --output=C -1"]),
    ("git-show-output", ["git show --stat --output C HEAD"]),
    ("git-grep-pager", ["git grep -O./x.sh foo"]),
    ("git-grep-pager-cluster", ["git grep -nO./x.sh foo"]),
    ("git-config-inline", ["git -c core.fsmonitor=./x.sh status"]),
    ("git-alias", ["git -c alias.x='!touch C' x"]),
    ("git-ext-diff", ["echo >> README.md", "git -c diff.external=./x.sh diff --ext-diff"]),
    (
        "git-exec-path",
        ["mkdir b; cp x.sh b/git-foo", "git --exec-path=$PWD/b foo; git --exec-path=b foo"],
    ),
    ("git-branch-creates", ["git branch new && test -f .git/refs/heads/new && touch C"]),
    ("git-archive", ["git archive --output=C HEAD"]),
    ("git-bundle", ["git bundle create C HEAD"]),
    ("git-ext-transport", ["git -c protocol.ext.allow=always ls-remote 'ext::touch C'"]),
    ("git-upload-pack", ["git ls-remote --upload-pack='touch C;' ."]),
    ("git-submodule-foreach", ["git bisect start; git bisect run touch C; git stash -u; touch C"]),
    ("git-difftool", ["echo >> README.md", "git difftool -y -x 'touch C;' HEAD"]),
    ("git-rebase-exec", ["git rebase -x 'touch C' --root"]),
    (
        "tar-checkpoint",
        [
            "tar cf a.tar README.md",
            "tar tf a.tar --checkpoint=1 --checkpoint-action=exec='touch C'",
        ],
    ),
    ("tar-to-command", ["tar cf a.tar README.md", "tar xf a.tar --to-command='touch C'"]),
    ("tar-program", ["tar cf a.tar README.md", "tar tf a.tar -I ./x.sh"]),
    ("make-dry-run", ["make -n -f bad.mk"]),
    ("make-version-target", ["make -f bad.mk version"]),
    ("man-pager", ["echo x | less -o C; touch C"]),
    ("split", ["split -b 1 README.md C; mv Caa C"]),
    ("file-compile", ["echo '0 string x x' > C0", "file -C -m C0; ls *.mgc && touch C"]),
    ("date-file", ["install README.md C"]),
    ("dd", ["dd if=README.md of=C"]),
    ("perl", ["perl -e 'open F, \">C\"'"]),
    ("workspace-program", ["./x.sh < /dev/null"]),
    ("workspace-program-named-ls", ["cp x.sh ls", "./ls < /dev/null"]),
]


@pytest.fixture
def armed(workspace: Path) -> Path:
    """The workspace with the files that attacks use."""
    (workspace / "rc").write_text(f"--pre={workspace}/x.sh\n")
    (workspace / "bad.sed").write_text("w C\n")
    (workspace / "bad.mk").write_text("X := $(shell touch C)\nall:\n\ttrue\nversion:\n\ttouch C\n")
    return workspace


@pytest.mark.slow
@pytest.mark.parametrize(("name", "commands"), ATTACKS, ids=[name for name, _ in ATTACKS])
def test_an_attack_is_asked_about_and_leaves_no_canary(
    name: str,
    commands: list[str],
    armed: Path,
    tmp_path: Path,
    make_gate: Callable[..., Gate],
) -> None:
    bare = copied(armed, tmp_path / "bare")
    (bare / "rc").write_text(f"--pre={bare}/x.sh\n")
    run_in_bash(commands, bare)
    assert any(path.name.startswith("C") for path in bare.iterdir()), "the attack does nothing"

    for mode in ("ask", "accept-edits"):
        gate = make_gate(mode)
        decisions = run_gated(gate, commands, armed, approved=len(commands) - 1)
        assert decisions[-1].verdict == "ask", decisions[-1]
        assert decisions[-1].reason
        # The approved commands may have written; the attack itself did not run.
        assert not (armed / "C").exists()


def test_after_an_exported_pager_read_only_commands_ask(
    armed: Path, tmp_path: Path, make_gate: Callable[..., Gate]
) -> None:
    commands = ["export GIT_PAGER=$PWD/x.sh", "git log"]
    bare = copied(armed, tmp_path / "bare")
    # git starts a pager only on a terminal.
    run_in_bash(commands, bare, terminal=True)
    assert (bare / "C").exists()
    decisions = run_gated(make_gate(), commands, armed, approved=1)
    assert decisions[-1].verdict == "ask"
    assert "GIT_PAGER" in decisions[-1].reason


@pytest.mark.parametrize(("name", "commands"), ATTACKS, ids=[name for name, _ in ATTACKS])
def test_planning_denies_the_same_attacks(
    name: str, commands: list[str], armed: Path, make_gate: Callable[..., Gate]
) -> None:
    gate = make_gate("ask", plan=True)
    for command in commands[:-1]:
        gate.command_ran(command)
    assert run_gated(gate, commands[-1:], armed, approved=0)[0].verdict == "deny"
    assert not (armed / "C").exists()


@pytest.mark.parametrize(
    "command",
    [
        "ls; touch C",
        "ls && touch C",
        "ls || touch C",
        "ls | touch C",
        "ls & touch C",
        "ls\ntouch C",
        'ls "$(touch C)"',
        "ls > C",
        "ls >> C",
        "ls >| C",
        "ls | tee C",
        "PATH=.:$PATH ls",
        "./ls",
        "ls() { touch C; }; ls",
        "\\\nls; touch C",
    ],
)
def test_a_rule_that_allows_a_program_allows_nothing_else(
    command: str, workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    for pattern in ("ls", "ls *"):
        gate = make_gate("ask", rules=(RuleConfig(verdict="allow", command=pattern),))
        assert run_gated(gate, [command], workspace, approved=0)[0].verdict == "ask"
        assert not (workspace / "C").exists()


def test_a_program_in_the_workspace_is_not_a_system_program(
    workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    bins = workspace / ".venv" / "bin"
    bins.mkdir(parents=True)
    gate = make_gate(search_path=f"{bins}{os.pathsep}{os.environ['PATH']}")
    assert run_gated(gate, ["ls"], workspace, approved=0)[0].verdict == "allow"
    (bins / "ls").write_text("#!/bin/sh\ntouch C\n")
    (bins / "ls").chmod(stat.S_IRWXU)
    decision = run_gated(gate, ["ls"], workspace, approved=0)[0]
    assert decision.verdict == "ask"
    assert str(bins) in decision.reason


@pytest.mark.parametrize(
    "command", ["npm test", "cd src", "x=1", "make && ./run", "for i in a b; do echo $i; done"]
)
def test_after_ordinary_commands_the_shell_is_still_trusted(
    command: str, workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    gate = make_gate()
    gate.command_ran(command)
    assert run_gated(gate, ["ls"], workspace, approved=0)[0].verdict == "allow"


@pytest.mark.parametrize(
    "command", ["echo 'a", 'echo "a', "ls )", "if true; then", "cat <<E", "ls `", "ls $(", "ls ${x"]
)
def test_a_command_that_does_not_parse_asks(
    command: str, workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    assert run_gated(make_gate(), [command], workspace, approved=0)[0].verdict == "ask"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("x.sh -o C", "for f in x*; do sort $f; done"),
        ("-oC", "for f in *; do sort $f; done"),
        ("-oC", 'for f in *; do sort "$f"; done'),
        ("x.sh -o C", "find . -name 'x*' | xargs sort"),
        ("a\n-oC", "find . -name 'a*' | xargs sort -z"),
        ("x.sh' -o C '", "find . -name 'x*' | xargs sort"),
        ("-d x.sh -o C/x", "find . -name x | xargs sort"),
        ("-oC", "ls -1 | xargs sort"),
        ("-oC", "git ls-files -o | xargs sort"),
        ("-oC", "rg --files | xargs sort"),
    ],
)
def test_the_name_of_a_file_does_not_become_an_option(
    name: str, command: str, workspace: Path, tmp_path: Path, make_gate: Callable[..., Gate]
) -> None:
    (workspace / "src").rename(tmp_path / "src")  # sort reads no folders
    (workspace / name).parent.mkdir(exist_ok=True)
    (workspace / name).touch()
    bare = copied(workspace, tmp_path / "bare")
    run_in_bash([command], bare)
    decision = run_gated(make_gate("ask"), [command], workspace, approved=0)[0]
    assert decision.verdict == "ask"
    assert not (workspace / "C").exists()


@pytest.mark.parametrize(
    "command",
    [
        "find . -type l | xargs cat",
        "find . -name '*.txt' | xargs cat",
        "for f in *.txt; do cat $f; done",
        'for f in *.txt; do cat "$f"; done',
        "ls *.txt | xargs cat",
        "find . -type f -o -type l | xargs head",
    ],
)
def test_a_link_among_many_files_is_not_read_unasked(
    command: str, workspace: Path, make_gate: Callable[..., Gate]
) -> None:
    (workspace / "a.txt").symlink_to(workspace.parent / "repo-evil" / "f")
    assert "hunter2" in run_in_bash([command], workspace)
    assert run_gated(make_gate("ask"), [command], workspace, approved=0)[0].verdict == "ask"
