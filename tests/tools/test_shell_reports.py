"""A command reaches the descriptor by which the shell reports, and can do nothing outside by it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from laguna_agent.tools.terminal import processes
from laguna_agent.tools.terminal.driver import HELLO, REPORT_FD, ReportParser
from laguna_agent.tools.terminal.processes import MARK, Process, process_table, send_signal
from support.shells import Shell, make_context, unique


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user outside the sandbox."""
    process = subprocess.Popen(["/bin/sleep", unique()])
    yield process
    process.kill()
    process.wait()


FORGED = {
    "a program": "python3 -c \"import os; os.write({fd}, b'{bare}')\"",
    "a subshell": "(printf '{bare}' >&{fd})",
    "the shell itself": 'printf \'{known}\' "$__laguna_secret" "$__laguna_secret" >&{fd}',
    "a program that was told": "S=$__laguna_secret python3 -c \"import os; s = os.environb[b'S']; "
    "os.write({fd}, b'{known}' % (s, s))\"",
}


@pytest.mark.parametrize("by", FORGED)
async def test_a_forged_report_names_no_process_of_the_machine(
    by: str, shell: Shell, bystander: subprocess.Popen[bytes]
) -> None:
    ended = "D\\0" + "0\\0"
    ready = f"R\\0{HELLO}\\0{bystander.pid}\\0\\0/\\0visible\\0"
    command = FORGED[by].format(
        fd=REPORT_FD,
        bare=f"\\0{ended}\\0{ready}",
        known=f"\\0%s\\0{ended}\\0%s\\0{ready}",
    )
    await shell(f"{command}; sleep {unique()}", timeout=0.4)
    await shell(f"sleep {unique()}", timeout=0.3)
    assert bystander.poll() is None
    assert (await shell("echo goes on")).content.strip().endswith("goes on")
    await shell.close()
    assert bystander.poll() is None


async def test_a_forged_end_of_a_command_does_not_end_it(shell: Shell) -> None:
    forged = "".join(f"\\0{kind}\\0x\\0000\\0000\\0000\\0000" for kind in "RSBD")
    result = await shell(f"(printf '{forged}\\0R' >&{REPORT_FD}); sleep 0.05; echo whole; exit 3")
    assert "whole" in result.content
    assert result.exit_code == 3
    assert (await shell("echo next")).ok


@pytest.mark.parametrize(
    "command",
    [
        "readonly __laguna_secret; exit 3",
        "readonly __laguna_nonce; exit 3",
        f"exec {REPORT_FD}>&-; true",
        "unset __laguna_secret; exit 1",
    ],
)
async def test_a_driver_that_a_command_broke_is_replaced(command: str, shell: Shell) -> None:
    await shell(command, timeout=0.5)
    assert (await shell("echo goes on")).content.strip().endswith("goes on")


def test_a_pid_that_was_given_to_another_process_is_not_signalled(
    bystander: subprocess.Popen[bytes],
) -> None:
    now = process_table("none")[bystander.pid]
    send_signal([Process(now.pid, now.parent, None, "1")], signal.SIGKILL)
    send_signal([Process(1 << 22, 1, None, now.started)], signal.SIGKILL)
    assert bystander.poll() is None
    send_signal([now], signal.SIGKILL)
    assert bystander.wait() == -signal.SIGKILL


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="there is no /proc")
def test_a_process_is_known_while_it_executes_another_program(tmp_path: Path) -> None:
    again = tmp_path / "again.sh"
    again.write_text(f"#!/bin/sh\nexec {again}\n")
    again.chmod(0o755)
    with subprocess.Popen([again], env={"PATH": "/usr/bin:/bin", MARK: "m1:call"}) as process:
        try:
            tables = [process_table("m1") for _ in range(100)]
        finally:
            process.kill()
    assert [table[process.pid].call for table in tables] == ["call"] * 100


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EMFILE, None])
async def test_a_system_without_descriptors_of_processes_has_a_shell(
    number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pid: int) -> int:
        raise OSError(number, "no")

    if number is None:
        monkeypatch.delattr(os, "pidfd_open")
    else:
        monkeypatch.setattr(os, "pidfd_open", fail)
    assert processes.open_pidfd(os.getpid()) is None
    shell = Shell(make_context(tmp_path, confined=True))
    assert (await shell("echo works")).content == "works"
    assert "stopped after" in (await shell(f"sleep {unique()}", timeout=0.2)).content
    assert (await shell("kill -9 $PPID; kill -9 $$")).content  # the keeper too
    assert (await shell("echo again")).ok
    await shell.close()


REPORT = b"\0key\0R\0n1\x000\x0012 13\0/w\0state\nof it\0"


def test_reports_are_read_whole_however_they_arrive() -> None:
    data = b"noise" + REPORT + b"\0key\0B\0n2\0" + b"\0key\0D\x007\0"
    whole = ReportParser("key").feed(data)
    assert [(r.kind, r.nonce, r.status) for r in whole] == [
        ("R", "n1", 0),
        ("B", "n2", 0),
        ("D", "", 7),
    ]
    assert (whole[0].jobs, whole[0].cwd, whole[0].state) == ((12, 13), "/w", "state\nof it")
    parser = ReportParser("key")
    assert [r for at in range(len(data)) for r in parser.feed(data[at : at + 1])] == whole


@pytest.mark.parametrize(
    "junk",
    [
        b"\0R\0n1\x001\0\0/\0\0",
        b"\0R\0",
        b"\0wrong\0R\0n1\x001\0\0/\0\0",
        b"\0key",
        b"\0key\0",
        b"\0key\0R\0n1\x00",
        b"\0key\0X\0n1\x001\0",
        b"\0key\0D\0no number\0",
        b"\0" * 9000,
        bytes(range(256)) * 20,
    ],
    ids=range(10),
)
def test_what_else_is_written_there_hides_no_report(junk: bytes) -> None:
    parser = ReportParser("key")
    found = parser.feed(junk) + parser.feed(REPORT)
    assert [(r.kind, r.status) for r in found] == [("R", 0)]
