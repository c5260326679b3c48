"""An environment for Harbor without a container, on this machine: for trusted tasks only.

bubblewrap gives each trial its own `/app`, `/logs`, `/tests`, `/tmp` and home. The rest of
the machine is there read-only, with its network: a task can read whatever you can. A Dockerfile is
not built; `environment/` is copied to the working directory as it is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from harbor.environments.base import (  # pyright: ignore[reportMissingImports]
    BaseEnvironment,
    ExecResult,
)
from harbor.environments.capabilities import (  # pyright: ignore[reportMissingImports]
    EnvironmentCapabilities,
)

_OWN = ("/app", "/home/agent", "/installed-agent", "/logs", "/solution", "/tests", "/tmp")
"""Directories that each trial has for itself."""
_RUNNER = "/opt/harbor-acp-venv"
"""Where Harbor's runner of ACP agents looks for its Python: the one that runs Harbor serves."""
_APART = {"/", "/dev", "/home", "/opt", "/proc"}
"""What the trial has a version of its own of."""


class LocalEnvironment(BaseEnvironment):
    """Runs a trial in folders of this machine."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._root = self.trial_paths.trial_dir.resolve() / "environment"

    @staticmethod
    def type() -> str:
        return "local"

    @property
    def capabilities(self) -> EnvironmentCapabilities:
        return EnvironmentCapabilities(mounted=True)

    def _validate_definition(self) -> None:
        if shutil.which("bwrap") is None:
            raise FileNotFoundError("bwrap is not installed: apt install bubblewrap")

    async def start(self, force_build: bool) -> None:
        for name in _OWN:
            self._host(name).mkdir(parents=True, exist_ok=True)
        for mount in self._mounts:
            if not mount.get("read_only"):
                Path(mount["source"]).mkdir(parents=True, exist_ok=True)
        if self.environment_dir.is_dir():
            await self.upload_dir(self.environment_dir, self._workdir)

    async def stop(self, delete: bool) -> None:
        if delete:
            shutil.rmtree(self._root, ignore_errors=True)

    # --- files --------------------------------------------------------------------------------

    @property
    def _workdir(self) -> str:
        return self.task_env_config.workdir or "/app"

    def _host(self, path: str | PurePosixPath) -> Path:
        """Where a path of the trial lies on this machine."""
        pure = PurePosixPath(os.path.normpath(PurePosixPath("/app") / path))
        for mount in self._mounts:
            if pure.is_relative_to(mount["target"]):
                return Path(mount["source"]) / pure.relative_to(mount["target"])
        if not any(pure.is_relative_to(own) for own in _OWN):
            raise PermissionError(f"{pure} is the machine's own: a trial may not write there")
        return self._root / pure.relative_to("/")

    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        target = self._host(target_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source_path, target)

    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        shutil.copytree(source_dir, self._host(target_dir), symlinks=True, dirs_exist_ok=True)

    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        Path(target_path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self._host(source_path), target_path, follow_symlinks=False)

    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        shutil.copytree(self._host(source_dir), target_dir, symlinks=True, dirs_exist_ok=True)

    # --- commands -----------------------------------------------------------------------------

    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
        **_: Any,
    ) -> ExecResult:
        """Run a command as the present user, whoever is named. With its end all it started ends."""
        variables = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/home/agent",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            **(self._merge_env(env) or {}),
        }
        process = await asyncio.create_subprocess_exec(
            *self._bwrap(cwd or self._workdir), "bash", "-c", command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=variables,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout_sec)
        except TimeoutError:
            return ExecResult(stderr=f"ended after {timeout_sec} s", return_code=124)
        finally:
            if process.returncode is None:  # ends the whole process namespace
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return ExecResult(
            stdout=out.decode(errors="replace"),
            stderr=err.decode(errors="replace"),
            return_code=process.returncode or 0,
        )

    def _bwrap(self, cwd: str) -> list[str]:
        argv = ["bwrap", "--unshare-pid", "--die-with-parent", "--dev", "/dev", "--proc", "/proc"]
        for parent in ("/", "/opt"):
            for name in sorted(os.listdir(parent)):
                path = os.path.join(parent, name)
                if path in _APART or path in _OWN or path == _RUNNER:
                    continue
                if os.path.islink(path):
                    argv += ["--symlink", os.readlink(path), path]
                else:
                    argv += ["--ro-bind-try", path, path]
        argv += ["--ro-bind", sys.prefix, _RUNNER]
        for path in _OWN:
            argv += ["--bind", str(self._host(path)), path]
        for mount in self._mounts:
            kind = "--ro-bind" if mount.get("read_only") else "--bind"
            argv += [kind, str(mount["source"]), str(mount["target"])]
        return [*argv, "--chdir", cwd]
