"""The agent loop: run → step → generate → execute → decide, until the turn has an outcome.

A turn ends when the model says so, when the task's check passes, when a limit is reached, or when
nothing new happens any more. What decides how a turn goes on is all here, so it is over 400 lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext, suppress

from laguna_agent.agent.check.examples import FailedExample
from laguna_agent.agent.context.context_window import ContextWindow
from laguna_agent.agent.context.first_message import with_context
from laguna_agent.agent.generation import generate
from laguna_agent.agent.kept_settings import settings_now
from laguna_agent.agent.loop_detector import LoopDetector
from laguna_agent.agent.plan_mode import mode_notes, proposes_plan
from laguna_agent.agent.services import Services
from laguna_agent.agent.state import SessionState
from laguna_agent.agent.system_notes import Notes, after_calls, example_note, hook_notes
from laguna_agent.agent.tool_executor import ToolExecutor
from laguna_agent.agent.turn import Turn
from laguna_agent.errors import ContextFullError, LagunaError
from laguna_agent.events import (
    Notice,
    Reply,
    StepStarted,
    SystemNote,
    ToolCall,
    TurnFinished,
    TurnStarted,
    Usage,
    UserMessage,
)
from laguna_agent.log import log_error, unexpected
from laguna_agent.plurals import counted

_MAX_LOOP_NOTES, _MAX_UNUSABLE_REPLIES = 2, 3
_EXAMPLE_TRIES = 4
"""Rounds of tries between which examples decide."""
_STUB_ROUNDS = 2
"""Times that a function is written from its head alone where a check decides."""
_CORRECTIONS = 4
"""Times that wrong values in tests that a task asks for are corrected."""


class AgentLoop:
    """Runs the turns of one session, one at a time."""

    def __init__(self, services: Services, state: SessionState, window: ContextWindow) -> None:
        self.services = services
        self.state = state
        self.window = window
        self.pack = services.pack
        self.emit = services.emit

    async def run(
        self, message: UserMessage, *, task: str, after_interruption: bool
    ) -> TurnFinished:
        """Run a turn from the user's message to its end; the caller emits the TurnFinished. `task`
        is what the user wants: the message, or what led to the plan that it accepts.

        However it ends, failed or cancelled too, it says what was done up to there, and the state
        of the files is recorded.
        """
        self.state.turns += 1
        turn = Turn.create(self.services, self.state, self.window, task)
        self.window.take_usage()
        settings = settings_now(self.services, self.state)
        self.emit(TurnStarted(turn=self.state.turns, settings=settings))
        try:
            await self._start(turn, message, after_interruption=after_interruption)
            while turn.outcome is None:
                await self._step(turn)
                await self._run_end_hooks(turn)
        except ContextFullError as error:
            turn.end("limit", error=str(error))
        except asyncio.CancelledError:
            turn.end("interrupted", error="interrupted")
        except LagunaError as error:
            log_error("the turn ended with an error", error)
            turn.end("error", error=str(error))
        except Exception as error:
            turn.end("error", error=unexpected(error))
        with suppress(asyncio.CancelledError):  # stopped again: it is over in any case
            await self._settle(turn)
        turn.usage = turn.usage.plus(self.window.take_usage())
        finished = turn.finished()
        if self.services.gate.plan and finished.status == "done":
            finished.plan = proposes_plan(self.services.recorder.state, finished.summary)
        return finished

    async def _settle(self, turn: Turn) -> None:
        """Leave the files as they are to stay, and record them."""
        ended = turn.outcome.status if turn.outcome is not None else "error"
        try:
            if turn.candidates.repairs and ended in ("interrupted", "error"):
                await self._start_over(turn)  # nobody asked for a change that is only a guess
            elif ended in ("interrupted", "limit") and turn.failed_example is not None:
                await self._take_first(turn)
        finally:
            turn.record(*turn.candidates.drop())
            await turn.files.record_end()

    async def _start(self, turn: Turn, message: UserMessage, *, after_interruption: bool) -> None:
        """Append the user's message with its context, unless a hook refuses it."""
        hooked = await self.services.hooks.on_prompt(message.text)
        self._show(hooked.notices)
        if hooked.deny is not None:  # the model never sees it
            turn.end("denied", error=f"a hook refused this message: {hooked.deny}")
            return
        turn.files.record_start()
        await turn.check.run_first()
        knows_interrupted_turn = bool(self.services.recorder.state.user_messages)
        turn.said_before += message.context
        message, turn.retries.shown = await with_context(
            self.services, self.state, message, turn.check, turn.files
        )
        context = self.services.without_keys(message.context)
        message = message.model_copy(update={"context": context})
        if after_interruption and knows_interrupted_turn:
            self.window.add_note(self.pack.text("interrupted.md"), "interrupted")
        self._add_notes(mode_notes(self.services, self.state, message.plan))
        self.window.add(message)
        fails = turn.check.last is not None and not turn.check.passed
        hint = self.pack.text("kind.md", **turn.recognise(message.text, check_fails=fails))
        self._add_notes([(hint, "kind of task")] if hint.strip() else [])
        self._add_notes(hook_notes(self.services, hooked.add))
        await self.window.append_pending()
        self.window.mark_turn_start()

    async def _step(self, turn: Turn) -> None:
        """Generate one reply, execute its calls, and decide how the turn continues."""
        turn.end_at_limit(self.services.limits)
        if turn.outcome is not None:
            return
        await self._add_steering(turn)
        self._say_notes(turn, mode_notes(self.services, self.state))
        await self.window.append_pending()
        turn.record(*turn.candidates.drop_outdated())
        if not turn.candidates.repairs:  # all of them are tried in one step
            turn.steps += 1
            self.emit(StepStarted(step=turn.steps))
        turn.target = ""
        reply = turn.reply = await generate(self.services, self.window, turn)
        if reply is None:
            await self._decide_without_reply(turn)
        elif not reply.tool_calls:
            await self._decide_on_text(turn, reply)
        else:
            executor = await self._execute(turn, reply.tool_calls)
            if reply.error:  # the model must know of calls that could not be read
                self.window.add_note(self.pack.text("bad_call.md", error=reply.error), "bad call")
                executor.done = None
            await self._decide_on_results(turn, executor)

    async def _add_steering(self, turn: Turn) -> None:
        """Add what the user typed since the last step."""
        while self.state.steering:
            message = self.state.steering.popleft()
            hooked = await self.services.hooks.on_prompt(message.text, steered=True)
            self._show(hooked.notices)
            if hooked.deny is not None:
                text = f"A hook refused your message: {hooked.deny}"
                self.emit(Notice(level="warning", text=text))
                continue
            self._say(turn, message)
            self._say_notes(turn, hook_notes(self.services, hooked.add))

    def _say_notes(self, turn: Turn, notes: Notes) -> None:
        for text, reason in notes:
            self._say(turn, SystemNote(text=text, reason=reason))

    def _say(self, turn: Turn, event: UserMessage | SystemNote) -> None:
        """Add what the model is to read also after it has started over."""
        turn.said.append(event)
        turn.candidates.stub = None
        turn.extended |= isinstance(event, UserMessage)
        turn.loop_detector.expect_changes()
        self.window.add(event)

    async def _act(self, turn: Turn, reply: Reply) -> ToolExecutor:
        """Act as if the model had written a reply."""
        await self.window.append_pending()
        await self.services.conversation.append_reply(reply)
        turn.record(reply)
        return await self._execute(turn, reply.tool_calls)

    async def _execute(self, turn: Turn, calls: Sequence[ToolCall]) -> ToolExecutor:
        """Run the calls of a reply, add their results, and count what they did."""
        executor = ToolExecutor(self.services, calls, turn.check, turn.files)
        try:
            await executor.run()
        finally:  # when cancelled: the results of the calls that ended before
            for result in executor.results:
                self.window.add_recorded(result)
        turn.count(executor)
        return executor

    # --- decide -----------------------------------------------------------------------------

    async def _decide_without_reply(self, turn: Turn) -> None:
        """The model only repeated itself: start over, or end the turn."""
        if turn.candidates.stub is not None and turn.check.command is not None:
            turn.candidates.stub = None  # what failed may help
            await self._start_over(turn)
        elif turn.candidates.are_due():  # four warmer ones too
            await self._give_up(turn, "its tries no longer differ")
        elif turn.retries.add_unusable_reply():
            await self._start_over(turn)
        else:
            error = "the model only repeats itself; say what to try instead"
            await self._end_stuck(turn, error)

    async def _decide_on_text(self, turn: Turn, reply: Reply) -> None:
        """A reply without calls: the answer, or something that the model must correct."""
        check = turn.check
        unusable = reply.error is not None or reply.finish_reason == "length"
        if unusable and turn.retries.add_unusable_reply():
            await self._start_over(turn)
            return
        if reply.error:
            note = self.pack.text("bad_call.md", error=reply.error)
        elif unusable:
            limit = reply.usage.completion_tokens or self.services.limits.reply_tokens
            thought = bool(reply.thinking) and not reply.text
            note = self.pack.text("cut.md", limit=limit, thought=thought)
        elif not reply.text.strip():
            note = self.pack.text("no_call.md")
        elif not check.is_needed(changed=bool(turn.changed)):
            if self._stopped_by_denials(turn):
                turn.end("denied", reply.text, error="the task needs something that was denied")
            elif turn.changed:
                await self._finish(turn, reply.text)
            else:
                turn.end("done", reply.text)
            return
        elif turn.changed and check.may_run():
            ran = await check.run()
            if ran.exit_code == 0:
                turn.end("done", reply.text)
                return
            note = check.failed_note(ran)
        else:
            note = self.pack.text("no_call.md")
        turn.nudges += 1
        turn.loop_detector.expect_changes()
        if turn.nudges <= _MAX_UNUSABLE_REPLIES:
            self.window.add_note(note, "no usable call")
            await self.window.append_pending()
        elif self._stopped_by_denials(turn):
            turn.end("denied", reply.text, error="the task needs something that was denied")
        else:
            turn.end("failed", reply.text, error="the model stopped without finishing the task")

    async def _decide_on_results(self, turn: Turn, executor: ToolExecutor) -> None:
        """After the calls: end the turn, start over, or continue with notes to the model."""
        changed = any(result.files_changed for result in executor.results)
        if changed and turn.kind != "fix":
            turn.check.adopt_tests(turn.changed)
        due = turn.check.is_due(changed=changed, called=[call.name for call in executor.calls])
        if due and await self._decide_on_check(turn, executor.calls):
            return
        failed = await turn.check.run_examples(executor.results)
        writes = turn.candidates.for_examples or turn.candidates.stub is not None
        if writes and changed and failed is None:
            turn.record(*turn.candidates.drop())
            turn.candidates.for_examples = False
        if await self._go_on_with_next(turn, executor):
            return
        if failed is not None and await self._start_over_for_example(turn, executor, failed):
            return
        if executor.done is not None:
            await self._finish(turn, executor.done.content)
            return
        stub = turn.candidates.stub
        if failed is not None and stub is not None and turn.candidates.for_examples:
            await self._give_up(turn, "several tries failed")
            return
        if stub is not None and turn.wrote_stub(executor):
            await self._finish(turn, f"Wrote {stub.stub.name} in {stub.path}.")
            return
        if turn.target and turn.worked_out(executor):
            await self._finish(turn, f"Wrote {turn.target} with a script.")
            return
        if turn.target and not executor.denials:  # nothing of it stays in the prompt
            await self._start_over(turn, hint=False)
            return
        turn.candidates.stub = None  # the model goes on with its tools
        if failed is not None:
            turn.candidates.for_examples = False
            turn.loop_detector.expect_changes()
            self._add_notes([example_note(self.services, failed)])
        loop = turn.loop_detector.loop()
        if loop is not None and turn.nudges >= _MAX_LOOP_NOTES:
            await self._end_stuck(turn, f"no progress: {loop}; say what to try instead")
            return
        if loop is not None:
            turn.nudges += 1
            tool = executor.calls[-1].name
            self.window.add_note(self.pack.text("repeated.md", circle=loop, tool=tool), "loop")
        if executor.hook_texts:
            turn.loop_detector.expect_changes()
        self._add_notes(after_calls(self.services, turn, executor))
        self._show(self.services.instructions.take_notices())
        await self.window.append_pending()

    async def _go_on_with_next(self, turn: Turn, executor: ToolExecutor) -> bool:
        """Start over with the next of several tries, if there is one, after one that changed
        nothing or failed an example."""
        candidates = turn.candidates
        if candidates.position is None:
            return False
        repair = bool(candidates.repairs)
        if repair or not executor.denials:
            turn.retries.add_tried(executor.calls)
            await self._start_over(turn)
        if repair or executor.denials:  # the others would fare no better
            turn.record(*candidates.drop())
        return repair or not executor.denials

    async def _end_stuck(self, turn: Turn, error: str) -> None:
        """End a turn in which the model repeats itself: by the check, where there is one."""
        if turn.changed and turn.check.may_run() and (await turn.check.run()).exit_code == 0:
            turn.end("done", turn.check.passed_summary(turn.changed))
            return
        turn.stuck = True
        turn.end("limit", error=error)

    async def _decide_on_check(self, turn: Turn, calls: Sequence[ToolCall]) -> bool:
        """Run the check after a change: end the turn when it passes, else start over. False where
        it turns out to be no check."""
        ran = await turn.check.run(timeout=turn.candidates.check_timeout)
        for _ in range(_CORRECTIONS):  # a test shows the first of its wrong values
            reply, lines = turn.candidates.with_given_values(ran)
            if reply is None:
                break
            executor = await self._act(turn, reply)
            if not any(result.files_changed for result in executor.results):
                break
            turn.check.given_lines |= lines
            ran = await turn.check.run()
        if ran.exit_code == 0:
            turn.end("done", turn.check.passed_summary(turn.changed))
            return True
        turn.check.learn_from_tests(ran)
        if turn.check.command is None:
            return False
        turn.candidates.add_check(ran)
        if turn.candidates.repairs:
            turn.retries.add_tried(calls)
        else:
            turn.retries.add_failure(calls)
        if turn.retries.exhausted:
            await self._give_up(turn, f"{counted(turn.retries.failures, 'try', 'tries')} failed")
        else:
            await self._start_over(turn)
        return True

    async def _start_over_for_example(
        self, turn: Turn, executor: ToolExecutor, failed: FailedExample
    ) -> bool:
        """Start over for an example that fails, as for a check; only a few times, for documentation
        may be wrong, and not where other files would be lost."""
        once = turn.check.command is None and turn.retries.failures < _EXAMPLE_TRIES
        if not once or len(turn.changed) > 1:
            return False
        turn.retries.add_failure(executor.calls)
        turn.candidates.first = turn.candidates.first or turn.reply
        turn.candidates.for_examples, turn.failed_example = True, failed
        await self._start_over(turn)
        if turn.candidates.stub is None:
            self._add_notes([example_note(self.services, failed, taken_back=True)])
        return True

    async def _give_up(self, turn: Turn, why: str) -> None:
        """End a turn in which no try passes the check or the examples. Examples may be wrong, so
        the first try stays there."""
        failed = turn.failed_example
        if failed is None:
            turn.end("failed", error=f"`{turn.check.command}` still fails: {why}")
            return
        await self._take_first(turn)
        turn.end("failed", error=f"{failed.told} ({why}); the code or the example is wrong")

    async def _take_first(self, turn: Turn) -> None:
        """Go back to the first try to write a function."""
        if (first := turn.candidates.first) is not None:
            await self._start_over(turn, hint=False)
            await self._act(turn, first.model_copy(update={"usage": Usage()}))

    async def _start_over(self, turn: Turn, *, hint: bool = True) -> None:
        position = turn.candidates.position
        if turn.check.command is not None and turn.candidates.rounds >= _STUB_ROUNDS:
            turn.candidates.stub = None  # what failed may help
        await turn.retries.start_over(position, hint=hint and turn.candidates.stub is None)
        for event in turn.said if position is None else ():
            self.window.add(event)
        turn.check.failed_example = turn.faulty = None
        turn.check.given_lines.clear()
        turn.loop_detector = LoopDetector()

    async def _finish(self, turn: Turn, summary: str) -> None:
        """End the turn as done, unless the pack has a reminder for the model first."""
        due = turn.reminders.before_done(turn.steps, *turn.left())
        notes = [(text, "reminder") for text in due]
        failed, turn.check.failed_example = turn.check.failed_example, None
        if failed is not None:
            notes.append(example_note(self.services, failed))
        if notes:
            turn.candidates.stub = None
            turn.loop_detector.expect_changes()
            self._add_notes(notes)
            await self.window.append_pending()
            return
        turn.end("done", summary)

    async def _run_end_hooks(self, turn: Turn) -> None:
        """Run the hooks at the end of the turn; one may make the agent continue."""
        if turn.outcome is None:
            return
        status, summary, _ = turn.outcome
        hooks = self.services.hooks
        has_any = any(hook.on == "turn_end" for hook in hooks.hooks)
        async with turn.files.recording() if has_any else nullcontext():  # one may format files
            hooked = await hooks.turn_end(
                status=status, summary=summary, files_changed=turn.changed
            )
        self._show(hooked.notices)
        if hooked.continue_with is not None and status == "done":
            turn.outcome, turn.extended, turn.candidates.stub = None, True, None
            turn.record(*turn.candidates.drop())
            self._add_notes(hook_notes(self.services, [hooked.continue_with]))
            await self.window.append_pending()

    def _stopped_by_denials(self, turn: Turn) -> bool:
        return turn.all_denied and self.services.approver is None

    def _add_notes(self, notes: Notes) -> None:
        for text, reason in notes:
            files = self.services.instructions.take_shown() if reason == "instructions" else ()
            self.window.add_note(text, reason, files)

    def _show(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self.emit(notice)
