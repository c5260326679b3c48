"""Finds a suite by its name or folder; public task sets are turned into suites for one run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from laguna_agent.errors import UsageError, did_you_mean
from laguna_agent.evaluation.suite import Suite, read_suite

BUILT_IN = Path(__file__).parent / "suites"
"""Where the suites lie that come with laguna."""
_CLONE = "polyglot"
_MADE = ("humaneval", "humaneval-rust", "long", _CLONE)


def suite_names() -> list[str]:
    """The names that stand for suites."""
    return sorted([path.name for path in BUILT_IN.iterdir() if path.is_dir()] + [*_MADE])


@contextmanager
def open_suite(name: str, *, data: Path | None = None, offline: bool = False) -> Iterator[Suite]:
    """A suite by its name, or the suite in a folder; its files last as long as the block.

    `data` is the clone that `polyglot` needs. Raises UsageError, and LagunaError when a package
    cannot be fetched.
    """
    if data is not None and name != _CLONE:
        raise UsageError(f"{name} takes no --data", hint=f"Only {_CLONE} does.")
    if name in _MADE:
        with tempfile.TemporaryDirectory(prefix="laguna-suite-") as folder:
            _write(name, Path(folder, name), data, offline=offline)
            yield read_suite(Path(folder, name))
        return
    names = suite_names()
    path = BUILT_IN / name if name in names else Path(name).expanduser()
    if not path.is_dir():
        hint = did_you_mean(name, names) or f"Known: {', '.join(names)}."
        raise UsageError(f"{name} is neither a suite nor a folder", hint=hint)
    yield read_suite(path)


def _write(name: str, folder: Path, data: Path | None, *, offline: bool) -> None:
    if name == "long":
        from laguna_agent.evaluation.datasets.long import write_long

        write_long(folder)
        return
    if name == _CLONE:
        from laguna_agent.evaluation.datasets.polyglot import ADDRESS, write_polyglot

        if data is None:
            raise UsageError("polyglot needs its exercises",
                             hint=f"Give a clone of {ADDRESS} as --data.")  # fmt: skip
        write_polyglot(data.expanduser(), folder)
        return
    from laguna_agent.evaluation.datasets import humaneval

    if name == "humaneval":
        humaneval.write_python(humaneval.PYTHON.read(offline=offline), folder)
    else:
        humaneval.write_rust(humaneval.RUST.read(offline=offline), folder)
