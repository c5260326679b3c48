"""Native calls in all the ways in which servers stream them."""

from __future__ import annotations

from typing import Any

import pytest

from laguna_agent.models.servers.native_calls import NativeCalls

A, B = {"path": "a"}, {"path": "b"}


def piece(
    arguments: Any = None, name: str | None = None, call_id: str | None = None, index: Any = 0
) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    made: dict[str, Any] = {"function": {k: v for k, v in function.items() if v is not None}}
    if call_id is not None:
        made["id"] = call_id
    if index != "none":
        made["index"] = index
    return made


def read(*pieces: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    calls = NativeCalls({"read", "ls", "read_all"})
    for one in pieces:
        calls.add(one)
    found, errors = calls.finish(cut=False)
    assert errors == []
    assert len({call.id for call in found}) == len(found)
    return [(call.name, call.arguments) for call in found]


WHOLE_A, WHOLE_B = '{"path": "a"}', '{"path": "b"}'


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [piece(WHOLE_A, "read", "1"), piece(WHOLE_B, "read", "2")], id="new ids, one index"
        ),
        pytest.param(
            [
                piece("", "read", "1"),
                piece('{"path"'),
                piece(': "a"}'),
                piece("", "read", "2"),
                piece('{"path": "b"}'),
            ],
            id="new ids, one index, in pieces",
        ),
        pytest.param(
            [piece(WHOLE_A, "read", "1", "none"), piece(WHOLE_B, "read", "2", "none")],
            id="no index",
        ),
        pytest.param(
            [piece(WHOLE_A, "read", None, "none"), piece(WHOLE_B, "read", None, "none")],
            id="no index, no id",
        ),
        pytest.param(
            [piece(WHOLE_A, "read", "", None), piece(WHOLE_B, "read", "", None)],
            id="empty id, null index",
        ),
        pytest.param(
            [piece(WHOLE_A, "read", "call_0", 0), piece(WHOLE_B, "read", "call_0", 1)],
            id="one id, two indices",
        ),
        pytest.param(
            [piece(WHOLE_A, "read", "call_0"), piece(WHOLE_B, "read", "call_0")],
            id="one id, one index",
        ),
        pytest.param([piece(A, "read", "1"), piece(B, "read", "2")], id="objects"),
        pytest.param(
            [piece('{"path":', None, "1"), piece('"a"}', "read", "1"), piece(WHOLE_B, "read", "2")],
            id="name after the arguments",
        ),
        pytest.param(
            [piece(WHOLE_A, None, "1"), piece("", "read", "1"), piece(WHOLE_B, None, "2"),
             piece("", "read", "2")],
            id="arguments first, names later",
        ),
        pytest.param(
            [
                piece('{"path": ', "read", "1"),
                piece('{"path": ', "read", "2"),
                piece('"a"}', None, "1"),
                piece('"b"}', None, "2"),
            ],
            id="interleaved by id",
        ),
        pytest.param(
            [
                piece("", "read", "x1", 0),
                piece('{"path": ', None, "x2", 0),
                piece('"a"}', None, "x3", 0),
                piece("", "read", "x4", 1),
                piece(WHOLE_B, None, "x5", 1),
            ],
            id="a new id in every piece",
        ),
        pytest.param(
            [
                piece('{"path": ', "read", "1"),
                piece('"a"}', "read", "1"),
                piece('{"path": ', "read", "2"),
                piece('"b"}', "read", "2"),
            ],
            id="id and name in every piece",
        ),
        pytest.param(
            [piece("", "re", "1"), piece("", "ad", "1"), piece(WHOLE_A, None, "1"),
             piece(WHOLE_B, "read", "2", 1)],
            id="name in pieces",
        ),
        pytest.param(
            [
                piece('{"path"', "read", "1"),
                piece('{"path": "', None, "1"),
                piece(WHOLE_A, None, "1"),
                piece(WHOLE_B, "read", "2", 1),
            ],
            id="all so far in every piece",
        ),
        pytest.param([piece(WHOLE_A + WHOLE_B, "read", "1")], id="glued by the server"),
        pytest.param([piece("{}" + WHOLE_A, "read", "1"), piece(WHOLE_B, "read", "2")], id="{}{…}"),
        pytest.param(
            [piece('"{\\"path\\": \\"a\\"}"', "read", "1"), piece(WHOLE_B, "read", "2")],
            id="encoded twice",
        ),
        pytest.param(
            [piece(WHOLE_A, "functions.read", "1"), piece(WHOLE_B, "read<|channel|>json", "2")],
            id="marks around names",
        ),
        pytest.param(
            [piece(WHOLE_A, "read", "1"), piece(WHOLE_B, "read", "2"), piece(WHOLE_B, "read", "2")],
            id="repeated at the end",
        ),
    ],
)  # fmt: skip
def test_two_calls_stay_two(pieces: list[dict[str, Any]]) -> None:
    assert read(*pieces) == [("read", A), ("read", B)]


def test_ten_parallel_calls_with_one_index_are_ten() -> None:
    pieces = [piece(f'{{"path": "{n}"}}', "read", f"call_{n}") for n in range(10)]
    assert [arguments["path"] for _, arguments in read(*pieces)] == [str(n) for n in range(10)]


def test_calls_without_arguments_are_told_apart() -> None:
    assert read(piece("", "ls", "1"), piece("", "ls", "2")) == [("ls", {}), ("ls", {})]
    assert read(piece("", "ls"), piece(WHOLE_A, "read")) == [("ls", {}), ("read", A)]


def test_a_name_that_grows_into_another_tools_is_one_call() -> None:
    assert read(piece("", "read_", "1"), piece(WHOLE_A, "all", "1")) == [("read_all", A)]


def test_a_malformed_call_beside_a_good_one_is_reported() -> None:
    calls = NativeCalls({"read"})
    calls.add(piece("{path: a}", "read", "1"))
    calls.add(piece(WHOLE_B, "read", "2", 1))
    found, errors = calls.finish(cut=False)
    assert [call.arguments for call in found] == [B]
    assert len(errors) == 1
    assert "`read` could not be read" in errors[0]
