"""Harbor drives `laguna acp` through a small task, without a container and with a scripted model.

    python3.12 -m venv venv && venv/bin/pip install harbor agent-client-protocol
    venv/bin/python benchmarks/harbor/run.py [--laguna .venv/bin/laguna] [--out DIR]

Run it with the Python that Harbor is installed in (3.12 or newer). Shows that Harbor's runner for
ACP agents and laguna understand each other: the task must pass, and the trajectory that Harbor
writes must be valid ATIF.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.model_server import ModelServer, calls, says  # noqa: E402

SCRIPT = (
    calls(("read", '{"path": "greet.py"}')),
    calls(("edit", '{"path": "greet.py", "old": "argv[0]", "new": "argv[1]"}')),
    calls(("shell", '{"command": "python3 greet.py Ada"}')),
    says("greet.py greets whom it is given.", prompt_tokens=2000, completion_tokens=20),
)


async def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--laguna", type=Path, default=ROOT / ".venv/bin/laguna")
    parser.add_argument("--out", type=Path, help="folder to keep the jobs in")
    options = parser.parse_args()
    out = (options.out or Path(tempfile.mkdtemp(prefix="harbor-"))).resolve()
    try:
        async with ModelServer(*SCRIPT) as server:
            return await run(options.laguna.absolute(), out, server)
    finally:
        if options.out is None:
            shutil.rmtree(out, ignore_errors=True)


async def run(laguna: Path, out: Path, server: ModelServer) -> int:
    """Run the job and print its reward and trajectory; the exit code."""
    home = out / "laguna"
    (home / "config").mkdir(parents=True, exist_ok=True)
    config = f'model = "local/scripted"\n[providers.local]\nurl = "{server.url}"\n'
    (home / "config" / "config.toml").write_text(config)
    local = {"cmd": str(laguna), "args": ["acp"], "env": {"LAGUNA_HOME": "/laguna"}}
    entry = {"id": "laguna", "name": "laguna", "version": "local", "description": "A coding agent.",
             "distribution": {"local": local}}  # fmt: skip
    (out / "laguna.json").write_text(json.dumps(entry))
    mounts = [{"type": "bind", "source": str(home), "target": "/laguna"}]
    status = await command(
        "harbor.cli.main", "run", "--yes", "--path", HERE / "task", "--jobs-dir", out / "jobs",
        "--job-name", "acp", "--env", "local_environment:LocalEnvironment",
        "--agent", "acp", "--ak", f"registry_entry_path={out / 'laguna.json'}",
        "--ak", "skip_install=true", "--mounts", json.dumps(mounts),
        "--ek", "auto_mounting=true", "--no-delete",
    )  # fmt: skip
    trials = sorted((out / "jobs" / "acp").glob("*/agent/trajectory.json"))
    if status or not trials:
        print("harbor failed" if status else "harbor wrote no trajectory")
        return 1
    [path] = trials
    reward = (path.parents[1] / "verifier" / "reward.txt").read_text().strip()
    print(f"reward: {reward}")
    show(json.loads(path.read_text()))
    valid = await command("harbor.utils.trajectory_validator", path)
    return 0 if reward == "1" and not valid else 1


def show(trajectory: dict[str, Any]) -> None:
    """Print the steps of a trajectory in a few words."""
    print(f"{trajectory['schema_version']}, {len(trajectory['steps'])} steps")
    for step in trajectory["steps"]:
        made = [
            f"{c['function_name']} {json.dumps(c['arguments'])}"
            for c in step.get("tool_calls") or []
        ]
        print(
            f"  {step['step_id']} {step['source']}: {' '.join(made) or step['message'].strip()}"[
                :150
            ]
        )
    print(f"  {trajectory.get('final_metrics')}")


async def command(module: str, *arguments: object) -> int:
    """Run a module of Harbor's; its exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *map(str, arguments),
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )  # fmt: skip
    return await process.wait()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
