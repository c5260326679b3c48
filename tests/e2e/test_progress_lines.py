"""Lines of progress: the summary shown after the title of a call."""

from __future__ import annotations

import pytest

from laguna_agent.interfaces.phrases import short_summary


@pytest.mark.parametrize(
    ("title", "summary", "shown"),
    [
        ("Write calc.py", "calc.py +4 -1", "+4 -1"),
        ("Read test_calc.py", "test_calc.py (9 of 9 lines)", "9 of 9 lines"),
        ("Read a", "a", ""),
        ("Read a", "a: no such file", "no such file"),
        ("Read a.py", "a.pyc is binary", "a.pyc is binary"),
        ("Done", "check passed", "check passed"),
        ("$ make", "exit 2", "exit 2"),
        ("Edit calc.py", "other.py +1 -1", "other.py +1 -1"),
    ],
)
def test_a_name_in_the_title_is_not_repeated_in_the_summary(
    title: str, summary: str, shown: str
) -> None:
    assert short_summary(title, summary) == shown
