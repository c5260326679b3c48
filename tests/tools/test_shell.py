"""The shell on real bash, bare and in real bubblewrap."""

from __future__ import annotations

import random
import signal
import subprocess

import pytest

from laguna_agent.actions import RunCommand
from laguna_agent.tools.registry import validate_arguments
from laguna_agent.tools.shell import ShellArguments, ShellTool
from support.shells import Shell, processes_with, unique, until

# --- state between commands ---------------------------------------------------------------------


async def test_directory_variables_and_functions_persist(shell: Shell) -> None:
    (shell.context.workspace / "sub").mkdir()
    first = await shell("cd sub; export A=one; B=two; f() { echo three; }")
    assert first.content == f"[now in {shell.context.workspace}/sub]"
    result = await shell('echo "$A $B $(f)"; pwd')
    assert result.content == f"one two three\n{shell.context.workspace}/sub"


async def test_a_virtual_environment_stays_active(shell: Shell) -> None:
    bin_dir = shell.context.workspace / "venv" / "bin"
    bin_dir.mkdir(parents=True)
    (bin_dir / "tool").write_text("#!/bin/sh\necho from the environment\n")
    (bin_dir / "tool").chmod(0o755)
    (bin_dir / "activate").write_text(
        f'export PATH="{bin_dir}:$PATH"\nPS1="(venv) ${{PS1:-}}"\nexport PS1\n'
    )
    await shell(". venv/bin/activate")
    assert (await shell("tool")).content == "from the environment"


async def test_signal_handlers_of_the_program_do_not_run_in_the_shell(shell: Shell) -> None:
    """Giving up the terminal sends SIGCONT, for which a terminal interface has a handler."""

    def handler(*_: object) -> None:
        raise RuntimeError("a handler ran in the child")

    before = signal.signal(signal.SIGCONT, handler)
    try:
        assert (await shell("echo fine")).content == "fine"
    finally:
        signal.signal(signal.SIGCONT, before)


async def test_exit_status_and_output_are_reported(shell: Shell) -> None:
    result = await shell("echo out; echo err >&2; exit_with() { return 7; }; exit_with")
    assert not result.ok
    assert result.exit_code == 7
    assert result.content == "out\nerr\n[exit 7]"


async def test_a_death_by_signal_is_named(shell: Shell) -> None:
    result = await shell("bash -c 'kill -SEGV $$'")
    assert result.exit_code == 139
    assert "killed by SIGSEGV" in result.content


async def test_empty_output_is_reported(shell: Shell) -> None:
    assert (await shell("true")).content == "(no output)"


async def test_line_numbers_in_messages_are_those_of_the_command(shell: Shell) -> None:
    result = await shell("true\nno_such_command_1\ntrue\nno_such_command_3")
    assert "line 2: no_such_command_1" in result.content
    assert "line 4: no_such_command_3" in result.content


async def test_a_long_command_runs_in_full(shell: Shell) -> None:
    text = "".join(random.Random(1).choices("abc \t\n€\\'$`!*", k=200_000))
    result = await shell(f"wc -c <<'END_OF_TEXT'\n{text}\nEND_OF_TEXT")
    assert result.content.strip() == str(len(text.encode()) + 1)


async def test_history_expansion_is_off(shell: Shell) -> None:
    assert (await shell('echo "wow!" !!')).content == "wow! !!"


async def test_the_policy_gets_the_shells_directory(shell: Shell) -> None:
    tool = ShellTool()
    arguments = ShellArguments(command="ls")
    assert tool.actions(arguments, shell.context) == [
        RunCommand(command="ls", cwd=str(shell.context.workspace))
    ]
    await shell("cd /usr")
    assert tool.actions(arguments, shell.context) == [RunCommand(command="ls", cwd="/usr")]


@pytest.mark.parametrize("command", ["", "  \n", "echo \0"])
def test_empty_commands_are_refused(command: str) -> None:
    answer = validate_arguments(ShellTool(), {"command": command})
    assert isinstance(answer, str)
    assert "Example" in answer


# --- background ---------------------------------------------------------------------------------


async def test_a_background_job_does_not_block_the_command(shell: Shell) -> None:
    number = unique()
    result = await shell(f"sleep {number} & echo done", timeout=60)
    assert result.content.startswith("done\n[pid ")
    assert "still runs in the background" in result.content
    listed = await shell("jobs")
    assert f"sleep {number}" in listed.content
    await shell("kill %1; wait %1 2>/dev/null")
    assert await until(lambda: not processes_with(number))


