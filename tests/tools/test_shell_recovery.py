"""Shells that a command ends or changes, on real bash, bare and in real bubblewrap."""

from __future__ import annotations

import pytest

from support.shells import Shell


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("exit 3", 3),
        ("set -e; false; echo no", 1),
        ("set -eu; echo $no_such_variable_at_all", 1),
        ("f() { exit 4; }; f", 4),
        ("kill -9 $$", 137),
        ("exec true", 0),
        ("exec sh -c 'exit 5'", 5),
        ("break 9", 0),
        ("trap - EXIT; exit 6", 6),
        ("trap 'echo bye' EXIT; exit 0", 0),
    ],
)
async def test_a_shell_that_ends_is_replaced_in_place(
    shell: Shell, command: str, code: int
) -> None:
    await shell("export KEPT=yes; cd /usr")
    result = await shell(command)
    assert result.exit_code == code
    assert "a new one started in /usr" in result.content
    assert (await shell('echo "$KEPT $PWD $-"')).content.startswith("yes /usr ")


async def test_an_exit_keeps_variables_and_functions(shell: Shell) -> None:
    await shell("x=1; declare -a list=(a 'b c'); f() { echo f; }; multi=$'two\\nlines'")
    await shell("y=2; exit 1")
    result = await shell('echo "$x $y ${list[1]} $(f)"; echo "$multi"')
    assert result.content == "1 2 b c f\ntwo\nlines"


async def test_errexit_does_not_outlive_its_command(shell: Shell) -> None:
    await shell("set -e; false")
    assert (await shell("false; echo goes on")).content == "goes on"


@pytest.mark.parametrize(
    "command",
    [
        "echo 'open",
        'echo "open',
        "echo $(ls",
        "if true; then echo",
        "for x in 1 2; do",
        "f() {",
        "echo )",
        "case x in",
    ],
)
async def test_unfinished_syntax_runs_nothing(shell: Shell, command: str) -> None:
    result = await shell(f"touch made\n{command}")
    assert not result.ok
    assert "nothing was run" in result.content
    assert not (shell.context.workspace / "made").exists()
    assert (await shell("echo fine")).content == "fine"


async def test_an_unterminated_here_document_is_reported(shell: Shell) -> None:
    result = await shell("cat <<END\ntext")
    assert "here-document" in result.content
    assert "text" in result.content
    assert (await shell("echo fine")).content == "fine"


@pytest.mark.parametrize(
    "command",
    [
        "PS1='$(echo pwned)>'; PS2=; PROMPT_COMMAND='echo prompt'",
        "set -x",
        "set -v",
        "set -f; IFS=x",
        "set -u",
        "set -o posix",
        "stty -echo 2>/dev/null",
        "exec >/dev/null 2>&1",
        "exec 2>&-",
        "exec 0<&-",
        "exec 5>&1",
        "echo R >&230; printf 'R\\0x\\0000\\0' >&230; printf junk >&230",
        "trap 'echo debug' DEBUG; trap - DEBUG",
        "printf() { echo fake; }; pwd() { echo fake; }; jobs() { echo fake; }",
        "alias echo=false",
        "unset PATH; PATH=/usr/bin:/bin",
        "cd /; cd -",
        "break; continue",
        "return 3",
        "HISTFILE=/tmp/x; set -o history",
        "shopt -s extdebug; shopt -u extdebug",
        "echo -e '\\x00\\x01\\x1b[2J\\x07'",
        "ulimit -c 0",
        "umask 077",
        "LC_ALL=C",
        "enable -n echo; enable echo",
        "readonly LAGUNA_X=1",
        "coproc cat",
        "set -- a b c; shift",
        "exec 230>&- ; exec 231>&-; true",
    ],
)
async def test_a_command_that_changes_the_shell_does_not_break_it(
    shell: Shell, command: str
) -> None:
    closes = "230>&-" in command
    result = await shell(command, timeout=0.5 if closes else 20)
    assert "stopped after" not in result.content or closes
    for _ in range(2):
        after = await shell("/bin/echo fine", timeout=20)
        assert after.content.endswith("fine"), after.content


async def test_a_keeper_that_is_killed_is_replaced(shell: Shell) -> None:
    await shell("export KEPT=yes; cd /usr")
    await shell("kill -9 $PPID")
    result = await shell('echo "$KEPT $PWD"')
    assert result.content.startswith("yes /usr")


async def test_a_removed_directory_does_not_break_the_shell(shell: Shell) -> None:
    await shell("mkdir gone; cd gone")
    await shell("rmdir ../gone")
    assert (await shell("echo fine")).content.startswith("fine")
    await shell("exit")
    assert (await shell("cd /usr; pwd")).content.startswith("/usr")
