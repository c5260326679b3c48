"""Finds the programs that laguna starts by itself, where no command of a session can put them.

A command in the sandbox can write the workspace, and so a `.venv/bin/git` that stands first on the
search path; a repository can bring a `git` or a `json.py` along. So no other module asks the
search path, and none starts Python but with `python_command`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from laguna_agent.errors import UsageError
from laguna_agent.paths import state_dir

_SYSTEM = ("/usr", "/bin", "/sbin", "/opt", "/nix/store", "/snap", "/Library")
"""Places of installed programs, also when `/` is the workspace."""
_START = (
    "import runpy, sys; sys.path[:] = {path!r}; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_MOST_LINKS = 40

_distrusted: set[str] = set()


def distrust(*places: str | Path) -> None:
    """From now on, find no program below these places, which commands of a session can write."""
    _distrusted.update(os.path.realpath(place) for place in places)


def find_program(name: str) -> str | None:
    """The absolute path of a program on the search path, or None.

    Ignores relative and empty entries, and whatever lies or is linked to below the repository of
    the working directory, a place given to `distrust`, or laguna's own state.
    """
    places = _untrusted_places()
    for folder in _folders(places):
        path = os.path.join(folder, name)
        runnable = os.path.isfile(path) and os.access(path, os.X_OK)
        if runnable and not any(_below(place, step) for place in places for step in _steps(path)):
            return path
    return None


def is_writable_by_commands(path: str | Path) -> bool:
    """Whether a file, or one that its links lead to, is where commands of a session can write."""
    places = _untrusted_places()
    return any(_below(place, step) for place in places for step in _steps(str(path)))


def search_path() -> str:
    """The search path for programs that run outside the sandbox: only what `find_program` uses."""
    return os.pathsep.join(_folders(_untrusted_places())) or os.defpath


def user_command(text: str) -> list[str]:
    """The words of a command that the user configured, such as an editor, its program found.

    A program that is named by its absolute path may lie anywhere. Raises UsageError.
    """
    try:
        name, *arguments = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"`{text}` is not a command: {error}") from None
    program = name if os.path.isabs(name) else None if "/" in name else find_program(name)
    if program is None:
        raise UsageError(
            f"{name} is not found, or only where commands of a session can write",
            hint="Install it, or name it by its absolute path.",
        )
    return [program, *arguments]


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of laguna, or one it depends on, in a Python of its own.

    Isolated: no variable and no file of the working directory adds modules. The modules are found
    where this process finds them.
    """
    start = _START.format(path=[entry for entry in sys.path if os.path.isabs(entry)])
    return [sys.executable, "-I", "-c", start, module, *arguments]


def laguna_command() -> str:
    """The absolute path of the command `laguna`, the one that runs if it has that name."""
    beside = Path(sys.executable).with_name("laguna")
    started = Path(sys.argv[0])
    if started.name == "laguna" and started.is_file():
        return str(started.resolve() if not started.is_absolute() else started)
    return str(beside) if beside.is_file() else find_program("laguna") or "laguna"


def _untrusted_places() -> set[str]:
    places = {*_distrusted, os.path.realpath(state_dir())}
    try:
        here = Path.cwd()
    except OSError:  # the working directory was removed
        return places
    # What holds the home, where programs are, is no repository; as a workspace it was given to
    # `distrust`.
    home = os.path.realpath(os.path.expanduser("~"))
    above = [folder for folder in here.parents if os.path.lexists(folder / ".git")]
    found = {str(folder) for folder in (here, *above)}
    return places | {place for place in found if not _is_under(home, place)}


def _folders(places: set[str]) -> list[str]:
    """The usable entries of the search path, free of links."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    real = [os.path.realpath(entry) for entry in entries if os.path.isabs(entry)]
    return [entry for entry in dict.fromkeys(real) if not any(_below(p, entry) for p in places)]


def _steps(path: str) -> Iterator[str]:
    """A file and each file that its links lead to."""
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(path)
        path = os.path.join(os.path.realpath(folder), name)
        yield path
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return


def _below(place: str, path: str) -> bool:
    """Whether a path lies below an untrusted place, and not in a system's directory below it."""
    return _is_under(path, place) and not any(
        system != place and _is_under(system, place) and _is_under(path, system)
        for system in _SYSTEM
    )


def _is_under(path: str, place: str) -> bool:
    if sys.platform == "darwin":  # whose file systems do not tell capitals apart
        path, place = path.casefold(), place.casefold()
    return path == place or path.startswith(place.rstrip("/") + "/")