async def test_a_noisy_background_job_stays_out_of_later_results(shell: Shell) -> None:
    first = await shell("while :; do echo NOISE; sleep 0.001; done & echo started")
    for number in range(20):
        assert (await shell(f"echo {number}")).content == str(number)
    (name,) = [word for word in first.content.split() if word.startswith("output:")]
    saved = shell.context.state_dir / "output" / name.removeprefix("output:").rstrip(";")
    assert await until(lambda: saved.read_text().count("NOISE") > 20)
    pid = first.content.split("kill ")[1].rstrip("]")
    ended = await shell(f"kill {pid}; wait {pid} 2>/dev/null; true")
    output = ended.content
    for _ in range(200):
        if "ended in the background" in output:
            break
        output += (await shell("sleep 0.05")).content
    assert "ended in the background" in output


async def test_a_process_that_keeps_the_output_open_does_not_block_the_command(
    shell: Shell,
) -> None:
    number = unique()
    result = await shell(f"(setsid sleep {number} &) ; echo done", timeout=60)
    assert result.content.startswith("done\n")
    assert result.exit_code == 0
    await shell.close()
    assert await until(lambda: not processes_with(number))


@pytest.mark.parametrize(
    "command",
    [
        "sleep {n} > log 2>&1 &",
        "nohup sleep {n} >/dev/null 2>&1 &",
        "(sleep {n} >/dev/null 2>&1 &)",
        "setsid sleep {n} >/dev/null 2>&1 &",
        "sleep {n} >/dev/null 2>&1 & disown",
        "env -i sleep {n} >/dev/null 2>&1 &",
        "while :; do sleep 0.0{n}; done >/dev/null 2>&1 &",
        """python3 -c 'import os; os.fork() and os._exit(0); os.setsid()
os.execvp("sleep", ["sleep", "{n}"])' >/dev/null 2>&1""",
    ],
)
async def test_a_background_command_with_redirected_output_runs_until_it_ends(
    shell: Shell, command: str
) -> None:
    number = unique()
    started = await shell(command.format(n=number))
    assert "still runs in the background; stop with: kill " in started.content
    assert "output:" not in started.content  # it goes to where the command sent it
    assert "in the background" not in (await shell("true")).content
    pids = started.content.split("kill ")[1].split("]")[0]
    assert pids.isdecimal(), pids
    ended = await shell(f"kill {pids}; wait")
    for _ in range(100):
        if "[ended in the background: " in ended.content:
            break
        ended = await shell("sleep 0.02")
    assert "[ended in the background: " in ended.content


async def test_what_runs_on_is_known_after_the_shell_was_replaced(shell: Shell) -> None:
    number = unique()
    await shell(f"sleep {number} >/dev/null 2>&1 &")
    result = await shell("exit 3")
    assert f"[still in the background: sleep {number}" in result.content
    assert "ended" not in (await shell("true")).content


async def test_a_command_that_ends_at_once_is_not_in_the_background(shell: Shell) -> None:
    for command in ("true & wait", "echo x > >(cat > copy)", "true | sleep 0 >/dev/null"):
        assert "background" not in (await shell(command)).content


async def test_late_output_of_a_pipeline_is_in_the_result(shell: Shell) -> None:
    result = await shell("echo hello > >(sleep 0.01; tr a-z A-Z)")
    assert "HELLO" in result.content


# --- standard input, terminals, editors, pagers -------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "cat",
        "read line; echo $?",
        "cat /dev/tty",
        "read line </dev/tty",
        "python3 -c 'input()'",
        "sudo -k true",
        "ssh-keygen -y -f /dev/null",
        "git log | cat; man bash | head -1",
        "less /etc/passwd | head -1",
        "su nobody -c true </dev/null",
        "passwd",
        "exec 0</dev/tty",
        "bash -i -c 'read -p name: x'",
    ],
)
async def test_readers_of_input_end_at_once(shell: Shell, command: str) -> None:
    result = await shell(command, timeout=20)
    assert "stopped after" not in result.content


async def test_git_opens_no_editor_and_no_pager(shell: Shell) -> None:
    identity = "-c user.name=a -c user.email=a@b"
    shell_result = await shell("git init -q . && echo 1 > f && git add f", timeout=20)
    if not shell_result.ok:  # the sandbox protects .git; this is about the editor
        subprocess.run(["git", "init", "-q", "."], cwd=shell.context.workspace, check=True)
    result = await shell(f"git {identity} commit --allow-empty", timeout=20)
    assert "stopped after" not in result.content
    assert "stopped after" not in (await shell("git log -p", timeout=20)).content


async def test_programs_see_no_terminal_and_no_colours(shell: Shell) -> None:
    result = await shell("test -t 1 || echo no terminal; echo $TERM $NO_COLOR; ls --color=auto /")
    assert result.content.startswith("no terminal\ndumb 1\n")
    assert "\x1b" not in result.content
