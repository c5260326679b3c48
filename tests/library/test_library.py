"""Laguna as a library: tasks, events, approvals, resuming, stopping, in threads and event loops."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from laguna_agent import AcceptPlan, Approval, AsyncLaguna, Laguna, LagunaError
from laguna_agent.errors import UsageError
from laguna_agent.events import ApprovalRequested, Event, TextDelta, TurnFinished
from support.model_server import Exchange, ModelServer, Script, calls, says
from support.packs import write_files

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
WRITE = calls(("write", '{"path": "hello.txt", "content": "hello\\n"}'))
SLEEP = calls(("shell", '{"command": "echo begun > begun; sleep 60"}'))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "calculator", {"calc.py": "x = 1\n"})


def options(server: ModelServer, **more: Any) -> dict[str, Any]:
    config = {"providers": {"s": {"url": server.url}}, **more.pop("config", {})}
    return {"model": "s/m", "config": config, **more}


async def use(server: ModelServer, work: Callable[[], T]) -> T:
    """Run what is not asynchronous while the server answers."""
    return await asyncio.to_thread(work)


def example() -> str:
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_example_of_the_document_works(
    folder: Path,
    laguna_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(example().splitlines()) == 10
    async with ModelServer(WRITE, says("Done."), says("It says hello.")) as server:
        config = f'model = "s/m"\n[providers.s]\nurl = "{server.url}"\n'
        write_files(laguna_home / "config", {"config.toml": config})
        monkeypatch.chdir(folder.parent)
        await use(server, lambda: exec(example(), {}))
    assert (folder / "hello.txt").read_text() == "hello\n"
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "→ Write hello.txt"
    assert second == "done It says hello."
    assert re.fullmatch(r"continue with \d{6}-\d{6}-\w{4}", third)


async def test_events_are_typed_and_the_last_is_the_end(folder: Path) -> None:
    seen: list[Event] = []
    async with (
        ModelServer(says("Hi.")) as server,
        AsyncLaguna(folder, **options(server)) as laguna,
        laguna.stream("Greet me") as events,
    ):
        seen += [event async for event in events]
    assert any(isinstance(event, TextDelta) and event.text == "Hi." for event in seen)
    assert isinstance(seen[-1], TurnFinished)
    assert (seen[-1].status, seen[-1].summary) == ("done", "Hi.")


async def test_a_session_is_resumed_by_its_id(folder: Path) -> None:
    async with ModelServer(says("I am here."), says("As I said.")) as server:
        async with AsyncLaguna(folder, **options(server)) as laguna:
            assert laguna.session_id is None
            await laguna.run("Where are you?")
            session = laguna.session_id
        async with AsyncLaguna(folder, **options(server, resume=session)) as laguna:
            await laguna.run("Where?")
            assert laguna.session_id == session
        told = server.requests[-1]["messages"]
    assert [message["role"] for message in told[1:]] == ["user", "assistant", "user"]
    assert told[2]["content"] == "I am here."


# --- approvals ----------------------------------------------------------------------------------


def no(request: ApprovalRequested) -> Approval:
    return Approval("no", f"not {request.tool}")


async def asynchronous_no(request: ApprovalRequested) -> Approval:
    await asyncio.sleep(0)
    return Approval("no", f"not {request.tool}")


@pytest.mark.parametrize("approve", [no, asynchronous_no])
async def test_a_no_and_its_reason_reach_the_model(
    folder: Path, approve: Callable[[ApprovalRequested], Approval | Awaitable[Approval]]
) -> None:
    async with ModelServer(WRITE, says("Then not."), WRITE, says("Then not.")) as server:
        async with AsyncLaguna(folder, **options(server, approve=approve)) as laguna:
            await laguna.run("Write it")

        def work() -> None:
            with Laguna(folder, **options(server, approve=approve)) as laguna:
                laguna.run("Write it")

        await use(server, work)
        told = [request["messages"][-1]["content"] for request in server.requests[1::2]]
    assert ["not write" in text for text in told] == [True, True]
    assert not (folder / "hello.txt").exists()


@pytest.mark.parametrize("approve", [None, lambda request: Approval("once")])
async def test_a_plan_is_carried_out_only_once_it_is_accepted(folder: Path, approve: Any) -> None:
    plan = says("1. Write hello.txt\n2. Say so")
    async with ModelServer(plan, WRITE, says("Done.")) as server:

        def work() -> None:
            with Laguna(folder, **options(server, plan=True, approve=approve)) as laguna:
                with pytest.raises(UsageError, match="no plan to accept"):
                    laguna.run(AcceptPlan())
                laguna.run("Greet")
                assert laguna.proposed_plan == "1. Write hello.txt\n2. Say so"
                assert not (folder / "hello.txt").exists()
                with laguna.stream(AcceptPlan(mode="accept-edits")) as events:
                    seen = [event.type for event in events]
                assert "tool_finished" in seen
                assert laguna.proposed_plan == ""

        await use(server, work)
    assert (folder / "hello.txt").read_text() == "hello\n"


async def test_without_anybody_to_ask_it_is_denied(folder: Path) -> None:
    async with (
        ModelServer(WRITE, says("I may not.")) as server,
        AsyncLaguna(folder, **options(server, mode="ask")) as laguna,
    ):
        result = await laguna.run("Write it")
    assert [denied.tool for denied in result.denied] == ["write"]
    assert not (folder / "hello.txt").exists()


async def test_approvals_are_asked_in_the_thread_that_runs_the_task(folder: Path) -> None:
    threads: list[int] = []

    def approve(request: ApprovalRequested) -> Approval:
        threads.append(threading.get_ident())
        return Approval("once")

    def work() -> int:
        with Laguna(folder, **options(server, approve=approve)) as laguna:
            assert laguna.run("Write it").files_changed == ["hello.txt"]
        return threading.get_ident()

    async with ModelServer(WRITE, says("Done.")) as server:
        caller = await use(server, work)
    assert threads == [caller]


async def test_what_approve_raises_stops_the_task_and_reaches_the_caller(folder: Path) -> None:
    def approve(request: ApprovalRequested) -> Approval:
        raise ZeroDivisionError("in approve")

    def work() -> None:
        with Laguna(folder, **options(server, approve=approve)) as laguna:
            with pytest.raises(ZeroDivisionError):
                laguna.run("Write it")
            assert laguna.run("And now?").status == "done"

    async with ModelServer(WRITE, says("Here I am.")) as server:
        await use(server, work)
    assert not (folder / "hello.txt").exists()


# --- stopping and closing -----------------------------------------------------------------------


async def begun(folder: Path) -> None:
    async with asyncio.timeout(60):
        while not (folder / "begun").exists():
            await asyncio.sleep(0.01)


async def test_cancelling_ends_the_task_as_interrupted(folder: Path) -> None:
    async with (
        ModelServer(SLEEP, says("Yes?")) as server,
        AsyncLaguna(folder, **options(server)) as laguna,
    ):
        running = asyncio.create_task(laguna.run("Wait"))
        await begun(folder)
        laguna.cancel()
        assert (await running).status == "interrupted"
        assert (await laguna.run("Go on")).status == "done"


async def test_a_cancelled_caller_stops_the_task(folder: Path) -> None:
    async with (
        ModelServer(SLEEP, says("Yes?")) as server,
        AsyncLaguna(folder, **options(server)) as laguna,
    ):
        running = asyncio.create_task(laguna.run("Wait"))
        await begun(folder)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await laguna.run("Go on")).status == "done"


async def test_leaving_a_stream_stops_its_task(folder: Path) -> None:
    def work() -> str:
        with Laguna(folder, **options(server)) as laguna:
            with laguna.stream("Wait") as events:
                for event in events:
                    if event.type == "tool_started":
                        break
            return laguna.run("Go on").status

    async with ModelServer(SLEEP, says("Yes?")) as server:
        assert await use(server, work) == "done"


async def test_a_task_that_was_stopped_while_the_model_is_awaited_is_interrupted(
    folder: Path,
) -> None:
    reached = asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        reached.set()
        await exchange.closed()

    async with (
        ModelServer(silent) as server,
        AsyncLaguna(folder, **options(server)) as laguna,
    ):
        running = asyncio.create_task(laguna.run("Wait"))
        await reached.wait()
        laguna.cancel()
        assert (await running).status == "interrupted"


async def test_a_second_task_at_the_same_time_is_refused(folder: Path) -> None:
    def work() -> None:
        with Laguna(folder, **options(server)) as laguna, laguna.stream("First") as events:
            next(events)
            with pytest.raises(UsageError, match="a task is running"):
                laguna.run("Second")
            assert list(events)[-1].type == "turn_finished"

    async with ModelServer(says("Hi.")) as server:
        await use(server, work)
        async with (
            AsyncLaguna(folder, **options(server)) as laguna,
            laguna.stream("First") as events,
        ):
            await anext(events)
            with pytest.raises(UsageError, match="a task is running"):
                await laguna.run("Second")


async def test_a_closed_one_says_so_and_closing_twice_is_nothing(folder: Path) -> None:
    async with ModelServer(says("Hi.")) as server:
        laguna = AsyncLaguna(folder, **options(server))
        await laguna.run("Greet me")
        await laguna.aclose()
        await laguna.aclose()
        with pytest.raises(UsageError, match="closed"):
            await laguna.run("Greet me")

        def work() -> None:
            laguna = Laguna(folder, **options(server))
            laguna.close()
            laguna.close()
            laguna.cancel()
            with pytest.raises(UsageError, match="closed"):
                laguna.run("Greet me")

        await use(server, work)


@pytest.mark.slow
async def test_one_that_nobody_holds_ends_its_thread(folder: Path) -> None:
    async with ModelServer(says("Hi.")) as server:
        laguna = Laguna(folder, **options(server))
        thread = laguna._closer.peek()[2][2]  # type: ignore[index]
        del laguna
        gc.collect()
    assert not thread.is_alive()


# --- several, loops, errors -----------------------------------------------------------------------


async def test_two_work_at_once_in_a_running_loop(tmp_path: Path) -> None:
    folders = [write_files(tmp_path / name, {"a.txt": name}) for name in ("one", "two")]
    both = asyncio.Barrier(2)

    def meets(script: Script) -> Script:
        async def waits(exchange: Exchange) -> None:
            await both.wait()  # neither goes on without the other
            await script(exchange)

        return waits

    async with (
        ModelServer(meets(WRITE), meets(WRITE), meets(says("Done."))) as server,
        AsyncLaguna(folders[0], **options(server)) as first,
    ):

        def work() -> list[str]:
            with Laguna(folders[1], **options(server)) as second:
                return second.run("Write it").files_changed

        result, changed = await asyncio.gather(first.run("Write it"), use(server, work))
    assert result.files_changed == changed == ["hello.txt"]


def test_it_works_inside_of_a_running_loop(folder: Path) -> None:
    async def main() -> None:
        with Laguna(folder, model="none/such") as laguna, pytest.raises(LagunaError):
            laguna.run("Greet me")

    asyncio.run(main())


def test_errors_are_lagunas_own(folder: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory"):
        Laguna(folder / "nowhere")
    with pytest.raises(UsageError, match="unknown key `modle`"):
        Laguna(folder, config={"modle": "x"})
    with Laguna(folder, resume="nothing") as laguna:
        with pytest.raises(UsageError, match="there is no session `nothing`"):
            laguna.open()
        with pytest.raises(UsageError, match="there is no session `nothing`"):
            laguna.run("Greet me")


async def test_a_time_limit_ends_a_task_that_waits(folder: Path) -> None:
    limits = {"limits": {"timeout": 0.3}}
    async with (
        ModelServer(SLEEP, says("Yes?")) as server,
        AsyncLaguna(folder, **options(server, config=limits)) as laguna,
    ):
        assert (await laguna.run("Wait")).status == "limit"


@pytest.fixture
def imported() -> set[str]:
    code = "import sys, laguna_agent; laguna_agent.__all__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_else(imported: set[str]) -> None:
    assert {name for name in imported if name.startswith("laguna_agent")} == {"laguna_agent"}
    assert not {"asyncio", "pydantic", "typing_extensions"} & imported


def test_all_public_names_are_there() -> None:
    import laguna_agent

    for name in laguna_agent.__all__:
        assert getattr(laguna_agent, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        laguna_agent.nothing  # noqa: B018
