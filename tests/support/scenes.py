"""States of the interface for pictures: fixed events, no clock, no model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import Input

from laguna_agent.actions import Decision, Risk, RunCommand, WritePath
from laguna_agent.agent.model_speed import ModelSpeed
from laguna_agent.events import (
    ApprovalRequested,
    Event,
    ModelLoading,
    Notice,
    PlanStep,
    PlanUpdated,
    PrefillProgress,
    Reply,
    StepStarted,
    TextDelta,
    Timings,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    TurnFinished,
    Usage,
    UserMessage,
)
from laguna_agent.interfaces.tui.app import LagunaApp
from laguna_agent.interfaces.tui.messages import ApprovalAsked, SessionEvent, TrustNeeded
from laguna_agent.interfaces.tui.screens import model_picker
from laguna_agent.interfaces.tui.screens.dialogs import Choice, Picker
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from laguna_agent.models.conversation import ModelInfo
from laguna_agent.policy.trust import Content

Scene = Callable[["SceneApp", Pilot[int]], Awaitable[None]]

DIFF = """\
--- a/shop/cart.py
+++ b/shop/cart.py
@@ -12,9 +12,11 @@ class Cart:
     def total(self) -> Decimal:
-        total = 0
-        for item in self.items:
-            total += item.price
-        return total
+        \"\"\"The price of everything, discounts taken off.\"\"\"
+        total = sum((item.price * item.count for item in self.items), Decimal())
+        if self.voucher is not None:
+            total -= self.voucher.off(total)
+        return max(total, Decimal())
\x20
     def add(self, item: Item) -> None:
         self.items.append(item)
"""
ANSWER = """\
`Cart.total` added up **prices** and forgot counts and vouchers. It now:

1. multiplies each price by its count
2. takes the voucher off
3. never goes below zero

```python
total = sum((item.price * item.count for item in self.items), Decimal())
```

