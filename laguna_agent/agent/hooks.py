"""Hooks: the user's commands that run before and after a tool, on a prompt, at a turn's end.

A hook reads one JSON object on standard input and may print one on standard output:

- `{"deny": "reason"}` refuses the call (before_tool) or the prompt (on_prompt);
- `{"add": "text"}` (all but turn_end) adds a message for the model, after the result or the prompt;
- `{"continue": "text"}` (turn_end) makes the agent continue with that text.

Exit status 2 denies with standard error as the reason, for hooks that are one line of shell. Any
other failure is shown to the user. A hook can only deny: the policy still decides on the rest.

Hooks run in the sandbox, unless the user's own configuration says `sandbox = false` or there is
none. Each time, the repository's scripts that a hook runs are compared with what was trusted.
Outside the sandbox, where a change after the comparison would matter, copies of them run.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import hashlib
import json
import os
import re
import signal
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from laguna_agent.actions import Action, ReadPath, WritePath
from laguna_agent.clip import clip
from laguna_agent.config import HookConfig
from laguna_agent.errors import UsageError, did_you_mean
from laguna_agent.events import Notice, ToolCall, ToolFinished
from laguna_agent.policy import trust
from laguna_agent.policy.environment import BUILT_IN, Inheritance
from laguna_agent.programs import find_program, search_path
from laguna_agent.tools.tool import Sandbox

HookEvent = Literal["before_tool", "after_tool", "on_prompt", "turn_end"]
MAX_CONTINUES = 3
"""How often hooks may make the agent continue in one turn."""
_READ_BY_BASH = {"BASH_ENV", "ENV"}
"""They name a file, perhaps of the repository, that bash would run first."""
_MAX_OUTPUT = 64 << 10
_MAX_TEXT = 8_000
_MAX_PATH = 4096
_ANSWERS: dict[HookEvent, set[str]] = {
    "before_tool": {"deny", "add"},
    "after_tool": {"add"},
    "on_prompt": {"deny", "add"},
    "turn_end": {"continue"},
}
"""What a hook may answer at each event."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    deny: str | None = None
    add: str | None = None
    continue_with: str | None = Field(default=None, alias="continue")


@dataclass
class HookResult:
    """The combined answer of the hooks of one event."""

    deny: str | None = None
    """Why the call or prompt is refused; None when no hook denies it."""
    add: list[str] = field(default_factory=list)
    """Texts for the model."""
    continue_with: str | None = None
    """At a turn's end: the message with which the agent continues."""
    notices: list[Notice] = field(default_factory=list)
    """Failures, for the user."""


class _ChangedError(Exception):
    """A hook runs a file that is not what was trusted; the message names it."""


