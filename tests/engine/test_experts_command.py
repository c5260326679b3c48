"""`laguna models experts`: what the routers of a model choose for texts."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from laguna_agent import cli
from laguna_agent.interfaces.heat_map import heat_map
from support.synthetic import dense_laguna, tiny_laguna

Captured = pytest.CaptureFixture[str]
PYTHON = "def area(width, height):\n    return width * height\n" * 6
RUST = "fn area(width: u32, height: u32) -> u32 { width * height }\n" * 6


def main(*arguments: str) -> int:
    return cli.main(["models", "experts", *arguments])


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("LAGUNA_ENGINE__KEEP_ALIVE", "0")
    (tmp_path / "a <b>.py").write_text(PYTHON)
    (tmp_path / "b.rs").write_text(RUST)
    return [str(tmp_path / "a <b>.py"), str(tmp_path / "b.rs"), "the area of a field, in words"]


def test_two_files_and_a_text_in_every_form(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    html = tmp_path / "page.html"
    assert main(str(tiny_laguna()), *texts, "--json", "--html", str(html)) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["experts"], report["experts_used"], report["layers"]) == (16, 4, [1, 2, 3])
    assert [text["name"] for text in report["texts"]] == [*texts[:2], "text 3"]
    for text in report["texts"]:
        assert all(sum(shares) == pytest.approx(1, abs=1e-4) for shares in text["load"])
        assert all(sum(shares) == pytest.approx(1, abs=1e-2) for shares in text["weight"])
    assert [pair["texts"] for pair in report["agreement"]] == [texts[:2], [texts[0], "text 3"],
                                                               [texts[1], "text 3"]]  # fmt: skip
    assert all(0 < pair["mean"] < 1 for pair in report["agreement"])
    page = html.read_text()
    assert "a &lt;b&gt;.py" in page
    assert not re.search(r"https?:|src=|href=|<script|<link", page), "needs nothing else"
    drawn = re.findall(r"<svg viewBox=\"0 0 1024.*?</svg>", page, re.DOTALL)
    assert len(drawn) == 3
    assert all(len(list(ElementTree.fromstring(picture))) > 3 for picture in drawn)


def test_a_narrow_terminal_without_colour_shows_the_map(
    texts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(str(tiny_laguna()), texts[0], texts[1], "--tokens", "40") == 0
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) <= 40
    assert "\x1b" not in shown.out
    assert (
        len(re.findall(r"^ [123] [ ·░▒▓█]{16} +\d+% +\d+ +[\d.]+$", shown.out, re.MULTILINE)) == 6
    )
    assert "40 of" in shown.err


def test_a_model_without_experts_gets_one_line(capsys: Captured) -> None:
    assert main(str(dense_laguna()), "some text") == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.count("\n") == 1
    assert "has no experts" in shown.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no/such.py", "cannot be read: No such file"),
        ("typo.py", "cannot be read: No such file"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("-", "standard input is empty"),
        ("/", "cannot be read: Is a directory"),
        ("/bin/true", "is not text"),
    ],
)
def test_what_is_no_text_is_named(
    given: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO()))
    assert main(str(tiny_laguna()), given) == 2
    assert message in capsys.readouterr().err


def test_a_map_of_many_experts_fits_and_keeps_the_busiest() -> None:
    load = [[1 / 256] * 256 for _ in range(3)]
    load[1][100] = 0.2
    drawn = heat_map([1, 20, 300], load, [("9%", "0")] * 3, ("tenth", "unused"), 40)
    assert all(len(f"{row.layer:>3} {row.cells}{row.figures}") <= 40 for row in drawn.rows)
    assert [max(row.shades) for row in drawn.rows] == [2, 5, 2]
    assert drawn.rows[1].shades.index(5) == 100 * len(drawn.rows[1].shades) // 256
    assert "░ 1" in drawn.legend()


@pytest.mark.parametrize("width", [30, 40, 80, 160, 300])
def test_columns_of_many_experts_still_differ(width: int) -> None:
    """As in a real model: a few of 256 experts get many times the even share, many get little."""
    load = np.random.default_rng(1).dirichlet(np.full(256, 0.6), 39).tolist()
    figures = [("40%", "50", "7.00")] * 39
    drawn = heat_map(range(1, 40), load, figures, ("tenth", "unused", "bits"), width)
    assert all(len(f"{row.layer:>2} {row.cells}{row.figures}") <= width for row in drawn.rows)
    assert len(drawn.legend()) <= 40
    cells = "".join(row.cells for row in drawn.rows)
    assert len(drawn.rows[0].cells) >= min(256, 2 * width // 3)
    assert cells.count("█") <= len(cells) / 10
    assert max(Counter(cells).values()) <= 0.6 * len(cells)
    # No column holds so few experts that it is always lighter than the others.
    last = [row.shades[-1] for row in drawn.rows]
    assert sum(last) / 39 > 0.8 * sum(sum(row.shades) for row in drawn.rows) / len(cells)
    assert ("up to" in drawn.note()) == (width < 256)
