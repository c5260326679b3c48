"""Copying with the system's clipboard program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from laguna_agent.interfaces.tui.clipboard import copy_with_program

VARIABLES = ("WAYLAND_DISPLAY", "DISPLAY", "WSL_DISTRO_NAME", "SSH_CONNECTION")


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts programs in an empty PATH that write their input to a file."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, *, works: bool = True) -> Path:
        kept = tmp_path / f"{name}.txt"
        code = f"/bin/cat > '{kept}'" if works else "exit 1"
        (folder / name).write_text(f"#!/bin/sh\n{code}\n")
        (folder / name).chmod(0o755)
        return kept

    return put


def test_text_goes_to_the_program_of_the_display(programs, monkeypatch):
    wayland, x11 = programs("wl-copy"), programs("xclip")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("DISPLAY", ":0")
    assert copy_with_program("größer 日本\n")
    assert wayland.read_text() == "größer 日本\n"
    assert not x11.exists()


def test_when_one_program_fails_the_next_one_runs(programs, monkeypatch):
    programs("xclip", works=False)
    kept = programs("xsel")
    monkeypatch.setenv("DISPLAY", ":0")
    assert copy_with_program("text")
    assert kept.read_text() == "text"


def test_without_a_display_or_over_ssh_no_program_runs(programs, monkeypatch):
    kept = programs("wl-copy")
    assert not copy_with_program("text")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    assert not copy_with_program("text")
    assert not os.path.exists(kept)


def test_without_any_program_it_returns_false(programs, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    assert not copy_with_program("text")