class Hooks:
    """The hooks of one session. `cwd` is the repository.

    `trusted` has the SHA-256 of each file that trust covers. Hooks outside the sandbox inherit
    `environment`.
    """

    def __init__(
        self,
        hooks: Sequence[HookConfig],
        *,
        cwd: Path,
        session: str = "",
        sandbox: Sandbox | None = None,
        trusted: Mapping[str, bytes] | None = None,
        inheritance: Inheritance = BUILT_IN,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.hooks = tuple(hooks)
        self.cwd = cwd
        self.session = session
        source = os.environ if environment is None else environment
        self.environment = {
            k: v
            for k, v in source.items()
            if k not in _READ_BY_BASH and not inheritance.is_secret(k, v, source)
        }
        self.environment["PATH"] = search_path()
        self._sandbox = sandbox if sandbox is not None and sandbox.name != "none" else None
        self._trusted = frozenset(trusted or {})
        self._expected = dict(trusted or {})
        """SHA-256 of scripts that hooks run: as trusted, or else as the session found them."""
        for hook in self.hooks:
            for name in trust.run_files(hook.command, cwd) if self._outside(hook) else ():
                with contextlib.suppress(UsageError):
                    data, _ = trust.read_plain(cwd / name)
                    self._expected.setdefault(name, hashlib.sha256(data).digest())
        self._continues = 0

    async def before_tool(self, call: ToolCall, actions: Sequence[Action] = ()) -> HookResult:
        """Run before a call that would do `actions`. `deny` goes to the model as its result."""
        return await self._run("before_tool", self._about(call, actions), tool=call.name)

    async def after_tool(
        self, call: ToolCall, finished: ToolFinished, actions: Sequence[Action] = ()
    ) -> HookResult:
        """Run after a call; `add` follows its result. A denial is only shown."""
        about = {
            **self._about(call, actions),
            "ok": finished.ok,
            "content": finished.content,
            "exit_code": finished.exit_code,
            "files_changed": finished.files_changed,
        }
        return await self._run("after_tool", about, tool=call.name)

    def _about(self, call: ToolCall, actions: Sequence[Action]) -> dict[str, Any]:
        """The call, with the paths that it reads or writes as they really are: relative to the
        repository, without `..` and links, and in the arguments too."""
        paths = [self._real(a.path) for a in actions if isinstance(a, ReadPath | WritePath)]
        arguments = {
            name: self._real(value)
            if isinstance(value, str) and self._names(value, paths)
            else value
            for name, value in call.arguments.items()
        }
        return {"tool": call.name, "arguments": arguments, "paths": list(dict.fromkeys(paths))}

    def _names(self, value: object, paths: Sequence[str]) -> bool:
        is_short = bool(paths) and isinstance(value, str) and len(value) < _MAX_PATH
        return is_short and self._real(str(value)) in paths

    def _real(self, path: str) -> str:
        root = os.path.realpath(self.cwd)
        with contextlib.suppress(ValueError):  # a NUL
            target = os.path.realpath(os.path.join(root, path))
            return os.path.relpath(target, root) if _is_below(target, root) else target
        return path

    async def on_prompt(self, text: str, *, steered: bool = False) -> HookResult:
        """Run on a user's message before the model sees it. It begins a turn unless `steered`."""
        if not steered:
            self._continues = 0
        return await self._run("on_prompt", {"text": text})

    async def turn_end(
        self, *, status: str, summary: str = "", files_changed: Sequence[str] = ()
    ) -> HookResult:
        """Run before a turn ends; `continue_with` is None once the limit is reached."""
        about = {
            "status": status,
            "summary": summary,
            "files_changed": list(files_changed),
            "continues": self._continues,
        }
        result = await self._run("turn_end", about)
        if result.continue_with is None:
            return result
        self._continues += 1
        if self._continues > MAX_CONTINUES:
            text = f"A hook asked the agent to continue again; {MAX_CONTINUES} times is the limit."
            result.notices.append(Notice(level="warning", text=text))
            result.continue_with = None
        return result

    async def _run(
        self, event: HookEvent, about: Mapping[str, Any], *, tool: str | None = None
    ) -> HookResult:
        result, texts = HookResult(), []
        payload = {"event": event, "session": self.session, "cwd": str(self.cwd), **about}
        for hook in self.hooks:
            if hook.on != event:
                continue
            if tool and hook.tools and not any(fnmatch.fnmatchcase(tool, p) for p in hook.tools):
                continue
            answer = await self._run_hook(hook, payload, result)
            if answer.add:
                result.add.append(answer.add[:_MAX_TEXT])
            if answer.continue_with:
                texts.append(answer.continue_with[:_MAX_TEXT])
            if answer.deny is not None:
                result.deny = answer.deny[:_MAX_TEXT] or "a hook said no"
                break  # later hooks could act on a call that does not happen
        if texts:
            result.continue_with = "\n".join(texts)
        return result

    async def _run_hook(
        self, hook: HookConfig, payload: Mapping[str, Any], result: HookResult
    ) -> _Answer:
        try:
            status, out, err = await self._execute(hook, json.dumps(payload).encode())
        except TimeoutError:
            return _failed(hook, f"took longer than {hook.timeout:g} s and was ended", result)
        except OSError as error:
            return _failed(hook, f"could not be started: {error.strerror}", result)
        except _ChangedError as error:
            return _failed(hook, f"not run, because {error}", result)
        if status == 2 and "deny" not in _ANSWERS[hook.on]:
            return _failed(hook, "it denied, where there is nothing to deny", result)
        if status == 2:
            return _Answer(deny=err.strip() or out.strip() or "a hook said no")
        if status != 0:
            last = err.strip().split("\n")[-1][:200]
            why = f"exit status {status}{': ' + last if last else ''}"
            if not self._outside(hook):
                why += " (in the sandbox; `sandbox = false` in your config.toml runs it outside)"
            return _failed(hook, why, result)
        if not out.strip():
            return _Answer()
        try:
            answer = _Answer.model_validate_json(out)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            why = f"{where}: {first['msg']}" if where else str(first["msg"])
            return _failed(hook, f"its output is not an answer: {why}", result)
        given = {
            name for name, value in answer.model_dump(by_alias=True).items() if value is not None
        }
        if wrong := sorted(given - _ANSWERS[hook.on]):
            known = " and ".join(f"`{name}`" for name in sorted(_ANSWERS[hook.on]))
            return _failed(hook, f"`{wrong[0]}` means nothing here, which takes {known}", result)
        return answer

    def _outside(self, hook: HookConfig) -> bool:
        return self._sandbox is None or not hook.sandbox

    async def _execute(self, hook: HookConfig, payload: bytes) -> tuple[int, str, str]:
        bash = find_program("bash") or "/bin/bash"
        with tempfile.TemporaryDirectory(prefix="laguna-hook-") as folder:
            command = self._checked_command(hook, Path(folder))
            argv, environment = [bash, "-c", command], self.environment
            if self._sandbox is not None and hook.sandbox:
                argv = self._sandbox.wrap(argv, cwd=self.cwd)
                environment = self._sandbox.environment()
            return await self._start(argv, environment, hook.timeout, payload)

    def _checked_command(self, hook: HookConfig, folder: Path) -> str:
        """The command, once the files that it runs are what was trusted. Outside the sandbox, it
        names copies in `folder` instead. Raises _ChangedError."""
        outside, command = self._outside(hook), hook.command
        for number, name in enumerate(sorted(trust.run_files(command, self.cwd))):
            expected = self._expected.get(name)
            if expected is None and not outside:
                continue  # the user's own hook: in the sandbox, a change of the file is harmless
            try:
                data, mode = trust.read_plain(self.cwd / name)
            except UsageError as error:
                raise _ChangedError(str(error)) from None
            if hashlib.sha256(data).digest() != expected:
                since = "it was trusted" if name in self._trusted else "the session began"
                raise _ChangedError(f"{name} changed since {since}; look at it, then start again")
            if outside:
                copy = folder / f"{number}-{re.sub(r'[^A-Za-z0-9.]', '_', Path(name).name)}"
                copy.write_bytes(data)
                copy.chmod(mode & 0o700)
                start = rf"(?:\./|\$PWD/|\$\{{PWD\}}/|{re.escape(str(self.cwd))}/)?"
                spelled = rf"(?<![\w./$}}-]){start}{re.escape(name)}(?![\w./-])"
                command = re.sub(spelled, str(copy), command)
        if outside and (left := trust.run_files(command, self.cwd)):
            raise _ChangedError(f"{min(left)} is not named relative to the repository")
        return command

    async def _start(
        self, argv: Sequence[str], environment: Mapping[str, str], timeout: float, payload: bytes
    ) -> tuple[int, str, str]:
        # With asyncio's own pipes, waiting for the process would also wait for whatever it leaves
        # in the background with its output open.
        with tempfile.TemporaryFile() as stdin:
            stdin.write(payload)
            stdin.seek(0)
            out, err = await _Drain.open(), await _Drain.open()
            try:
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    cwd=self.cwd,
                    env=environment,
                    stdin=stdin,
                    stdout=out.write_end,
                    stderr=err.write_end,
                    start_new_session=True,
                )
            except BaseException:
                await out.close()
                await err.close()
                raise
        out.close_write_end()
        err.close_write_end()
        try:
            async with asyncio.timeout(timeout):
                status = await process.wait()
        finally:
            # The whole group, also after a normal end: nothing of a hook may keep running.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            stdout, stderr = await out.close(), await err.close()
        return status, stdout, stderr


