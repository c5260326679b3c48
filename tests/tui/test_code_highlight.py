"""Code is drawn as Rich draws it, and unchanged lines are not drawn again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laguna_agent.interfaces.tui.themes import PALETTES
from laguna_agent.interfaces.tui.transcript.code_highlight import syntax
from laguna_agent.interfaces.tui.transcript.markdown_blocks import MarkdownBlock
from laguna_agent.interfaces.tui.transcript.rendering import EntryRenderer
from laguna_agent.interfaces.tui.transcript.transcript_model import Entry
from laguna_agent.interfaces.tui.transcript.transcript_view import Transcript
from support.scenes import SceneApp

PYTHON = '''def f(x: int) -> str:
    """Says
    what it is."""
\treturn f"{x!r}" + 'a line that is so long that it has to be broken' * 2  # 日本 🦙


class A: pass
'''


async def drawn(app, pilot):
    """Wait for the next frame."""
    while app.transcript._frame_due:
        await pilot.pause(0.01)
    await pilot.pause()


async def grow(app, pilot, entry, text):
    """Add to an answer and wait for the frame."""
    entry.body += text
    entry.version += 1
    app.transcript.change(entry)
    await drawn(app, pilot)


def watch(monkeypatch, note):
    """Call `note` for each refresh of the transcript."""
    refresh = Transcript.refresh

    def watched(self, *regions, layout=False, **options):
        note(regions, layout=layout)
        return refresh(self, *regions, layout=layout, **options)

    monkeypatch.setattr(Transcript, "refresh", watched)


def cells(lines):
    """Each character with its style."""
    return [
        [(character, segment.style) for segment in line for character in segment.text]
        for line in lines
    ]


@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
@given(
    code=st.one_of(
        st.sampled_from([PYTHON, PYTHON + "\n", "", "\n", "x", "\n\nx\n\n"]),
        st.text(alphabet="ab (\"'#\\\n\t日{}", max_size=120),
    ),
    language=st.sampled_from(["python", "rust", "html", "", "no-such-language", "diff"]),
    width=st.integers(8, 90),
)
@settings(max_examples=60, deadline=None)
def test_code_looks_as_rich_draws_it(palette, code, language, width):
    renderer = EntryRenderer(palette)
    expected = renderer.lines(syntax(language, code, palette), width)
    for _ in range(2):  # the second time from the cache
        drawn = renderer.block(MarkdownBlock(code, language, starts=False), width)
        assert cells(drawn) == cells(expected)


def test_lines_that_did_not_change_are_the_same_objects():
    renderer = EntryRenderer(next(iter(PALETTES.values())))
    first = renderer.block(MarkdownBlock("a = 1\nb = 2\nc", "python", starts=False), 40)
    second = renderer.block(MarkdownBlock("a = 1\nb = 2\nc = 3", "python", starts=False), 40)
    assert [now is was for was, now in zip(first, second, strict=True)] == [True, True, False]


async def test_only_lines_that_changed_are_painted_while_nothing_scrolls(monkeypatch):
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        entry = Entry("answer", body="One paragraph.\n\n```python\na = 1\nb", state="running")
        app.transcript.add(entry)
        await drawn(app, pilot)
        painted: list[list[int]] = []

        def note(regions, *, layout):
            painted.append([y for region in regions for y in range(region.y, region.bottom)])

        watch(monkeypatch, note)
        await grow(app, pilot, entry, " = 2")
        row = next(y for y in range(20) if "b = 2" in app.transcript.render_line(y).text)
        assert painted == [[row]]
        await grow(app, pilot, entry, "")
        assert len(painted) == 1, "what did not change is not painted"


@pytest.mark.slow
async def test_a_streaming_answer_is_laid_out_again_only_when_the_scroll_bar_appears(monkeypatch):
    app = SceneApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.prepare()
        entry = Entry("answer", body="", state="running")
        app.transcript.add(entry)
        await drawn(app, pilot)
        layouts: list[int] = []

        def note(regions, *, layout):
            if layout:
                layouts.append(app.transcript.virtual_size.height)

        watch(monkeypatch, note)
        for number in range(40):
            await grow(app, pilot, entry, f"paragraph {number}\n\n")
        height = app.transcript.size.height
        assert len(set(layouts)) == 1, "never again while it grows"
        assert layouts[0] > height
        assert app.transcript.show_vertical_scrollbar
        assert app.transcript.scroll_offset.y == app.transcript.virtual_size.height - height
        assert "paragraph 39" in "".join(app.transcript.render_line(y).text for y in range(height))
