"""The cost of the policy: the start of a sandboxed shell, and a decision about a command.

    python benchmarks/policy.py

prints medians over many runs, and the cost of the sandbox as what it adds to a bare shell.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COMMANDS = (
    "ls -la",
    "cd src && rg -n foo | head",
    "git status -sb",
    "git log --oneline -10 | cat",
    "python3 -m pytest -q tests/test_a.py -k 'foo and not bar' 2>&1 | tail -40",
    'for f in src/*.py; do echo "$f"; done',
    "find . -name '*.py' -not -path './.git/*' | xargs wc -l | sort -n",
    "cat README.md src/a.py | grep -v '^#' | sort | uniq -c | sort -rn | head -20",
)


def median_ms(run: Callable[[], object], times: int) -> float:
    """Median wall-clock time of `run` in milliseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LAGUNA_HOME"] = os.path.join(scratch, "home")
        from laguna_agent.actions import RunCommand
        from laguna_agent.policy.gate import Gate
        from laguna_agent.policy.sandbox import make_sandbox
        from laguna_agent.policy.shell_syntax import parse

        workspace = Path(scratch, "repo")
        (workspace / "src").mkdir(parents=True)
        (workspace / "src" / "a.py").write_text("foo\n")
        (workspace / "README.md").write_text("foo\n")
        subprocess.run(["git", "init", "-q", str(workspace)], check=True)

        choice = make_sandbox(
            workspace=workspace,
            enabled=True,
            network=False,
            writable=[],
            state_dir=Path(scratch, "state"),
        )
        shell = ["bash", "--norc", "--noprofile", "-c", ":"]
        bare = median_ms(lambda: subprocess.run(shell, check=True), 40)
        print(f"bare shell                 {bare:8.2f} ms")
        if choice.confined:
            sandbox = choice.sandbox
            boxed = median_ms(
                lambda: subprocess.run(
                    sandbox.wrap(shell, cwd=workspace), env=sandbox.environment(), check=True
                ),
                40,
            )
            print(f"sandboxed shell            {boxed:8.2f} ms   adds {boxed - bare:.2f} ms")
        else:
            print(f"no sandbox here: {choice.reason}")

        for mode, sandboxed in (("ask", False), ("auto", True)):
            gate = Gate(
                mode=mode,  # type: ignore[arg-type]  # one of the modes
                plan=False,
                workspace=workspace,
                rules=(),
                sandboxed=sandboxed,
                network=False,
                trusted=False,
            )
            worst = 0.0
            for command in COMMANDS:
                action = RunCommand(command=command, cwd=str(workspace))

                def decide(gate: Gate = gate, action: RunCommand = action) -> None:
                    parse.cache_clear()
                    gate.decide(action, tool="shell")

                worst = max(worst, median_ms(decide, 200))
            print(f"decision in {mode:<5} (slowest)  {worst:8.3f} ms")


if __name__ == "__main__":
    main()
