"""Output of commands, on real bash, bare and in real bubblewrap."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from laguna_agent.tools.terminal import capture
from support.shells import Shell, make_context, until


@pytest.mark.parametrize("device", ["/dev/urandom", "/dev/zero"])
async def test_an_endless_device_is_stopped(
    shell: Shell, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "FILE_LIMIT", 2 << 20)
    result = await shell(f"cat {device}", timeout=100)
    assert "stopped: it printed more than" in result.content
    assert len(result.content) < shell.context.max_output_chars + 500
    result.content.encode("utf-8")


async def test_endless_output_is_bounded_and_stopped(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "FILE_LIMIT", 16 << 20)
    result = await shell("yes", timeout=100)
    assert "stopped: it printed more than" in result.content
    assert result.content.startswith("y\ny\ny\n")
    assert len(result.content) < shell.context.max_output_chars + 500
    assert (await shell("echo alive")).content == "alive"


async def test_random_bytes_become_valid_text(shell: Shell) -> None:
    result = await shell("head -c 3000000 /dev/urandom")
    assert result.ok
    assert len(result.content) < shell.context.max_output_chars + 500
    result.content.encode("utf-8")
    assert not any(ord(c) < 32 and c not in "\n\t" for c in result.content)
    assert result.output_file is not None
    Path(result.output_file).read_text(encoding="utf-8")


async def test_long_output_keeps_head_and_tail_and_the_whole_in_a_file(shell: Shell) -> None:
    result = await shell("seq 1 50000")
    assert result.truncated
    assert result.content.startswith("1\n2\n3\n")
    assert result.content.endswith("49999\n50000")
    assert "left out; all of it: read output:1" in result.content
    assert result.output_file is not None
    assert Path(result.output_file).read_text() == "".join(f"{n}\n" for n in range(1, 50001))


async def test_output_is_shown_live(tmp_path: Path) -> None:
    shown: list[str] = []
    shell = Shell(make_context(tmp_path, False, on_output=shown.append))
    task = asyncio.ensure_future(shell("echo early; while [ ! -e go ]; do sleep 0.01; done"))
    assert await until(lambda: "early" in "".join(shown))
    (tmp_path / "workspace" / "go").touch()
    await task
    await shell.close()


async def test_progress_bars_and_colours_are_cleaned(shell: Shell) -> None:
    result = await shell(r"for i in 1 50 100; do printf '\r\e[K\e[32m%s%%\e[0m' $i; done; echo")
    assert result.content == "100%"