| case | before | now |
|------|-------:|----:|
| two of 3.00 | 3.00 | 6.00 |
| voucher of 10 % | 3.00 | 5.40 |
"""
PLAN = [
    PlanStep(text="read the failing test", status="done"),
    PlanStep(text="fix Cart.total", status="active"),
    PlanStep(text="run the whole suite"),
]


SERVED = [
    model_picker.ServedRow("office/glm-4.7", "office/glm-4.7", "server", "vLLM at 10.0.0.7:8080"),
    model_picker.ServedRow(
        "attic/", "attic/…", "no answer", "nothing listens at http://attic:1234"
    ),
    model_picker.ServedRow("x", "qwen3:30b", "runs here", "Ollama at 127.0.0.1:11434"),
]


class SceneApp(LagunaApp):
    """The app without an agent."""

    def __init__(self, theme: str = "laguna") -> None:
        super().__init__(lambda: None, cwd=Path("/home/ada/shop"))  # type: ignore[arg-type,return-value]
        self.theme = theme
        self.animation_level = "none"
        self.agent.start = lambda: None  # type: ignore[method-assign]
        self._suggest = _nothing  # type: ignore[method-assign]

    def prepare(self) -> None:
        self.activity.still = True
        self.status.root = None
        self.activity.end()
        self.composer.cursor_blink = False
        self.welcome.display = False
        self.status.change(
            mode="ask", model="laguna-xs-2.1", used=9_310, limit=32_768, directory="~/shop",
            branch="vouchers",
        )  # fmt: skip
        self.side_panel.used, self.side_panel.limit = 9_310, 32_768
        self.side_panel.draw()
        self.transcript.add(
            Entry(
                "banner",
                title="laguna 1.0",
                body="laguna-xs-2.1 · 33.4B · Q4_K_M · 32,768 tokens of context\n~/shop",
            )
        )

    def happen(self, *events: Event) -> None:
        for event in events:
            self.post_message(SessionEvent(event))


async def _nothing() -> None:
    pass


def tool(number: int, name: str, title: str, **result: Any) -> list[Event]:
    call = f"c{number}"
    result.setdefault("content", "")
    result.setdefault("ok", True)
    return [
        ToolStarted(call_id=call, name=name, title=title),
        ToolFinished(call_id=call, name=name, title=title, **result),
    ]


FAILURE = "E       assert Decimal('3.00') == Decimal('6.00')\n\ntest_cart.py:14: AssertionError\n"
WORK: list[Event] = [
    UserMessage(text="test_cart.py fails since vouchers came in. Why? Fix it."),
    PlanUpdated(steps=PLAN),
    Reply(
        thinking="The test adds two items of one kind. Cart.total ignores the count, so look there "
        "first, then at the voucher.",
        text="I look at the test and at the cart first.",
        timings=Timings(decode_s=3.2),
    ),
    *tool(1, "read", "read test_cart.py", content="1 ...", summary="41 lines", duration_s=0.0),
    *tool(2, "read", "read shop/cart.py", content="1 ...", summary="88 lines", duration_s=0.0),
    *tool(3, "shell", "pytest -q test_cart.py", content=FAILURE, ok=False, summary="exit 1",
          duration_s=0.8),
    *tool(4, "edit", "edit shop/cart.py", content="ok", summary="+5 -4", diff=DIFF, duration_s=0.1),
    *tool(5, "shell", "pytest -q", content="24 passed\n", summary="24 passed", duration_s=1.9),
]  # fmt: skip
END: list[Event] = [
    Reply(text=ANSWER),
    TurnFinished(
        status="done", summary=ANSWER, steps=6, duration_s=74.2, files_changed=["shop/cart.py"],
        usage=Usage(prompt_tokens=9_310, reused_tokens=8_840, completion_tokens=1_204),
    ),
]  # fmt: skip


async def welcome(app: SceneApp, pilot: Pilot[int]) -> None:
    app.transcript.replace([])
    app.welcome.display = True
    app.welcome.show_model(
        ModelInfo(
            name="laguna-xs-2.1", format="laguna", parameters=33_400_000_000,
            quantization="Q4_K_M", context=32_768,
        )
    )  # fmt: skip
    app.welcome.show_speed(ModelSpeed(reads=33, writes=16))
    app.welcome.suggest(
        [
            "Fix what fails until `make test` passes",
            "Review my changes in 2 files that are not committed",
            "Explain this project to me: read @README.md, then the code",
        ]
    )
    await pilot.pause()


async def loading(app: SceneApp, pilot: Pilot[int]) -> None:
    app.activity.begin("loading the model")
    app.happen(ModelLoading(done=12_400_000_000, total=20_274_300_032))
    app.composer.insert("why does test_cart.py fail")


async def reading(app: SceneApp, pilot: Pilot[int]) -> None:
    app.activity.begin("working")
    app.happen(
        UserMessage(text="test_cart.py fails since vouchers came in. Why? Fix it."),
        StepStarted(step=1),
        PrefillProgress(done=1_536, total=4_210, reused=5_100, rate=33, eta_s=81),
    )


async def streaming(app: SceneApp, pilot: Pilot[int]) -> None:
    app.activity.begin("working")
    app.happen(*WORK, StepStarted(step=2), TextDelta(text=ANSWER[:240]))


async def finished(app: SceneApp, pilot: Pilot[int]) -> None:
    app.happen(*WORK, *END)
    await pilot.pause()
    app.activity.end()


async def running(app: SceneApp, pilot: Pilot[int]) -> None:
    app.activity.begin("working")
    app.happen(
        *WORK[:5],
        ToolStarted(call_id="r", name="shell", title="pytest -x --durations=3"),
        ToolOutput(call_id="r", text="".join(f"test_{n}.py .......\n" for n in range(12))),
    )
    await pilot.pause()
    app.queued_messages.show(
        [("steer", "leave test_cart.py as it is"), ("queue", "then write a changelog entry")]
    )


FILES: dict[Any, str] = {
    "session": "",
    "repository": "/home/ada/.local/state/laguna/shop-1c2d3e4f50/permissions.toml",
    "everywhere": "/home/ada/.config/laguna/config.toml",
}


def _ask(app: SceneApp, action: Any, reason: str, rule: str = "", *risks: Risk) -> None:
    app.activity.begin("working")
    app.happen(*WORK[:7])
    request = ApprovalRequested(
        call_id="a", tool="shell", action=action, rule=rule or None, rule_text=rule,
        files=FILES if rule else {}, risks=list(risks),
        sandboxed=True if action.kind == "execute" else None,
        decision=Decision(verdict="ask", rule="mode ask", reason=reason),
    )  # fmt: skip
    app.post_message(ApprovalAsked(request, Future()))


async def asks_command(app: SceneApp, pilot: Pilot[int]) -> None:
    command = "pip install 'vouchers>=2' \x1b[2K # harmless"
    _ask(
        app, RunCommand(command=command, cwd="/home/ada/shop"),
        "pip may change files (not a known read-only command)",
        "run pip install with any arguments",
    )  # fmt: skip
    await pilot.pause()
    await _select(app, pilot, "repository")


async def _select(app: SceneApp, pilot: Pilot[int], choice: str) -> None:
    row = app.approval.choices
    row.select(next(one for one in row.choices if one.id == choice))
    await pilot.pause()


async def asks_risky_command(app: SceneApp, pilot: Pilot[int]) -> None:
    lost = "it changes .git, which holds the history, and no undo brings that back"
    command = "python3 -m build && rm -rf .git build"
    risk = Risk(text=lost, part="rm -rf .git build", lasting=True)
    _ask(app, RunCommand(command=command, cwd="/home/ada/shop"), lost, "", risk)


async def asks_long_command(app: SceneApp, pilot: Pilot[int]) -> None:
    options = "".join(f"  -DSHOP_OPTION_{n}=value-of-option-{n} \\\n" for n in range(14))
    command = f"cmake -S . -B build \\\n{options}  && cmake --build build && rm -rf /home/ada/old"
    _ask(
        app, RunCommand(command=command, cwd="/home/ada/shop"),
        "cmake may change files (not a known read-only command)", "",
        Risk(text="/home/ada/old is outside the workspace, where laguna can undo nothing",
             part="rm -rf /home/ada/old"),
    )  # fmt: skip


async def asks_edit(app: SceneApp, pilot: Pilot[int]) -> None:
    _ask(
        app, WritePath(path="/home/ada/shop/shop/cart.py", diff=DIFF),
        "it changes a file",
        "change shop/cart.py",
    )  # fmt: skip


async def commands(app: SceneApp, pilot: Pilot[int]) -> None:
    await pilot.press("/")


async def help_page(app: SceneApp, pilot: Pilot[int]) -> None:
    app.slash_commands.run("/help")


async def sessions(app: SceneApp, pilot: Pilot[int]) -> None:
    titles = ["Why do vouchers not apply twice?", "Port the importer to httpx", "初めてのテスト 🎉"]
    choices = [
        Choice(title, Text.assemble(f"{age:>4}  ", (title, "bold"), f"  {turns} turns  main"))
        for title, age, turns in zip(titles, ("12m", "3h", "2d"), (4, 11, 1), strict=True)
    ]
    app.push_screen(
        Picker("Resume a conversation", choices, preview=lambda name: Text(f"❯ {name}"))
    )


async def first_run(app: SceneApp, pilot: Pilot[int]) -> None:
    screen, advice = model_picker.first_run_picker(31 << 30)
    app.transcript_model.add_notice(f"no model yet; {advice}")
    app.push_screen(screen)


async def models(app: SceneApp, pilot: Pilot[int]) -> None:
    rows = [
        ("laguna-xs-2.1", True, True, 22_104_000_000, 262_144),
        ("qwen2.5-coder-1.5b-instruct", True, True, 2_374_000_000, 32_768),
        ("laguna-xs-2.1:q3_k_m", False, True, 17_405_000_000, 262_144),
        ("laguna-xs-2.1:bf16", False, False, 68_760_000_000, None),
    ]
    models = [model_picker.ModelRow(*row) for row in rows]
    choices = model_picker.model_choices(models, SERVED, "laguna-xs-2.1")
    app.push_screen(model_picker.picker_of(choices, in_use="laguna-xs-2.1"))


async def trust(app: SceneApp, pilot: Pilot[int]) -> None:
    files = (".laguna/config.toml", ".laguna/tools/deploy.md", "AGENTS.md", "docs/AGENTS.md")
    app.post_message(TrustNeeded(Content(app.root, files, "0" * 64, {}), changed=False))


async def problems(app: SceneApp, pilot: Pilot[int]) -> None:
    app.happen(
        UserMessage(text="delete everything\n[red]not markup[/red] \x1b[31m and no escape"),
        Notice(level="warning", text="no sandbox: bwrap is not installed"),
        *tool(9, "shell", "rm -rf /", ok=False, content="Denied: it reaches outside the workspace.",
              summary="refused"),
        Notice(level="error", text="the engine exited and was restarted"),
        TurnFinished(status="failed", error="the model stopped without finishing the task"),
    )  # fmt: skip
    await pilot.pause()
    app.activity.end()
    app.composer.insert("first line\n次の行 👩‍💻 é\nthird [pasted #1: 120 lines]")


async def opened(app: SceneApp, pilot: Pilot[int]) -> None:
    app.happen(*WORK[:7])
    await pilot.pause()
    app.activity.end()
    thinking = next(entry for entry in app.transcript.entries if entry.kind == "thinking")
    app.transcript.toggle(thinking)
    app.transcript.focus()


SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        *(welcome, loading, reading, streaming, finished, running, asks_command, asks_edit),
        asks_risky_command,
        asks_long_command,
        *(commands, help_page, sessions, problems, opened, first_run, models, trust),
    )
}


def settled(app: SceneApp, scene: Scene) -> Callable[[Pilot[int]], Awaitable[None]]:
    """Brings a started app into a scene and waits until everything is drawn."""

    async def run(pilot: Pilot[int]) -> None:
        app.prepare()
        await scene(app, pilot)
        for _ in range(3):
            await pilot.pause()
        for line in app.screen.query(Input):
            line.cursor_blink = False
        app.transcript.redraw()
        await pilot.pause()

    return run


__all__ = ["SCENES", "SceneApp", "settled"]
