"""What a session has, it has whenever it goes on: each way to come back, and what it keeps."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from laguna_agent.agent.approval import Approval
from laguna_agent.agent.model_loading import LoadedModel
from laguna_agent.agent.session import Session
from laguna_agent.agent.settings import Settings
from laguna_agent.config import Config, load_config
from laguna_agent.errors import ModelError
from laguna_agent.events import Compacted, Reply, ToolFinished
from laguna_agent.models.conversation import Message
from laguna_agent.policy import trust
from laguna_agent.prompts.loader.pack import load_pack
from laguna_agent.trajectory.index import SessionIndex
from laguna_agent.trajectory.store import Trajectory
from support.scripted import Script, ScriptedConversation, call, compact, open_watched, take

FACT = "The gizmo listens on port 4711."
SHA = {"first": "1" * 64, "second": "2" * 64}


@dataclass
class Life:
    """A repository in which sessions of a scripted model are opened, one after another."""

    root: Path
    session: Session | None = None
    conversation: ScriptedConversation | None = None
    asked_for: list[Config] = field(default_factory=list)
    """The configuration of each model that was loaded."""

    async def open(self, script: Script, **settings: Any) -> Session:
        """Open a session, as a new process does unless `settings` has all."""

        async def load(config: Config, *, plan: bool, **_: Any) -> LoadedModel:
            self.asked_for.append(config)
            self.conversation = talk = ScriptedConversation(script)
            sha256 = SHA.get(config.model or "first", "9" * 64)
            talk.info = talk.info.model_copy(update={"sha256": sha256})
            pack = load_pack(config.pack or ("plan" if plan else "base"), model_name="scripted")
            return LoadedModel(talk, talk.info, pack)

        made: Settings = settings.pop("settings", None) or Settings(
            cwd=self.root, config=load_config(), mode="accept-edits", interactive=True, trusted=True
        )
        given = {"given": made.given | settings.pop("given", frozenset())}
        self.session = await open_watched(
            replace(made, **given, **settings), load=load, approver=_always
        )
        return self.session

    @property
    def talk(self) -> ScriptedConversation:
        assert self.conversation is not None
        return self.conversation


async def _always(_: Any) -> Approval:
    return Approval("always", scope="everywhere")


@pytest.fixture
def life(tmp_path: Path, laguna_home: Path) -> Life:
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    (root / "src" / "AGENTS.md").write_text("Spell it gizmo, never widget.\n")
    (root / "src" / "a.txt").write_text(FACT)
    skill = root / ".laguna" / "skills" / "paint" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("---\nname: paint\ndescription: How to paint.\n---\nThinly.\n")
    trust.trust(root, trust.content(root).digest)
    config = laguna_home / "config" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    hook = 'cat > /dev/null; echo \'{\\"add\\": \\"Say please.\\"}\''
    config.write_text(
        '[providers.other]\nurl = "http://127.0.0.1:9"\n[[hooks]]\non = "on_prompt"\n'
        f'command = "{hook}"\n'
    )
    return Life(root)


FIRST_LIFE: Script = [
    call("plan", steps=["[x] read the gizmo", "[>] paint the gizmo"]),
    call("read", path="src/a.txt"),
    call("shell", command="mkdir painted"),
    call("write", path="painted/gizmo.txt", content="red"),
    call("shell", command="export GIZMO=on; cd src; sleep 300 &"),
    Reply(text="The gizmo is read."),
]
SECOND_LIFE: Script = [
    call("recall", query="gizmo port"),
    call("read", path="src/a.txt"),
    call("shell", command='echo "gizmo:${GIZMO:-off}" "in:${PWD##*/}" "jobs:$(jobs -p | wc -l)"'),
    Reply(text="Gone on. " + "And on. " * 2_000),
    Reply(text="Goal: paint the gizmo."),
]


async def first_life(life: Life) -> Session:
    """A session with all that one can have; another one was remembered before."""
    earlier = await life.open([Reply(text="Done.")])
    await take(earlier, "Paint the gizmo on the left; it is red")
    await earlier.aclose()
    config = load_config(
        flags={
            "pack": "laguna",
            "thinking": False,
            "sampling": {"temperature": 0.25, "seed": 7},
            "limits": {"steps": 30},
        }
    )
    settings = Settings(
        cwd=life.root, config=config, mode="ask", interactive=True, trusted=True, check="true",
        given=frozenset({"pack", "thinking", "temperature", "seed"}),
    )  # fmt: skip
    session = await life.open(FIRST_LIFE, settings=settings)
    await take(session, "Paint the gizmo")
    session.set_mode("auto")
    session.gate.plan = True
    life.talk.script.append(Reply(text="Planned."))
    await take(session, "Plan the rest of the gizmo")
    return session


async def new_process(life: Life, session: Session, **how: Any) -> Session:
    await session.aclose()
    return await life.open(SECOND_LIFE, **how)


async def same_interface(life: Life, session: Session, **how: Any) -> Session:
    """As the interface does it: with what the person has set since."""
    settings = session.carried_over(session.settings)
    await session.aclose()
    return await life.open(SECOND_LIFE, settings=settings, **how)


async def by_continue(life: Life, session: Session) -> Session:
    return await new_process(life, session, continue_last=True)


async def by_resume(life: Life, session: Session) -> Session:
    return await new_process(life, session, resume=session.trajectory.id)


async def by_fork(life: Life, session: Session) -> Session:
    return await new_process(life, session, fork=session.trajectory.id)


async def after_a_crash(life: Life, session: Session) -> Session:
    """The record as a kill leaves it: cut in the middle of a line, without its meta."""
    await session.aclose()
    path = session.trajectory.path
    path.write_bytes(path.read_bytes()[:-10])
    (path.parent / "meta.json").unlink()
    return await life.open(SECOND_LIFE, continue_last=True)


async def by_slash_resume(life: Life, session: Session) -> Session:
    return await same_interface(life, session, resume=session.trajectory.id)


async def by_slash_fork(life: Life, session: Session) -> Session:
    return await same_interface(life, session, fork=session.trajectory.id)


async def by_slash_model(life: Life, session: Session) -> Session:
    config = session.carried_over(session.settings).config
    config = config.model_copy(update={"model": "other/second"})
    return await same_interface(
        life, session, resume=session.trajectory.id, config=config, given=frozenset({"model"})
    )


async def by_slash_new(life: Life, session: Session) -> Session:
    return await same_interface(life, session)


async def by_rewind(life: Life, session: Session) -> Session:
    last = session.conversation_state.user_messages[-1].seq
    await session.rewind(last, code=False)
    life.talk.script, life.talk.played = list(SECOND_LIFE), 0
    return session


async def by_undo(life: Life, session: Session) -> Session:
    await session.undo()
    life.talk.script, life.talk.played = list(SECOND_LIFE), 0
    return session


Way = Callable[[Life, Session], Awaitable[Session]]
NEW_PROCESS: list[Way] = [by_continue, by_resume, by_fork, after_a_crash]
SAME_INTERFACE: list[Way] = [by_slash_resume, by_slash_fork, by_slash_model]
SAME_SESSION: list[Way] = [by_rewind, by_undo]

KEPT = {
    "recall": True,
    "memory in a new epoch": True,
    "instructions in a new epoch": True,
    "instructions are told again": False,
    "skills in a new epoch": True,
    "hooks": True,
    "check": "true",
    "plan": "[x] read the gizmo\n[>] paint the gizmo",
    "planning": True,
    "mode": "auto",
    "rule granted": True,
    "limit of steps": 30,
    "shell": "gizmo:on in:src jobs:1",
    "told of a new shell": False,
    "thinking": False,
    "temperature": 0.25,
    "seed": 7,
    "pack": "laguna",
    "model": None,
}
RESTARTED_SHELL = {"shell": "gizmo:off in:project jobs:0", "told of a new shell": True}
GIVEN_ANEW = {"mode": "accept-edits", "limit of steps": 100}
"""For each run of the program, whatever the session had."""
FRESH = {
    "recall": True,  # of what other sessions did
    "instructions are told again": True,
    "plan": "",
    "told of a new shell": False,
    "shell": "gizmo:off in:project jobs:0",
}
"""Of a new conversation."""


def expected(way: Way) -> dict[str, Any]:
    table: dict[str, Any] = dict(KEPT)
    if way in NEW_PROCESS:
        table |= RESTARTED_SHELL | GIVEN_ANEW
    elif way in SAME_INTERFACE:
        table |= RESTARTED_SHELL
    elif way is by_slash_new:
        table |= FRESH
    if way is by_slash_model:
        table["model"] = "other/second"
    return table


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [*NEW_PROCESS, *SAME_INTERFACE, by_slash_new, *SAME_SESSION],
    ids=lambda way: way.__name__,
)
async def test_a_session_that_goes_on_has_what_it_had(life: Life, way: Way) -> None:
    session = await way(life, await first_life(life))
    planning, session.gate.plan = session.gate.plan, False
    await session.start()
    before = len(life.talk.entries)
    events = await take(session, "Go on to paint the gizmo in src/a.txt")
    new = [entry for entry in life.talk.entries[before:] if isinstance(entry, Message)]
    said = [message.content for message in new if message.role == "user"]
    results = {e.name: e.content for e in events if isinstance(e, ToolFinished)}
    opening = next(e for e in await compact(session) if isinstance(e, Compacted)).opening
    services = session._services
    loaded = life.asked_for[-1]
    found = {
        "recall": FACT in results["recall"],
        "memory in a new epoch": "Memory of earlier work" in opening and "is red" in opening,
        "instructions in a new epoch": "never widget" in opening,
        "instructions are told again": any("never widget" in text for text in said),
        "skills in a new epoch": "How to paint." in opening,
        "hooks": any("Say please." in text for text in said),
        "check": session._state.check,
        "plan": "\n".join(line for line in opening.split("\n") if line.startswith(("[x]", "[>]"))),
        "planning": planning,
        "mode": session.gate.mode,
        "rule granted": any("mkdir" in (rule.command or "") for rule in session.gate.rules),
        "limit of steps": services.limits.steps,
        "shell": results["shell"].split("\n")[0],
        "told of a new shell": any("The shell is new" in text for text in said),
        "thinking": loaded.thinking,
        "temperature": services.sampling.temperature,
        "seed": services.sampling.seed,
        "pack": session.pack.name,
        "model": loaded.model,
    }
    await session.aclose()
    assert found == expected(way)


async def test_planning_in_the_interface_can_end_in_changes(life: Life) -> None:
    session = await life.open([Reply(text="The plan.")], plan=True)
    await take(session, "Plan it")
    assert session.pack.name == "base"
    assert "Plan mode: change nothing" in life.talk.prompt
    assert "edit" in {tool.name for tool in life.talk.tools}
    await session.aclose()
    run = await life.open([Reply(text="The plan.")], plan=True, interactive=False)
    await run.start()
    assert run.pack.name == "plan"
    assert "edit" not in {tool.name for tool in life.talk.tools}
    await run.aclose()
    acting = await life.open([Reply(text="Done.")], continue_last=True, interactive=False)
    await acting.start()
    assert acting.pack.name == "base"
    assert "edit" in {tool.name for tool in life.talk.tools}
    await acting.aclose()


async def test_a_tool_that_is_switched_off_is_no_longer_declared(life: Life) -> None:
    session = await life.open([Reply(text="Hello.")])
    await take(session, "Hello")
    assert "recall" in {tool.name for tool in life.talk.tools}
    await session.aclose()
    without = load_config(flags={"memory": {"enabled": False}})
    settings = Settings(cwd=life.root, config=without, mode="ask", continue_last=True)
    again = await life.open([Reply(text="On.")], settings=settings)
    await take(again, "Go on")
    assert "recall" not in {tool.name for tool in life.talk.tools}
    await again.aclose()
    # And it stays so: what was kept out of memory once is not remembered later.
    later = await life.open([Reply(text="On.")], continue_last=True)
    await take(later, "Go on again")
    assert later._services.tool_context.recall is None
    await later.aclose()


# --- sessions in which nothing happened -------------------------------------------------------


def listed(life: Life) -> list[str]:
    with SessionIndex(life.root) as index:
        return [meta.id for meta in index.sessions()]


@pytest.mark.parametrize("how", ["new", "fork", "resume"])
async def test_a_session_whose_model_is_missing_leaves_the_list_as_it_was(
    life: Life, how: str
) -> None:
    session = await life.open([Reply(text="Hello.")])
    await take(session, "Hello")
    await session.aclose()
    before = listed(life)

    async def load(config: Config, **_: Any) -> LoadedModel:
        raise ModelError("there is no model here")

    settings = Settings(cwd=life.root, config=load_config(), mode="ask")
    if how != "new":
        settings = replace(settings, **{how: session.trajectory.id})
    with pytest.raises(ModelError):
        await Session.open(settings, load=load)
    assert listed(life) == before == [session.trajectory.id]
    assert [path.name for path in session.trajectory.directory.parent.iterdir()] == before
    again = await life.open([Reply(text="On.")], continue_last=True)
    assert again.trajectory.id == session.trajectory.id
    await again.aclose()


async def test_a_session_without_a_message_is_not_continued(life: Life) -> None:
    session = await life.open([Reply(text="Hello.")])
    await take(session, "Hello")
    await session.aclose()
    empty = await life.open([Reply(text="Never said.")])
    assert listed(life) == [session.trajectory.id]  # while it is open, too
    await empty.aclose()
    assert not empty.trajectory.directory.exists()
    again = await life.open([Reply(text="On.")], continue_last=True)
    assert again.trajectory.id == session.trajectory.id
    await again.aclose()
    # What a kill leaves of one is not continued either.
    Trajectory.create(life.root).close()
    assert listed(life) == [session.trajectory.id]


async def test_a_session_that_was_killed_in_its_first_turn_is_listed(life: Life) -> None:
    session = await life.open([Reply(text="Hello.")])
    await session.start()
    assert listed(life) == [session.trajectory.id]
    await session.aclose()
    assert listed(life) == [session.trajectory.id]


async def test_what_is_set_after_the_last_turn_is_there_when_the_session_goes_on(
    life: Life,
) -> None:
    session = await life.open([Reply(text="Hello.")])
    await take(session, "Hello")
    session.set_check("make test")
    session.gate.plan = True
    again = await new_process(life, session, continue_last=True)
    assert again.settings.check == "make test"
    assert again.gate.plan
    again.set_check(None)
    again.gate.plan = False
    config = again.settings.config.model_copy(
        update={"model": "other/second", "pack": "laguna", "thinking": False}
    )
    config.sampling.temperature = 0.25
    given = frozenset({"model", "pack", "thinking", "temperature"})
    chosen = await same_interface(
        life, again, resume=again.trajectory.id, config=config, given=given
    )
    last = await new_process(life, chosen, continue_last=True)
    assert not last.settings.check
    assert not last.gate.plan
    kept = last.settings.config
    assert (kept.model, kept.pack, kept.thinking) == ("other/second", "laguna", False)
    assert kept.sampling.temperature == 0.25
    await last.aclose()


async def test_a_session_that_is_only_looked_at_leaves_its_record_alone(life: Life) -> None:
    session = await life.open([Reply(text="Hello.")], check="true", plan=True)
    await take(session, "Hello")
    await session.aclose()
    record = session.trajectory.path.read_bytes()
    for interactive in (True, False):
        again = await life.open([Reply(text="On.")], continue_last=True, interactive=interactive)
        await again.aclose()
    assert session.trajectory.path.read_bytes() == record
