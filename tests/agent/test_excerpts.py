"""Parts of files that are too long to be shown whole."""

from __future__ import annotations

import pytest

from laguna_agent.agent.context.excerpts import Excerpt, excerpts, mentions

RULES = '"""All rules."""\n\n' + "".join(f"RULE_{n:04} = {n}\n" for n in range(1, 1_500))
SHOP = (
    "import os\n\n\n"
    + "".join(f"def helper_{n}(x):\n    return x + {n}\n\n\n" for n in range(60))
    + "class Cart:\n    def total(self):\n        return sum(self.items)\n\n"
    + "    def add(self, item):\n        self.items.append(item)\n"
)


def shown(task: str, output: str = "", **files: str) -> list[Excerpt]:
    texts = {name.replace("_py", ".py"): text for name, text in files.items()}
    named = [path for path in texts if path in task or path in output]
    others = [path for path in texts if path not in named]
    return excerpts(task, output, named=named, others=others, read=texts.get, characters=8_000)


def test_of_a_long_file_the_constant_that_a_task_names_is_shown() -> None:
    [part] = shown("Set the weight of RULE_0842 in rules.py to 5.", rules_py=RULES)
    assert part == Excerpt("rules.py", "RULE_0842 = 842", 844, 844)


def test_of_a_long_file_that_is_named_an_outline_comes_first() -> None:
    outline, part = shown("Change `Cart.total` in shop.py", shop_py=SHOP)
    assert not outline.last
    assert outline.text.startswith("4 def helper_0(x)\n8 def helper_1(x)")
    assert "more" in outline.text
    assert part.text == "    def total(self):\n        return sum(self.items)"


def test_of_a_long_file_of_data_the_first_lines_are_shown() -> None:
    data = "".join(f"2026-01-01 {n:02} INFO request {n}\n" for n in range(500))
    [part] = shown("Count the errors in server.log.", **{"server.log": data})
    assert (part.path, part.first, part.last) == ("server.log", 1, 8)
    assert part.text.endswith("request 7")
    assert shown("Count the errors in one.log.", **{"one.log": "x" * 9_000}) == []


def test_an_article_number_is_a_name() -> None:
    data = "".join(f'{{"sku": "KB-{n}"}}\n' for n in range(2_000))
    parts = shown("The price of KB-1187 in a.json is wrong", **{"a.json": data})
    assert [(part.first, part.last) for part in parts][-1] == (1188, 1188)
    assert shown("See RFC-12, and 2024-01-02.", **{"a.json": data}) == []


def test_files_that_nobody_names_are_searched_for_names() -> None:
    [part] = shown("helper_7 returns too much", shop_py=SHOP, rules_py=RULES)
    assert (part.path, part.text) == ("shop.py", "def helper_7(x):\n    return x + 7")


def test_the_code_around_each_frame_of_a_traceback_is_shown() -> None:
    output = (
        'Traceback (most recent call last):\n  File "/tmp/w/shop.py", line 17, in helper_3\n'
        "    return x + 3\nTypeError: no\nrules.py:900: in <module>\n"
    )
    found = [part for part in shown("Fix it.", output, shop_py=SHOP, rules_py=RULES) if part.last]
    assert found[0].text == "def helper_3(x):\n    return x + 3"
    assert (found[1].path, found[1].first, found[1].last) == ("rules.py", 900, 900)


@pytest.mark.parametrize(
    "task",
    [
        "Add a command that lists all rules.",
        "x",
        "the items",  # a word of prose that the code has too
        "RULE is wrong",
        "(" * 2_000,
        "`" + "a" * 50,
        "\x00 RULE_\u200d0842 \ud800",
    ],
)
def test_prose_shows_nothing(task: str) -> None:
    assert shown(task, rules_py=RULES, shop_py=SHOP) == []


def test_a_word_that_is_everywhere_shows_nothing() -> None:
    assert shown("`return` less", shop_py=SHOP) == []


def test_frames_beyond_the_file_and_other_files_are_ignored() -> None:
    output = 'File "/usr/lib/python3/shop.pyc", line 4\nshop.py:99999999999: x\nshop.py:0: x\n'
    assert [part for part in shown("Fix it.", output, shop_py=SHOP) if part.last] == []


def test_no_more_is_shown_than_there_is_room() -> None:
    found = excerpts(
        "helper_1 helper_2", "", named=[], others=["shop.py"], read=lambda _: SHOP, characters=40
    )
    assert [part.text for part in found] == ["def helper_1(x):\n    return x + 1"]


def test_a_file_without_a_grammar_shows_the_lines_with_a_quoted_word() -> None:
    text = "".join(f"line {n}\n" for n in range(500))
    head, part = excerpts(
        "What is `line 250`?", "", named=["a.txt"], others=[], read=lambda _: text, characters=999
    )
    assert (part.first, part.last) == (247, 255)
    assert (head.first, head.last) == (1, 8)


def test_of_a_task_that_is_a_whole_log_the_first_names_are_looked_for() -> None:
    task = " ".join(f"helper_{n}" for n in range(59, -1, -1))
    text = "\n".join(part.text for part in shown(task, shop_py=SHOP))
    assert "helper_59" in text
    assert "helper_5(" not in text


def test_for_a_question_the_lines_that_have_what_it_names_are_listed() -> None:
    code = (
        "LIMIT = 3\n\n\ndef first():\n    # LIMIT of all\n    return LIMIT\n\n\n"
        "class Box:\n    def size(self):\n        return first() + LIMIT\n"
    )
    texts = {"a.py": code, "b.md": "LIMIT is 3, first() says so.\n", "c.py": "first()\n"}
    found = mentions("Which function uses `LIMIT` and calls `first`?", texts, texts.get)
    assert found == [
        "a.py, line 6, def first(): return LIMIT",
        "a.py, line 11, def size(self): return first() + LIMIT",
        "c.py, line 1: first()",
    ]
    many = {"a.py": "".join(f"x = [LIMIT, {n}]\n" for n in range(9))}
    assert mentions("Where is `LIMIT`?", many, many.get) == []
    texts["a.py"] += "README = API = 1\n"
    assert mentions("What does README.md say about the API?", texts, texts.get) == []
    log = {f"{n}.py": f"def func_{n}():\n    func_{n}()\n" for n in range(60)}
    task = "Explain this: " + " ".join(f"func_{n}" for n in range(60))
    assert mentions(task, log, log.get) == [], "too many to be of use"
    assert mentions("Is this a good design?", texts, texts.get) == []


def test_a_comment_is_no_part_of_a_signature() -> None:
    code = "def first(a,  # the one\n          b):\n    # compares\n    return LIMIT\n"
    [found] = mentions("Where is the variable LIMIT used?", {"a.py": ""}, lambda path: code)
    assert found == "a.py, line 4, def first(a, b): return LIMIT"
