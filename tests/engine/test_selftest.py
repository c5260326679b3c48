"""A llama.cpp that does not run on this machine is detected before anything depends on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from laguna_agent.interfaces.commands import doctor
from laguna_agent.models.engine import selftest


def test_the_llama_cpp_that_is_installed_runs() -> None:
    assert selftest.fault() == ""


def test_a_missing_library_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", "/nowhere")
    fault = selftest.fault()
    assert fault.startswith("fails: FileNotFoundError")
    assert "\n" not in fault


def test_doctor_reports_a_library_that_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -ILL $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert selftest.fault() == "is killed by SIGILL"
    assert doctor.main([]) != 0
    shown = capsys.readouterr().out
    assert "llama.cpp, built for the processor, is killed by SIGILL" in shown
