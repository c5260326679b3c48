"""The slash commands: their table, and what each one does."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from laguna_agent.interfaces.phrases import INIT_PROMPT
from laguna_agent.interfaces.tui import themes
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
    from laguna_agent.interfaces.tui.system.preferences import Preferences
    from laguna_agent.interfaces.tui.transcript.transcript_model import State, TranscriptModel
    from laguna_agent.interfaces.tui.widgets.activity_line import ActivityLine
    from laguna_agent.interfaces.tui.widgets.status_line import StatusLine


@dataclass(frozen=True)
class SlashCommand:
    """A command. `when` is what it needs: nothing, an open session, or one without a turn."""

    name: str
    about: str
    arguments: str = ""
    when: Literal["any", "session", "idle"] = "session"

    @property
    def help_row(self) -> tuple[str, str]:
        """The command with its arguments, and what it does."""
        return f"{self.name} {self.arguments}".strip(), self.about


COMMANDS: tuple[SlashCommand, ...] = (
    SlashCommand("/help", "keys and commands", when="any"),
    SlashCommand("/model", "choose a model: installed, from the catalogue, on a server", "[NAME]",
            "idle"),
    SlashCommand("/mode", "what laguna does without asking", "[ask|accept-edits|auto|allow-all]"),
    SlashCommand("/plan", "explore and plan without changes; again to end it", "[TEXT]"),
    SlashCommand("/check", "a command that must succeed before a task is done; off ends it",
            "[COMMAND|off]"),
    SlashCommand("/compact", "summarise to free the context", "[WHAT TO KEEP]", "idle"),
    SlashCommand("/new", "start a new conversation", when="idle"),
    SlashCommand("/resume", "resume an earlier conversation", "[ID]", "idle"),
    SlashCommand("/fork", "continue in a copy of this conversation", when="idle"),
    SlashCommand("/rewind", "go back to before a message, with or without the files", when="idle"),
    SlashCommand("/undo", "take back what the last turn changed in files", when="idle"),
    SlashCommand("/redo", "make again what the last undo took back", when="idle"),
    SlashCommand("/diff", "changes since the last commit", when="any"),
    SlashCommand("/context", "what fills the context, by part"),
    SlashCommand("/usage", "tokens and time of this conversation"),
    SlashCommand("/memory", "what laguna remembers of earlier work", when="any"),
    SlashCommand("/prompts", "the prompt pack; reload starts a new conversation with edited files",
            "[reload]"),
    SlashCommand("/init", "let laguna write an AGENTS.md", when="idle"),
    SlashCommand("/export", "write this conversation to a file", "[FILE.md|.html|.json]"),
    SlashCommand("/copy", "copy the last answer, or a code block of it", "[code]", "any"),
    SlashCommand("/theme", "choose the colours", "[NAME]", "any"),
    SlashCommand("/rename", "give this conversation a title", "[TITLE]"),
    SlashCommand("/doctor", "check what works here and what does not", when="any"),
    SlashCommand("/exit", "exit", when="any"),
)  # fmt: skip
_BY_NAME = {command.name: command for command in COMMANDS}


class SlashCommands:
    """Completes and runs commands. `send` sends a message; `leave` ends the interface."""

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
        clipboard: Clipboard,
        preferences: Preferences,
        send: Callable[[str], None],
        leave: Callable[[], None],
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
        self._clipboard = clipboard
        self._preferences = preferences
        self._send = send
        self._leave = leave
        self._root = root
        self._cwd = cwd

    # --- completion ------------------------------------------------------------------------

    def matching(self, word: str) -> list[tuple[str, str]]:
        """Commands and skills for the completion of `word`: exact, then prefix, then others."""
        known = sorted([*COMMANDS, *self.skills], key=lambda c: c.name != word)
        prefixed = [c for c in known if c.name.startswith(word)]
        others = [c for c in known if c not in prefixed and word[1:] in c.name]
        return [(c.name, f"{c.about}  {c.arguments}".rstrip()) for c in (*prefixed, *others)]

    @property
    def skills(self) -> list[SlashCommand]:
        """The session's skills as commands, except those named like a command."""
        session = self._agent.session
        if session is None:
            return []
        found = [SlashCommand(f"/{s.name}", s.description, "[WORDS]") for s in session.skills]
        return [command for command in found if command.name not in _BY_NAME]

    def runs_without_argument(self, name: str) -> bool:
        """Whether a command can run as soon as it is completed."""
        return name in _BY_NAME and not _BY_NAME[name].arguments

    # --- running ---------------------------------------------------------------------------

    def run(self, text: str) -> bool:
        """Run `text` if it is a command; False if it is a message for the model."""
        if not text.startswith("/"):
            return False
        name, _, argument = text.partition(" ")
        command = _BY_NAME.get(name)
        if command is None:
            is_path_or_text = "/" in name[1:] or "\n" in text
            if is_path_or_text or name in {skill.name for skill in self.skills}:
                return False  # the session adds a skill's instructions to the message
            self._notice(f"there is no command {name}; /help lists them", "warning")
            return True
        has_session = self._agent.session is not None
        if command.when != "any" and not has_session and name != "/model":
            self._notice(f"{name} needs a model, and none is loaded yet", "warning")
        elif command.when == "idle" and self._activity.busy and has_session:
            self._notice(f"{name} cannot run while laguna works; esc stops it", "warning")
        elif (work := self._execute(name, argument.strip())) is not None:
            reporting = run_reporting_errors(work, self._notice)
            self._app.run_worker(reporting, group="command")
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
            case "/usage":
                return self._usage()
            case "/memory":
                return pickers.show_memories(self._app, self._notice, self._root)
            case "/prompts":
                if argument != "reload":
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
        from laguna_agent.actions import Mode

        if name in get_args(Mode):
            self.set_mode(name)
        elif name:
            self._notice(f"there is no mode {name}: {', '.join(get_args(Mode))}", "warning")
        else:
            self._app.push_screen(
                pickers.mode_picker(), lambda chosen: self.set_mode(chosen) if chosen else None
            )

    def set_mode(self, mode: str) -> None:
        """Change what laguna does without asking."""
        self._status.change(mode=mode)
        if self._agent.session is not None:
            self._agent.session.set_mode(cast("Mode", mode))
        elif self._agent.settings is not None:
            self._agent.settings.mode = cast("Mode", mode)

    def _plan(self, message: str) -> None:
        gate = self._session.gate
        gate.plan = not gate.plan or bool(message)
        self._status.change(plan=gate.plan)
        self._notice(
            "plan mode: laguna changes nothing until you enter /plan again"
            if gate.plan
            else "plan mode ended"
        )
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
        commands = [command.help_row for command in COMMANDS]
        skills = [skill.help_row for skill in self.skills]
        self._app.push_screen(pages.help_page(self._palette, commands, skills))

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
