"""Runs the examples of a module's functions and prints the first that fails, as JSON.

laguna passes the text of this file to the Python of the sandbox, which may be any version from 3.8
and has nothing of laguna. The argument is JSON: `root` and `module` to import, `functions` with the
fields of `Examples`, `seconds` for all examples, and `mark`, which begins the line that is printed.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import json
import math
import re
import signal
import sys
from typing import Any

HEDGED = re.compile(
    r"[#(].*\b(?:random\w*|may vary|varies|approx\w*|about|roughly|e\.g|depend\w*|currently|now"
    r"|today|for example|like)\b",
    re.IGNORECASE,
)
"""Beside a value that need not come out each time."""
UNKNOWN = "(random)"


class TooLateError(BaseException):
    """The examples take too long."""


class FailedError(Exception):
    """An example failed: its source, what it should give, and what it gives."""


class CannotRunError(Exception):
    """An example cannot be judged: it needs names that it does not define."""


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, numbers nearly, lists as tuples, and `(1)` as `(1,)`."""
    if isinstance(one, tuple) and len(one) == 1 and not isinstance(other, (list, tuple)):
        return same(one[0], other)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(one, int) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)


class Checker(doctest.OutputChecker):
    """Takes equal literals for the same, however they are written."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """Whether an example printed what it should. Where nothing is said, as behind
        `>>> f(1) == 2`, only False is wrong."""
        if HEDGED.search(want):
            return True
        if not want:
            return got.strip() != "False"
        if super().check_output(want, got, optionflags):
            return True
        try:
            return same(ast.literal_eval(got.strip()), ast.literal_eval(want.strip()))
        except (ValueError, SyntaxError, TypeError, RecursionError):
            return False


class Runner(doctest.DocTestRunner):
    """Raises at the first example that fails."""

    def report_start(self, out: Any, test: Any, example: Any) -> None:
        """Print nothing."""

    def report_success(self, out: Any, test: Any, example: Any, got: str) -> None:
        """Print nothing."""

    def report_failure(self, out: Any, test: Any, example: Any, got: str) -> None:
        """End with what an example printed."""
        raise FailedError(example.source, example.want or "True", got or "nothing")

    def report_unexpected_exception(self, out: Any, test: Any, example: Any, exc_info: Any) -> None:
        """End with the exception."""
        raise failure(example.source, example.want or "nothing", exc_info[1])


def failure(source: str, want: str, error: BaseException) -> Exception:
    """What an exception in an example means."""
    if isinstance(error, TooLateError):
        return FailedError(source, want, "no end")
    if isinstance(error, (NameError, ImportError)):
        return CannotRunError()
    return FailedError(source, want, f"{type(error).__name__}: {error}")


def run(module: Any, function: dict[str, Any]) -> None:
    """Run the examples of one function; raises FailedError."""
    names = dict(vars(module))
    if function["docstring"]:
        flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        runner = Runner(Checker(), verbose=False, optionflags=flags)
        test = doctest.DocTestParser().get_doctest(
            function["docstring"], names, function["name"], "<examples>", 0
        )
        for example in test.examples:
            if HEDGED.search(re.sub(r"'[^'\n]*'|\"[^\"\n]*\"", "", example.source)):
                example.want = UNKNOWN
        runner.run(test, out=lambda text: None)
    for call, want in function["values"]:
        try:
            got = eval(call, names)
        except BaseException as error:
            raise failure(call, want, error) from None
        if not same(got, ast.literal_eval(want)):
            raise FailedError(call, want, repr(got))


def main() -> None:
    """Run all examples."""
    task = json.loads(sys.argv[1])
    sys.path.insert(0, task["root"])

    def stop(number: int, frame: Any) -> None:
        raise TooLateError

    failed = None
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        module = importlib.import_module(task["module"])
        signal.signal(signal.SIGALRM, stop)
        signal.alarm(task["seconds"])
        for function in task["functions"]:
            try:
                run(module, function)
            except FailedError as error:
                failed = [function["name"], *(str(text).strip()[:500] for text in error.args)]
                break
            except (CannotRunError, ValueError):
                continue
        signal.alarm(0)
    sys.stdout.write("\n" + task["mark"] + json.dumps(failed) + "\n")


if __name__ == "__main__":
    main()
