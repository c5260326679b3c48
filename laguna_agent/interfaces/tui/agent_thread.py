"""Runs the session in a thread with an event loop of its own, so that its work delays no key.

The app calls the public methods from its own thread; results come back as messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from laguna_agent.errors import LagunaError, ServerSettingsError, UsageError
from laguna_agent.interfaces.tui import messages
from laguna_agent.interfaces.tui.shell_command import ShellCommand
from laguna_agent.interfaces.tui.transcript.transcript_model import LIVE_CHARS
from laguna_agent.log import unexpected

if TYPE_CHECKING:
    from laguna_agent.actions import Mode
    from laguna_agent.agent.approval import Approval
    from laguna_agent.agent.session import Session
    from laguna_agent.agent.settings import Settings
    from laguna_agent.events import ApprovalRequested, Event

T = TypeVar("T")
OpenSession = Callable[..., Awaitable["Session"]]
_CLOSING_S = 5.0


class AgentThread:
    """Holds one session at a time. `post` must be safe to call from any thread."""

    def __init__(
        self,
        start: Callable[[], Settings],
        post: Callable[[messages.AgentMessage], Any],
        *,
        open_session: OpenSession | None = None,
    ) -> None:
        self._start_settings = start
        self._post = post
        self._open_session = open_session
        self.settings: Settings | None = None
        self.session: Session | None = None
        self._resumable: str | None = None
        self.shell_command: ShellCommand | None = None
        self._left: list[ShellCommand] = []
        """Commands of the user that have ended and may have left something in the background."""
        """The user's command that runs."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[Any] | None = None
        self._stop: asyncio.Event | None = None
        self._output_shown = asyncio.Event()
        self._loop_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="laguna-agent", daemon=True)

    # --- called from the app's thread -------------------------------------------------------

    def start(self) -> None:
        """Start the thread: make the settings and open a session."""
        self._thread.start()

    def turn(self, text: str, context: str = "") -> None:
        """Run a turn; posts its events, then WorkEnded."""
        self._start_work(self._turn(text, context))

    def accept_plan(self, plan: str, mode: Mode) -> None:
        """Run the turn that carries out a plan; posts like `turn`."""
        self._start_work(self._accept_plan(plan, mode))

    def compact(self, guidance: str) -> None:
        """Compact the conversation; posts like a turn."""
        self._start_work(self._compact(guidance))

    def shell(self, key: str, command: str, *, columns: int, rows: int) -> None:
        """Run the user's command in a terminal of this size; posts its output, then WorkEnded."""
        self._start_work(self._shell(key, command, columns, rows))

    def shell_output_shown(self) -> None:
        """Allow the command's next output: the last one is shown."""
        self._call_in_thread(self._output_shown.set)

    def reopen(self, **changes: Any) -> None:
        """Close the session and open one with `changes` to the settings."""
        self._start_work(self._reopen(changes))

    def restart(self) -> None:
        """Make the settings again and open a session with them."""
        self._start_work(self._restart())

    def cancel(self) -> None:
        """Stop what runs: loading, a turn or a command."""
        self._call_in_thread(self._cancel)

    def run(self, make: Callable[[Session], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """Run a coroutine of the session; awaited in the app's loop. Raises LagunaError."""
        session, loop = self.session, self._loop
        if session is None or loop is None:
            raise LagunaError("the model is not loaded yet", hint="Wait until it is loaded.")
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(session), loop))

    @property
    def resumable(self) -> str | None:
        """The id of the open session, or of the last one; None if nothing was said in it."""
        session = self.session
        if session is not None and session.conversation_state.user_messages:
            self._resumable = session.trajectory.id
        elif session is not None:
            self._resumable = None
        return self._resumable

    def close(self) -> None:
        """Close the session and end the thread. Blocks for a few seconds at most."""
        if not self._thread.is_alive():
            return
        self._call_in_thread(lambda: self._stop.set() if self._stop is not None else None)
        self._thread.join(_CLOSING_S)

    # --- in the thread ---------------------------------------------------------------------

    def _call_in_thread(self, callback: Callable[[], Any]) -> None:
        self._loop_ready.wait(1.0)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(callback)

    def _start_work(self, work: Coroutine[Any, Any, None]) -> None:
        def start() -> None:
            before = self._work
            self._work = asyncio.get_running_loop().create_task(self._run_work(work, before))

        self._call_in_thread(start)

    async def _run_work(
        self, work: Coroutine[Any, Any, None], before: asyncio.Task[Any] | None = None
    ) -> None:
        """Stop the work `before`, then run `work`; post how it ended if it did not post that."""
        if before is not None and not before.done():
            before.cancel()
            await asyncio.wait([before])
        try:
            await work
        except asyncio.CancelledError:
            self._post(messages.WorkEnded())
        except LagunaError as error:
            self._post(messages.WorkFailed(error, fatal=False))
        except Exception as error:
            self._post(messages.WorkFailed(LagunaError(unexpected(error)), fatal=False))

    def _cancel(self) -> None:
        if self.session is not None and self.session.busy:
            self.session.cancel()
        elif self._work is not None:
            self._work.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            self._post(messages.WorkFailed(LagunaError(unexpected(error)), fatal=True))

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._loop_ready.set()
        try:
            self.settings = self._start_settings()
        except LagunaError as error:
            self._post(messages.WorkFailed(error, fatal=True))
            return
        self._ask_trust()
        self._work = asyncio.create_task(self._run_work(self._open_first()))
        await self._stop.wait()
        self._cancel()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work], timeout=_CLOSING_S / 2)
        await self._close_session()

    def _ask_trust(self) -> None:
        from laguna_agent.paths import repository_root
        from laguna_agent.policy import trust

        assert self.settings is not None
        if self.settings.trusted:
            return
        root = repository_root(self.settings.cwd)
        try:
            found = trust.content(root)
        except LagunaError as error:
            self._post(messages.WorkFailed(error, fatal=False))
            return
        if not found.empty:
            changed = trust.was_trusted(root)
            self._post(messages.TrustNeeded(found, changed=changed))

    async def _open_first(self) -> None:
        """Open the session of the command line; one that does not exist ends the interface."""
        try:
            await self._open()
        except ServerSettingsError:  # another model can be chosen
            raise
        except UsageError as error:
            self._post(messages.WorkFailed(error, fatal=True))

    async def _open(self) -> None:
        from laguna_agent.agent.session import Session

        assert self.settings is not None
        open_session = self._open_session or Session.open
        failed = False

        def show(event: Event) -> None:
            # Progress that a stopped loading still reports would look like one that continues.
            if not failed:
                self._post(messages.SessionEvent(event))

        try:
            self.session = await open_session(self.settings, on_event=show, approver=self._approve)
        except BaseException:
            failed = True
            raise
        self._post(messages.SessionOpened(self.session))

    async def _reopen(self, changes: dict[str, Any]) -> None:
        """Open with `changes`; if that fails, return to the present conversation."""
        assert self.settings is not None
        before = self.settings
        # The repository's settings may have changed since they were trusted.
        lapsed = before.trusted and not self._start_settings().trusted
        if lapsed:
            before = dataclasses.replace(before, trusted=False)
        previous: Settings | None = None
        if self.session is not None:
            has_messages = bool(self.session.conversation_state.user_messages)
            resume = self.session.trajectory.id if has_messages else None
            before = self.session.carried_over(before)
            if "config" in changes:  # another model, under the rules that were granted since
                policy = {"policy": before.config.policy}
                changes["config"] = changes["config"].model_copy(update=policy)
            previous = dataclasses.replace(before, resume=resume, fork=None, continue_last=False)
        await self._close_session()
        self.settings = dataclasses.replace(before, **changes)
        if lapsed:
            self._ask_trust()
        try:
            await self._open()
        except (LagunaError, asyncio.CancelledError) as error:
            if previous is None or (self._stop is not None and self._stop.is_set()):
                raise
            self.settings = previous
            await self._open()
            if isinstance(error, LagunaError):
                self._post(messages.WorkFailed(error, fatal=False))

    async def _restart(self) -> None:
        settings = self._start_settings()
        if self.session is not None:
            settings = self.session.carried_over(settings)
            if self.session.conversation_state.user_messages:
                name = self.session.trajectory.id
                settings = dataclasses.replace(
                    settings, resume=name, fork=None, continue_last=False
                )
        await self._close_session()
        self.settings = settings
        await self._open()

    async def _close_session(self) -> None:
        self._resumable = self.resumable
        session, self.session = self.session, None
        if session is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(session.aclose(), _CLOSING_S)

    async def _turn(self, text: str, context: str) -> None:
        session = self.session
        if session is None:
            raise LagunaError("no conversation is open")
        await session.turn(text, context=context)
        self._post(messages.WorkEnded())

    async def _accept_plan(self, plan: str, mode: Mode) -> None:
        session = self.session
        if session is None:
            raise LagunaError("no conversation is open")
        await session.accept_plan(plan, mode)
        self._post(messages.WorkEnded())

    async def _compact(self, guidance: str) -> None:
        session = self.session
        if session is None:
            raise LagunaError("nothing to summarise yet")
        try:
            await session.compact(guidance)
        except asyncio.CancelledError:
            from laguna_agent.events import Notice

            text = "stopped; the conversation is unchanged"
            self._post(messages.SessionEvent(Notice(level="warning", text=text)))
            raise
        self._post(messages.WorkEnded())

    async def _approve(self, request: ApprovalRequested) -> Approval:
        future: Future[Approval] = Future()
        self._post(messages.ApprovalAsked(request, future))
        return await asyncio.wrap_future(future)

    async def background_jobs(self) -> int:
        """How many commands run in the background: the model's, and those of the user."""
        jobs = await self.run(lambda session: session.background_jobs())
        self._left = [shell for shell in self._left if shell.left_running]
        return jobs + len(self._left)

    async def _shell(self, key: str, command: str, columns: int, rows: int) -> None:
        """Run a command as the user would in another terminal: without the sandbox.

        Its output is posted no faster and no more than can be shown; a command that writes faster
        is blocked, as by a terminal.
        """
        assert self.settings is not None
        shell = ShellCommand(command, self.settings.cwd, columns=columns, rows=rows)

        async def show(text: str, unfinished: str) -> None:
            self._output_shown.clear()
            text, unfinished = text[-LIVE_CHARS:], unfinished[-LIVE_CHARS:]
            self._post(messages.ShellOutput(key, text, unfinished))
            await self._output_shown.wait()

        code: int | None = None
        self.shell_command = shell
        try:
            code = await shell.run(show, lambda: self._post(messages.TerminalNeeded(shell)))
        finally:
            self.shell_command = None
            self._left.append(shell)
            ended = messages.ShellEnded(key, code, drew_screen=shell.drew_screen)
            self._post(ended)
            self._post(messages.WorkEnded())