class _Drain:
    """A pipe that is read as output comes; keeps the beginning of it."""

    def __init__(self, write_end: int, transport: asyncio.ReadTransport, kept: _Kept) -> None:
        self.write_end, self.transport, self.kept = write_end, transport, kept

    @classmethod
    async def open(cls) -> _Drain:
        read_end, write_end = os.pipe()
        loop = asyncio.get_running_loop()
        stream = os.fdopen(read_end, "rb", buffering=0)
        transport, kept = await loop.connect_read_pipe(_Kept, stream)
        return cls(write_end, transport, kept)

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    async def close(self) -> str:
        """The output; waits up to a second for the rest of it."""
        self.close_write_end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.kept.ended.wait()
        self.transport.close()
        return bytes(self.kept.data).decode("utf-8", errors="replace")


class _Kept(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data[: _MAX_OUTPUT - len(self.data)]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


def unknown_tools(hooks: Sequence[HookConfig], known: Collection[str]) -> list[Notice]:
    """Notices of hooks for tools that are not in `known`, such as those of another pack.

    Raises UsageError for a name that is near to a known one.
    """
    notices = []
    for number, hook in enumerate(hooks, 1):
        for pattern in hook.tools:
            if any(fnmatch.fnmatchcase(name, pattern) for name in known):
                continue
            where = f"hooks.{number}.tools: there is no tool `{pattern}`"
            near = did_you_mean(pattern.strip("*?"), known, list_all=False)
            if near:
                raise UsageError(where, hint=near)
            text = f"{where} here, so `{clip(hook.command, 60)}` does not run for it."
            notices.append(Notice(level="warning", text=text))
    return notices


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _failed(hook: HookConfig, why: str, result: HookResult) -> _Answer:
    name = hook.command if len(hook.command) <= 60 else hook.command[:57] + "..."
    text = f"Hook `{name}` ({hook.on}) failed: {why}."
    result.notices.append(Notice(level="error", text=text))
    if hook.required:
        return _Answer(deny="a required hook failed, so the call is refused")
    return _Answer()
