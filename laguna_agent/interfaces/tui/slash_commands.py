"""What each slash command does; their table is `reference.COMMANDS`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from laguna_agent.interfaces.phrases import INIT_PROMPT
from laguna_agent.interfaces.tui import themes
from laguna_agent.interfaces.tui.reference import COMMANDS, SlashCommand, command_of, nearest
from laguna_agent.interfaces.tui.screens import pages, pickers
from laguna_agent.interfaces.tui.system.background import run_reporting_errors

if TYPE_CHECKING:
    from textual.app import App

    from laguna_agent.actions import Mode
    from laguna_agent.agent.session import Session
    from laguna_agent.interfaces.tui.agent_thread import AgentThread
    from laguna_agent.interfaces.tui.clipboard import Clipboard
    from laguna_agent.interfaces.tui.conversation_commands import ConversationCommands
    from laguna_agent.interfaces.tui.model_setup import ModelSetup
    from laguna_agent.interfaces.tui.plan_review import PlanReview
    from laguna_agent.interfaces.tui.system.preferences import Preferences
    from laguna_agent.interfaces.tui.transcript.transcript_model import State, TranscriptModel
    from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
    from laguna_agent.interfaces.tui.widgets.status_line import StatusLine
    from laguna_agent.policy.permissions import Permission


class SlashCommands:
    """Completes and runs commands. `send` sends a message, `fill` puts a text into the composer,
    `leave` ends the interface."""

    def __init__(
        self,
        app: App[Any],
        agent: AgentThread,
        transcript_model: TranscriptModel,
        activity: ActivityLine,
        status: StatusLine,
        *,
        conversation: ConversationCommands,
        models: ModelSetup,
        review: PlanReview,
        clipboard: Clipboard,
        preferences: Preferences,
        send: Callable[[str], None],
        leave: Callable[[], None],
        fill: Callable[[str], None],
        root: Path,
        cwd: Path,
    ) -> None:
        self._app = app
        self._agent = agent
        self._transcript_model = transcript_model
        self._activity = activity
        self._status = status
        self._conversation = conversation
        self._models = models
        self._review = review
        self._clipboard = clipboard
        self._preferences = preferences
        self._send = send
        self._leave = leave
        self._fill = fill
        self._root = root
        self._cwd = cwd

    # --- completion ------------------------------------------------------------------------

    def matching(self, word: str) -> list[tuple[str, str]]:
        """Commands and skills for the completion of `word`: exact, then prefix, then others."""
        known = [(name, c) for c in (*COMMANDS, *self.skills)
                 for name in (c.name, *c.aliases) if name.startswith("/")]  # fmt: skip
        known.sort(key=lambda item: item[0] != word)
        found: dict[str, tuple[str, SlashCommand]] = {}  # one row for each command
        for name, command in known:
            if name.startswith(word):
                found.setdefault(command.name, (name, command))
        for name, command in known:
            if name == command.name and word[1:] in name:
                found.setdefault(command.name, (name, command))
        return [(name, f"{c.about}  {c.arguments}".rstrip()) for name, c in found.values()]

    @property
    def skills(self) -> list[SlashCommand]:
        """The session's skills as commands, except those named like a command."""
        session = self._agent.session
        if session is None:
            return []
        found = [SlashCommand(f"/{s.name}", s.description, "[WORDS]") for s in session.skills]
        return [command for command in found if command_of(command.name)[0] is None]

    def runs_without_argument(self, name: str) -> bool:
        """Whether a command can run as soon as it is completed."""
        command, _ = command_of(name)
        return command is not None and not command.arguments

    # --- running ---------------------------------------------------------------------------

    def run(self, text: str) -> bool:
        """Run `text` if it is a command; False if it is a message for the model."""
        command, argument = command_of(text)
        if command is None:
            return text.startswith("/") and self._is_unknown(text)
        name, has_session = command.name, self._agent.session is not None
        if refused := command.refuses(argument):
            self._notice(refused, "warning")
        elif command.when != "any" and not has_session and name != "/model":
            self._notice(f"{name} needs a model, and none is loaded yet", "warning")
        elif command.when == "idle" and self._activity.busy and has_session:
            self._notice(f"{name} cannot run while laguna works; esc stops it", "warning")
        elif (work := self._execute(name, argument)) is not None:
            reporting = run_reporting_errors(work, self._notice)
            self._app.run_worker(reporting, group="command")
        return True

    def waits_its_turn(self, text: str) -> bool:
        """Whether a command changes what messages after it meet, so that it runs in their order."""
        command, argument = command_of(text)
        return command is not None and command.in_order and not command.refuses(argument)

    def _is_unknown(self, text: str) -> bool:
        """Report a command that does not exist; False for a path, a text or a skill."""
        name, skills = text.split(None, 1)[0], [skill.name for skill in self.skills]
        if "/" in name[1:] or "\n" in text or name in skills:
            return False  # the session adds a skill's instructions to the message
        close = nearest(name, skills)
        hint = f"; did you mean {close}?" if close else "; /help lists them"
        self._notice(f"there is no command {name}{hint}", "warning")
        return True

    def _execute(self, name: str, argument: str) -> Coroutine[Any, Any, None] | None:
        """Run a command, or return the rest of its work."""
        match name:
            case "/help":
                self._help()
            case "/model":
                return self._models.use(argument) if argument else self._models.choose()
            case "/mode":
                self._mode(argument)
            case "/permissions":
                return self._permissions()
            case "/plan":
                self._plan(argument)
            case "/check":
                self._check(argument)
            case "/compact":
                self._conversation.compact(argument)
            case "/new":
                self._conversation.reopen("starting a new conversation")
            case "/resume":
                if not argument:
                    return self._conversation.resume()
                self._conversation.reopen("opening the conversation", resume=argument)
            case "/fork":
                self._conversation.fork()
            case "/rewind":
                return self._conversation.rewind()
            case "/undo":
                return self._conversation.undo()
            case "/redo":
                return self._conversation.undo(redo=True)
            case "/diff":
                return self._diff()
            case "/context":
                return self._context()
            case "/experts":
                return self._experts()
            case "/usage":
                return self._usage()
            case "/memory":
                return pickers.show_memories(self._app, self._notice, self._root)
            case "/mcp":
                self._app.push_screen(pages.mcp_page(self._session.mcp, self._palette))
            case "/prompts":
                if not argument:
                    return self._prompts()
                self._conversation.reopen("starting a new conversation with the edited prompts")
            case "/init":
                self._send(INIT_PROMPT)
            case "/export":
                return self._conversation.export(argument)
            case "/copy":
                self._copy(code=argument == "code")
            case "/theme":
                self._theme(argument)
            case "/rename":
                return self._conversation.rename(argument)
            case "/doctor":
                return self._doctor()
            case "/exit":
                self._leave()
            case _:
                raise AssertionError(f"{name} is in the table only")
        return None

    @property
    def _session(self) -> Session:
        session = self._agent.session
        assert session is not None, "a command that needs a session runs only with one"
        return session

    @property
    def _palette(self) -> themes.Palette:
        return themes.PALETTES[self._app.theme]

    def _notice(self, text: str, state: State = "") -> None:
        self._transcript_model.add_notice(text, state)

    # --- modes and settings ----------------------------------------------------------------

    def _mode(self, name: str) -> None:
        if name:
            self.set_mode(name)
        else:
            self._app.push_screen(
                pickers.mode_picker(), lambda chosen: self.set_mode(chosen) if chosen else None
            )

    async def _permissions(self) -> None:
        from laguna_agent.interfaces.tui.screens.permissions_page import PermissionsPage

        session = self._session
        found = await asyncio.to_thread(session.permissions)
        if not found:
            self._notice("no rules yet: an approval can add one, for the session or longer")
            return

        async def revoke(permission: Permission) -> list[Permission]:
            await self._agent.run(lambda s: s.revoke(permission))
            return await asyncio.to_thread(session.permissions)

        page = PermissionsPage(found, session.gate.uses, str(self._root), self._palette, revoke)
        self._app.push_screen(page)

    def set_mode(self, mode: str) -> None:
        """Change what laguna does without asking. Leaving plan mode accepts no plan."""
        plan, session, settings = mode == "plan", self._agent.session, self._agent.settings
        self._status.change(plan=plan, **({} if plan else {"mode": mode}))
        if not plan:
            self._review.close()
        if session is not None:
            session.gate.plan = plan
            if not plan:
                session.set_mode(cast("Mode", mode))
        elif settings is not None:
            settings.plan, settings.given = plan, settings.given | {"plan"}
            if not plan:
                settings.mode = cast("Mode", mode)

    def next_mode(self) -> None:
        """Switch to the next mode: ask, accept-edits, auto, plan."""
        cycle, status = (*pickers.CYCLED, "plan"), self._status.status
        mode = "plan" if status.plan else status.mode
        self.set_mode(cycle[(cycle.index(mode) + 1) % len(cycle)] if mode in cycle else cycle[0])

    def _plan(self, message: str) -> None:
        if not message and self._session.gate.plan:
            if not self._review.offer():
                self._notice("plan mode: say what to plan; shift+tab leaves it")
            return
        if not self._session.gate.plan:
            self.set_mode("plan")
            self._notice("plan mode: laguna only reads, and proposes a plan; shift+tab leaves it")
        if message:
            self._send(message)

    def _check(self, command: str) -> None:
        if command:
            self._session.set_check(None if command == "off" else command)
        check = self._session.settings.check or ""
        if command:
            self._status.change(check=check, check_passed=None)
        self._notice(f"each task must pass: {check}" if check else "no check is set")

    def _theme(self, name: str) -> None:
        if name in themes.PALETTES:
            self._set_theme(name)
        elif name:
            self._notice(f"there is no theme {name}: {', '.join(themes.PALETTES)}", "warning")
        else:
            before = self._app.theme
            self._app.push_screen(
                pickers.theme_picker(self._show_theme),
                lambda chosen: self._set_theme(chosen) if chosen else self._show_theme(before),
            )

    def _show_theme(self, name: str) -> None:
        self._app.theme = name

    def _set_theme(self, name: str) -> None:
        self._show_theme(name)
        self._preferences.theme = name
        self._preferences.save()

    def remember(self, text: str) -> None:
        """Add a line to the user's own instructions, which every new conversation reads."""
        from laguna_agent.paths import config_dir

        path = config_dir() / "AGENTS.md"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            path.write_text(old + ("" if not old or old.endswith("\n") else "\n") + f"- {text}\n",
                            encoding="utf-8")  # fmt: skip
        except OSError as error:
            self._notice(f"cannot write {path}: {error.strerror}", "error")
            return
        self._notice(f"remembered in {path}, which new conversations read")

    # --- pages and copying -----------------------------------------------------------------

    def _help(self) -> None:
        def use(chosen: str | None) -> None:
            if chosen:
                self._fill(chosen)

        self._app.push_screen(pickers.Help(self.skills), use)

    async def _diff(self) -> None:
        page = await pages.diff_page(self._root, self._palette)
        if page is None:
            self._notice("no changes since the last commit")
        else:
            self._app.push_screen(page)

    async def _context(self) -> None:
        parts = await self._agent.run(pages.context_parts)
        if (session := self._agent.session) is not None:
            limit = session.conversation.limit
            self._app.push_screen(pages.context_page(parts, limit, self._palette))

    async def _experts(self) -> None:
        from laguna_agent.interfaces.tui.screens.experts_page import experts_page, last_reply

        if not (reply := last_reply(self._session)):
            self._notice("no reply yet: /experts shows what the last one chose")
            return
        if not (ids := reply.token_ids):
            self._notice("the model is on a server, which does not tell what its experts do")
            return
        self._status.flash("reading the last reply once more…", 600)
        try:
            routing = await self._agent.run(lambda s: s.conversation.routing(ids))
        finally:
            self._status.flash("")
        if routing is None:
            self._notice("the model has no experts, or its last reply is no longer in the prompt")
            return
        limit = self._session.conversation.limit
        self._app.push_screen(await experts_page(reply, routing, self._palette, limit))

    async def _usage(self) -> None:
        page = await pages.usage_page(self._session.trajectory.directory)
        self._app.push_screen(page)

    async def _doctor(self) -> None:
        self._status.flash("checking this installation…", 30)
        page = await pages.doctor_page(self._cwd)
        self._status.flash("")
        self._app.push_screen(page)

    async def _prompts(self) -> None:
        async def count(text: str) -> int:
            return await self._agent.run(lambda session: session.conversation.count(text))

        page = await pages.prompts_page(self._session.pack, count, self._palette)
        self._app.push_screen(page)

    def _copy(self, *, code: bool) -> None:
        answer = self._transcript_model.last_answer
        if answer and code:
            self._clipboard.choose_code(answer)
        elif answer:
            self._clipboard.copy(answer)
        else:
            self._notice("nothing to copy yet", "warning")
