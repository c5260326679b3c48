"""What `/` commands do. Those that only show something are in `pages`, those that let a person
choose in `choosers`, and getting a model is in `models_screen`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from rich.text import Text

from laguna_agent.errors import LagunaError, ModelError
from laguna_agent.interfaces.tui import themes
from laguna_agent.interfaces.tui.screens import model_picker, pages, pickers
from laguna_agent.interfaces.tui.screens.dialogs import Question
from laguna_agent.interfaces.tui.transcript.rendering import code_blocks
from laguna_agent.policy.sanitize import visible

if TYPE_CHECKING:
    from laguna_agent.interfaces.tui.app import LagunaApp

INIT = (
    "Look at this repository and write an AGENTS.md at its root for coding agents that will work "
    "here: what it is, how it is laid out, how to build, test and lint it (the exact commands), "
    "and the conventions that its code follows. Keep it under 60 lines, and write only what you "
    "have seen in the files. If there is one already, improve it."
)


@dataclass(frozen=True)
class Command:
    """One command. `when` is the state it needs: any, `idle` (no turn runs), or a `session`."""

    name: str
    about: str
    arguments: str = ""
    when: Literal["any", "session", "idle"] = "session"


COMMANDS: tuple[Command, ...] = (
    Command("/help", "keys and commands", when="any"),
    Command("/model", "choose a model: what is here, the catalogue, servers", "[NAME]", "idle"),
    Command("/mode", "what passes unasked", "[ask|accept-edits|auto|allow-all]"),
    Command("/plan", "look and plan, change nothing; again to end it", "[TEXT]"),
    Command("/compact", "summarise and free the context", "[WHAT TO KEEP]", "idle"),
    Command("/new", "a new conversation", when="idle"),
    Command("/resume", "go on with an earlier conversation", "[ID]", "idle"),
    Command("/fork", "go on in a copy of this conversation", when="idle"),
    Command("/rewind", "go back to before a message, with the files or without", when="idle"),
    Command("/undo", "take back the file changes of the last turn", when="idle"),
    Command("/diff", "what has changed since the last commit", when="any"),
    Command("/context", "what fills the context, by part"),
    Command("/usage", "tokens and time of this conversation"),
    Command("/memory", "what laguna remembers of past work", when="any"),
    Command(
        "/prompts", "the prompt pack; reload begins anew with its files as they are", "[reload]"
    ),
    Command("/init", "let laguna write an AGENTS.md", when="idle"),
    Command("/export", "write this conversation to a file", "[FILE.md|.html|.json]"),
    Command("/copy", "copy the last answer, or its code", "[code]", "any"),
    Command("/theme", "colours", "[NAME]", "any"),
    Command("/rename", "give this conversation a title", "[TITLE]"),
    Command("/doctor", "what works here and what does not", when="any"),
    Command("/exit", "leave", when="any"),
)
_BY_NAME = {command.name: command for command in COMMANDS}


class SlashCommands:
    """Runs commands for the app."""

    def __init__(self, app: LagunaApp) -> None:
        self.app = app

    def matching(self, word: str) -> list[tuple[str, str]]:
        """Commands and skills for the completion of `word`: the one that it is, those that begin
        with it, then the others."""
        known = sorted([*COMMANDS, *self.skills], key=lambda c: c.name != word)
        begin = [c for c in known if c.name.startswith(word)]
        inside = [c for c in known if c not in begin and word[1:] in c.name]
        return [(c.name, f"{c.about}  {c.arguments}".rstrip()) for c in (*begin, *inside)]

    @property
    def skills(self) -> list[Command]:
        """The session's skills as commands; one that is called like a command is left out."""
        if self.session is None:
            return []
        found = [Command(f"/{s.name}", s.description, "[WORDS]") for s in self.session.agent.skills]
        return [command for command in found if command.name not in _BY_NAME]

    def takes_nothing(self, name: str) -> bool:
        """Whether a command can be run as soon as it is chosen."""
        return name in _BY_NAME and not _BY_NAME[name].arguments

    def run(self, text: str) -> bool:
        """Run `text` if it is a command; False when it is something to say."""
        if not text.startswith("/"):
            return False
        word, _, rest = text.partition(" ")
        command = _BY_NAME.get(word)
        if command is None:
            if "/" in word[1:] or "\n" in text or word in {skill.name for skill in self.skills}:
                # A path, a text that only begins like a command, or a skill, which the session
                # puts beside what is said.
                return False
            self.app.transcript_model.note(
                f"there is no command {word}; /help shows them", "warning"
            )
            return True
        app = self.app
        if command.when != "any" and app.agent.session is None and command.name != "/model":
            app.transcript_model.note(f"{word} needs a model, which is not loaded yet", "warning")
        elif command.when == "idle" and app.busy and app.agent.session is not None:
            app.transcript_model.note(f"{word} waits until nothing runs; esc stops it", "warning")
        else:
            do: Callable[[str], Any] = getattr(self, f"_{word[1:]}")
            outcome = do(rest.strip())
            if asyncio.iscoroutine(outcome):
                app.run_worker(self._guarded(outcome), group="command")
        return True

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except LagunaError as error:
            self.app.transcript_model.note(str(error), "error")
        except Exception as error:  # a command's fault must not end the conversation
            self.app.transcript_model.note(f"unexpected {type(error).__name__}: {error}", "error")

    def reopen(self, what: str, **changes: Any) -> None:
        """Open another session, or this one with other settings."""
        self.app.begin(what)
        wanted = {"resume": None, "fork": None, "continue_last": False, **changes}
        self.app.agent.reopen(**wanted)

    @property
    def session(self) -> Any:
        """The session; commands that use it run only when there is one."""
        return self.app.agent.session

    # --- talking ---------------------------------------------------------------------------

    def _help(self, rest: str) -> None:
        pages.help_page(self.app, COMMANDS, self.skills)

    def _exit(self, rest: str) -> None:
        self.app.leave()

    def _init(self, rest: str) -> None:
        self.app.queue.send(INIT, "queue")

    def _compact(self, rest: str) -> None:
        if not self.session.record.state.user_messages:
            self.app.transcript_model.note("there is nothing to summarise yet", "warning")
            return
        self.app.begin("summarising")
        self.app.agent.compact(rest)

    def set_mode(self, mode: str) -> None:
        """Change what passes unasked."""
        self.app.set_status(mode=mode)
        if self.session is not None:
            self.session.set_mode(mode)
        elif self.app.agent.settings is not None:
            self.app.agent.settings.mode = cast("Any", mode)

    def _mode(self, rest: str) -> None:
        from laguna_agent.actions import Mode

        if rest in get_args(Mode):
            self.set_mode(rest)
        elif rest:
            self.app.transcript_model.note(
                f"there is no mode {rest}: {', '.join(get_args(Mode))}", "warning"
            )
        else:
            pickers.choose_mode(self.app)

    def _plan(self, rest: str) -> None:
        gate = self.session.agent.gate
        gate.plan = not gate.plan or bool(rest)
        self.app.set_status(plan=gate.plan)
        self.app.transcript_model.note(
            "plan: nothing is changed until /plan again" if gate.plan else "plan ended"
        )
        if rest:
            self.app.queue.send(rest, "queue")

    def remember(self, text: str) -> None:
        """Add a line to the person's own instructions, which every conversation begins with."""
        from laguna_agent.paths import config_dir

        path = config_dir() / "AGENTS.md"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            path.write_text(old + ("" if not old or old.endswith("\n") else "\n") + f"- {text}\n",
                            encoding="utf-8")  # fmt: skip
        except OSError as error:
            self.app.transcript_model.note(f"{path} cannot be written: {error.strerror}", "error")
            return
        self.app.transcript_model.note(
            f"remembered in {path}; conversations that begin later know it"
        )

    # --- conversations ---------------------------------------------------------------------

    def _new(self, rest: str) -> None:
        self.reopen("a new conversation")

    def _resume(self, rest: str) -> Any:
        if rest:
            self.reopen("opening", resume=rest)
            return None
        return pickers.choose_session(self.app)

    def _fork(self, rest: str) -> None:
        if not self.session.record.state.user_messages:
            self.app.transcript_model.note("there is nothing to copy yet", "warning")
            return
        self.reopen("copying", fork=self.session.trajectory.id)

    def _rewind(self, rest: str) -> Any:
        return pickers.choose_rewind(self.app)

    async def rewind(self, seq: int, text: str, *, code: bool) -> None:
        """Go back to before message `seq`, which is put where it can be edited."""
        restored = await self.app.agent.run(lambda s: s.rewind(seq, code=code))
        self.app.history_loader.show(self.session)
        self.app.refresh_context()
        self.app.composer.put(text)
        files = f"; restored: {', '.join(restored)}" if restored else ""
        self.app.transcript_model.note(f"went back to before this message{files}")

    async def _undo(self, rest: str) -> None:
        from laguna_agent.interfaces.commands.undo import last_changing_turn

        checkpoints = self.session.agent.checkpoints
        found = await asyncio.to_thread(last_changing_turn, self.app.root)
        diff = await asyncio.to_thread(checkpoints.diff, found)
        if not diff.strip():
            self.app.transcript_model.note("the files are as they were before the last turn")
            return
        keys = {"y": "take these changes back", "n": "leave them"}
        draw = pages.diff_text(diff, self.app.palette, min(74, self.app.size.width - 8))
        answer = await self.app.push_screen_wait(Question("Undo", draw, keys=keys))
        if answer == "y":
            report = await self.app.agent.run(lambda s: s.undo(found))
            self.app.history_loader.undone(report.failed)
            names = ", ".join([*report.written, *report.removed])
            self.app.transcript_model.note(f"restored {names}; to take this back: laguna undo "
                                 f"{report.before}")  # fmt: skip
            for name, why in report.failed.items():
                self.app.transcript_model.note(f"{name} is not as it was: {why}", "error")

    async def _rename(self, rest: str) -> None:
        question = Question("Title of this conversation", value=self.session.trajectory.meta.title)
        title: str | None = rest
        if not title:
            title = await self.app.push_screen_wait(question)
        if title:
            trajectory = self.session.trajectory
            trajectory.meta.title = title.strip()[:120]
            await asyncio.to_thread(trajectory.sync)
            self.app.transcript_model.note(f"this conversation is called: {title}")

    async def _export(self, rest: str) -> None:
        question = Question(
            "Export to (.md, .html or .json)", value=f"{self.session.trajectory.id}.md"
        )
        name: str | None = rest
        if not name:
            name = await self.app.push_screen_wait(question)
        if not name:
            return
        path = self.app.cwd / os.path.expanduser(name)
        if path.exists():
            question = Question("There is a file of that name", Text(visible(str(path))),
                                keys={"y": "replace it", "n": "leave it"})  # fmt: skip
            if await self.app.push_screen_wait(question) != "y":
                return
        await asyncio.to_thread(pages.export, self.session.trajectory.directory, path)
        inside = path.is_relative_to(self.app.cwd)
        self.app.transcript_model.note(
            f"written: {path.relative_to(self.app.cwd) if inside else path}"
        )

    # --- looking ---------------------------------------------------------------------------

    def _diff(self, rest: str) -> Any:
        return pages.diff_page(self.app)

    def _context(self, rest: str) -> Any:
        return pages.context_page(self.app)

    def _usage(self, rest: str) -> Any:
        return pages.usage_page(self.app)

    def _memory(self, rest: str) -> Any:
        return pickers.look_at_memory(self.app)

    def _doctor(self, rest: str) -> Any:
        return pages.doctor_page(self.app)

    async def _prompts(self, rest: str) -> None:
        if rest == "reload":
            self.reopen("a new conversation with the prompts as they are now")
        else:
            await pages.prompts_page(self.app)

    def _copy(self, rest: str) -> None:
        answer = self.app.transcript_model.last_answer
        blocks = code_blocks(answer)
        if rest == "code" and blocks:
            self.app.copy(blocks[-1].rstrip("\n"))
        elif answer and rest != "code":
            self.app.copy(answer)
        else:
            self.app.transcript_model.note("there is nothing to copy yet", "warning")

    # --- settings --------------------------------------------------------------------------

    def _theme(self, rest: str) -> None:
        if rest in themes.PALETTES:
            self.set_theme(rest)
        elif rest:
            names = ", ".join(themes.PALETTES)
            self.app.transcript_model.note(f"there is no theme {rest}: {names}", "warning")
        else:
            pickers.choose_theme(self.app)

    def set_theme(self, name: str) -> None:
        """Change the colours, from now on."""
        self.app.theme = name
        self.app.preferences.theme = name
        self.app.preferences.save()

    def _model(self, rest: str) -> Any:
        if rest:
            return model_picker.use(self.app, rest)
        return model_picker.choose(self.app)

    def first_run(self, error: ModelError) -> None:
        """There is no model that could be loaded: explain and let the person choose."""
        self.app.run_worker(self._guarded(model_picker.first_run(self.app, error)))

    def ask_trust(self, files: tuple[str, ...], digest: str, *, changed: bool) -> None:
        """Ask whether what the repository brings along may be read."""
        self.app.run_worker(self._guarded(self._ask_trust(files, digest, changed=changed)))

    async def _ask_trust(self, files: tuple[str, ...], digest: str, *, changed: bool) -> None:
        from laguna_agent.policy import trust

        text = Text("These files of the repository " + ("changed. " if changed else ""))
        text.append("tell laguna what to do, and may run programs. "
                    "They are not read before you trust them as they are now:\n\n")  # fmt: skip
        text.append("\n".join(visible(shlex.quote(name), single_line=True) for name in files[:40]))
        if len(files) > 40:
            text.append(f"\nand {len(files) - 40} more")
        keys = {"y": "trust them", "n": "go on without them"}
        title = "Do you trust this repository's settings?"
        if await self.app.push_screen_wait(Question(title, text, keys=keys)) != "y":
            self.app.transcript_model.note(
                "the repository's own settings and instructions are not read"
            )
            return
        await asyncio.to_thread(trust.trust, self.app.root, digest)
        with contextlib.suppress(LagunaError):
            self.app.begin("reading the repository's settings")
            self.app.agent.restart()
