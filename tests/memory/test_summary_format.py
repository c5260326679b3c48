"""The fixed structure of summaries: written, read, edited, and held by a grammar."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from laguna_agent.memory.summary_format import (
    SECTIONS,
    Claim,
    parse_claim,
    parse_summary,
    ranges_of,
    summary_grammar,
)

TEXT = (
    "Goal:\n- fix add [e4]\nConstraints:\n- never touch tests [e4]\nFailed:\n"
    "- `pytest` (exit 1) [e11, e14-e16]\nOpen:\n- release"
)


def test_a_summary_is_read_as_it_is_written() -> None:
    summary = parse_summary(TEXT)
    assert summary.render() == TEXT
    assert summary.claims("Failed") == [Claim("`pytest` (exit 1)", ((11, 11), (14, 16)))]
    assert summary.claims("Decisions") == []


def test_markdown_headings_and_loose_lines_are_understood() -> None:
    summary = parse_summary(
        "the goal\n\n## Decisions\n1. keep it\n* use b\n\n**Files:** a.py\n### Open\n- none\n"
    )
    assert [claim.text for claim in summary.claims("Goal")] == ["the goal"]
    assert [claim.text for claim in summary.claims("Decisions")] == ["keep it", "use b"]
    assert [claim.text for claim in summary.claims("Files")] == ["a.py"]
    assert summary.claims("Open") == []


def test_a_word_that_begins_like_a_heading_is_not_one_in_a_claim() -> None:
    summary = parse_summary("Goal:\n- Files are read first\n- Open the door")
    assert len(summary.claims("Goal")) == 2


WORDS = st.text("abc XYZ.,()`'/_=", min_size=1, max_size=40).map(str.strip)
CLAIMS = st.builds(
    Claim,
    WORDS.filter(lambda text: text.strip("-*•. ") == text and text and not text[0].isdigit()),
    st.lists(st.integers(1, 10_000), max_size=4).map(ranges_of),
    st.sampled_from(["", "261124-173708-x7qd"]),
)


@given(CLAIMS)
def test_any_claim_is_read_as_it_is_written(claim: Claim) -> None:
    back = parse_claim("- " + claim.render())
    assert back.text == claim.text
    assert back.events == claim.events
    assert back.session == (claim.session if claim.events else "")


def test_the_grammar_names_every_section_in_order() -> None:
    grammar = summary_grammar()
    places = [grammar.index(f'"{name}:"') for name in SECTIONS]
    assert places == sorted(places)
