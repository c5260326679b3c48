"""Start and end of shells: nothing survives, nothing leaks, any sandbox works."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from laguna_agent.paths import state_dir
from laguna_agent.tools.shell import commands_if_quiet, new_session, shell_cwd
from laguna_agent.tools.terminal.bash import BashSession
from laguna_agent.tools.tool import Sandbox
from support.shells import Shell, make_context, processes_with, unique, until


async def test_closing_ends_everything(shell: Shell) -> None:
    number = unique()
    await shell(f"sleep {number} & (setsid sleep {number} &); nohup sleep {number} >/dev/null &")
    assert await until(lambda: len(processes_with(number)) == 3)
    await shell.close()
    assert await until(lambda: not processes_with(number))


async def test_descriptors_and_processes_do_not_pile_up(tmp_path: Path) -> None:
    def children() -> int:
        me = str(os.getpid())
        return sum(
            Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1] == me
            for entry in os.listdir("/proc")
            if entry.isdecimal() and Path("/proc", entry, "stat").exists()
        )

    async def once(directory: Path) -> None:
        directory.mkdir()
        shell = Shell(make_context(directory, True))
        await shell("sleep 100 & exit")
        await shell("echo x; kill -9 $PPID")
        await shell("sleep 100", timeout=0.3)
        await shell.close()

    await once(tmp_path / "warm")
    before = len(os.listdir("/proc/self/fd")), children()
    for number in range(2):
        await once(tmp_path / str(number))
    # Not more: what an earlier test of this process left may end meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before[0]
    assert children() <= before[1]
    assert not list((tmp_path / "0" / "state" / "shell").iterdir())


@pytest.mark.parametrize("confined", [False, True], ids=["bare", "bubblewrap"])
async def test_no_orphan_survives_when_laguna_is_killed(tmp_path: Path, confined: bool) -> None:
    number = unique()
    script = textwrap.dedent(
        f"""
        import asyncio, pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from support.shells import Shell, make_context

        async def main():
            shell = Shell(make_context(pathlib.Path({str(tmp_path)!r}), {confined}))
            await shell("sleep {number} & (setsid sleep {number} &)")
            await shell("sh -c 'trap \\"\\" TERM HUP INT; sleep {number}; :'", timeout=600)

        asyncio.run(main())
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        assert await until(lambda: len(processes_with(number)) >= 3)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert await until(lambda: not processes_with(number))


async def test_a_shell_is_quiet_when_nothing_runs_in_any(tmp_path: Path) -> None:
    context = make_context(tmp_path, True)
    shell = Shell(context)
    assert commands_if_quiet(context) == 0
    await shell("true")
    assert commands_if_quiet(context) == 1
    await shell("sleep 1000 & disown")
    assert commands_if_quiet(context) is None
    await shell("kill -9 $!")
    assert await until(lambda: commands_if_quiet(context) == 3)
    await shell("(setsid sleep 1000 < /dev/null > /dev/null 2>&1 &)")
    assert commands_if_quiet(context) is None
    await shell("pkill -9 sleep")
    check = new_session(context)
    await check.run("true", timeout=30, on_output=lambda text: None)
    assert await until(lambda: commands_if_quiet(context) == 6)
    running = asyncio.create_task(check.run("sleep 1", timeout=30, on_output=lambda text: None))
    await asyncio.sleep(0)
    assert commands_if_quiet(context) is None
    await running
    await check.aclose()
    assert await until(lambda: commands_if_quiet(context) == 7)
    await shell.close()


class Hiding:
    """A sandbox that shows the shell nothing of laguna's state."""

    name = "hiding"

    def wrap(self, argv: list[str], *, cwd: Path) -> list[str]:
        options = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid"]
        workspace = ["--tmpfs", str(cwd.parent), "--bind", str(cwd), str(cwd), "--chdir", str(cwd)]
        return ["bwrap", "--die-with-parent", *options, *workspace, "--", *argv]

    def exposing(self, directory: Path) -> Hiding:
        return self

    def environment(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin"}


async def test_output_comes_by_the_terminal_if_the_pipes_are_hidden(tmp_path: Path) -> None:
    context = make_context(tmp_path, False)
    sandbox: Sandbox = Hiding()
    context.sandbox = sandbox
    shell = Shell(context)
    assert (await shell("echo one; echo two")).content == "one\ntwo"
    assert (await shell("sleep 1000; echo no", timeout=0.3)).content.startswith(
        "Terminated\n[stopped"
    )
    assert (await shell("exit 3")).exit_code == 3
    assert (await shell("seq 1 30000")).content.endswith("29999\n30000")
    await shell.close()


async def test_a_command_sees_its_pipe_and_nothing_else_of_lagunas_state(tmp_path: Path) -> None:
    context = make_context(tmp_path, True)
    context.state_dir = state_dir() / "repository" / "outputs"
    context.state_dir.mkdir(parents=True)
    (context.state_dir / "secret").write_text("x")
    shell = Shell(context)
    await shell("while :; do echo NOISE; sleep 0.01; done &")
    assert "NOISE" not in (await shell("sleep 0.1; echo quiet")).content
    listing = await shell(f"find {state_dir()} -type f; touch {context.state_dir}/shell/x")
    assert "secret" not in listing.content
    assert "Read-only" in listing.content
    await shell.close()


async def test_another_sandbox_means_a_new_shell_in_the_same_directory(tmp_path: Path) -> None:
    shell = Shell(make_context(tmp_path, False))
    await shell("export KEPT=yes; cd /usr")
    shell.context.sandbox = make_context(tmp_path, True).sandbox
    result = await shell('echo "$KEPT $PWD"; touch /usr/share/x 2>&1')
    assert result.content.startswith("yes /usr\n")
    assert "Read-only" in result.content
    assert shell_cwd(shell.context) == "/usr"
    await shell.close()


async def test_a_shell_that_cannot_start_is_a_result(tmp_path: Path) -> None:
    class Broken(Hiding):
        def wrap(self, argv: list[str], *, cwd: Path) -> list[str]:
            return ["bwrap", "--no-such-option", *argv]

    context = make_context(tmp_path, False)
    context.sandbox = Broken()
    shell = Shell(context)
    result = await shell("echo x")
    assert not result.ok
    assert "bash did not start" in result.content
    await shell.close()


async def test_secrets_of_the_environment_are_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "hidden-value")
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "evil"))
    (tmp_path / "evil").write_text(f"touch {tmp_path}/pwned\n")
    for confined in (False, True):
        shell = Shell(make_context(tmp_path, confined))
        assert "hidden-value" not in (await shell("env")).content
        await shell.close()
    assert not (tmp_path / "pwned").exists()


async def test_calls_at_once_take_turns(shell: Shell) -> None:
    results = await asyncio.gather(*(shell(f"echo {n}; sleep 0.01; echo {n}") for n in range(10)))
    assert [r.content for r in results] == [f"{n}\n{n}" for n in range(10)]
    assert isinstance(shell.context.state["shell"], BashSession)
    assert len(shell.context.resources) == 1
