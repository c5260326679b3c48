"""symbols: definitions and references in every language with a grammar."""

from __future__ import annotations

from pathlib import Path

import pytest

from laguna_agent.tools.code import index, repository_map
from laguna_agent.tools.code.index import IndexCache, index_source, source_files
from laguna_agent.tools.code.languages import language_of, syntax_problem
from support.toolbox import Toolbox

LANGUAGES = {
    "a.py": (
        "LIMIT = 1\n@deco\nclass A:\n    def go(self):\n        def inner(): ...\ndef f(x): ...\n",
        ["constant LIMIT", "class A", "method A.go", "function A.go.inner", "function f"],
    ),
    "a.js": (
        "export const LIMIT = 1;\nclass A { go() {} }\nfunction f() {}\nconst g = (x) => x;\n",
        ["constant LIMIT", "class A", "method A.go", "function f", "function g"],
    ),
    "a.ts": (
        (
            "interface P { x: number; area(): number }\ntype Q = P | null;\nenum E { A }\n"
            "abstract class B<T> { go(): void {} }\nexport function f(p: P): Q { return p; }\n"
        ),
        [
            "interface P",
            "method P.area",
            "type Q",
            "enum E",
            "class B",
            "method B.go",
            "function f",
        ],
    ),
    "a.tsx": (
        "export const View = (p: Props) => <div>{p.x}</div>;\nfunction App() { return <View/>; }\n",
        ["function View", "function App"],
    ),
    "a.go": (
        "package p\nconst Limit = 1\ntype S struct{ x int }\nfunc (s *S) Go() {}\nfunc F() {}\n",
        ["constant Limit", "type S", "method Go", "function F"],
    ),
    "a.rs": (
        (
            "struct S;\ntrait T { fn t(&self); }\nimpl S { fn go(&self) {} }\nenum E { A }\n"
            "macro_rules! m { () => {} }\nfn f() {}\nmod inner { pub fn g() {} }\n"
        ),
        [
            "struct S",
            "trait T",
            "method T.t",
            "impl S",
            "method S.go",
            "enum E",
            "macro m",
            "function f",
            "module inner",
            "function inner.g",
        ],
    ),
    "a.c": (
        "#define MAX 1\nstruct s { int x; };\ntypedef int num;\nint *f() {}\nint g(void);\n",
        ["macro MAX", "struct s", "type num", "function f", "declaration g"],
    ),
    "a.cpp": (
        "namespace n {\nclass A { public: void go(); };\nvoid A::go() {}\n}\nint main() {}\n",
        ["namespace n", "class n.A", "method n.A.go", "method n.A::go", "function main"],
    ),
    "A.java": (
        "class A { int x; A() {} void go() {} }\ninterface I {}\nenum E {}\nrecord R(int a) {}\n",
        [
            "class A",
            "field A.x",
            "constructor A.A",
            "method A.go",
            "interface I",
            "enum E",
            "record R",
        ],
    ),
    "a.cs": (
        "namespace N {\nclass A { public int X { get; } void Go() {} }\nstruct S {}\n}\n",
        ["namespace N", "class N.A", "property N.A.X", "method N.A.Go", "struct N.S"],
    ),
    "a.rb": (
        "module M\n  LIMIT = 1\n  class A\n    def go; end\n    def self.make; end\n  end\nend\n",
        ["module M", "constant M.LIMIT", "class M.A", "method M.A.go", "method M.A.make"],
    ),
    "a.php": (
        "<?php\nconst LIMIT = 1;\nclass A { function go() {} }\ninterface I {}\nfunction f() {}\n",
        ["constant LIMIT", "class A", "method A.go", "interface I", "function f"],
    ),
    "a.sh": (
        "LIMIT=1\nf() {\n  echo\n}\nfunction g {\n  f\n}\n",
        ["variable LIMIT", "function f", "function g"],
    ),
    "a.json": (
        '{"name": "x", "scripts": {"test": "y"}}\n',
        ["key name", "key scripts", "key test"],
    ),
    "a.toml": (
        "top = 1\n[project]\nname = 'x'\n[[tool.x]]\n",
        ["key top", "table project", "table tool.x"],
    ),
    "a.yaml": ("jobs:\n  build:\n    steps: []\non: push\n", ["key jobs", "key build", "key on"]),
    "a.html": ('<html><body><div id="main"></div></body></html>\n', ["id main"]),
    "a.css": (
        ".a, .b { color: red; }\n@keyframes spin { to { top: 0 } }\n",
        ["rule .a, .b", "keyframes spin"],
    ),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_definitions_are_found_in_every_language(name: str) -> None:
    source, expected = LANGUAGES[name]
    language = language_of(name)
    assert language is not None
    index = index_source(language, source.encode())
    assert [f"{d.kind} {d.qualified}" for d in index.definitions] == expected
    assert syntax_problem(name, source) is None


BROKEN = {
    "a.py": "def f(:\n",
    "a.js": "function f( {\n",
    "a.ts": "let a: = 1;\n",
    "a.tsx": "<div\n",
    "a.go": "package p\nfunc {\n",
    "a.rs": "fn f( {\n",
    "a.c": "int f( {\n",
    "a.cpp": "class A {\n",
    "A.java": "class A { void }\n",
    "a.cs": "class A { void }\n",
    "a.rb": "class A\n",
    "a.php": "<?php function f( {\n",
    "a.sh": "if true; then\n",
    "a.json": '{"a": }\n',
    "a.toml": "a = \n",
    "a.yaml": "a: [1\n",
    "a.html": "<div></span>\n",
    "a.css": ".a { color: \n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_syntax_errors_are_found_in_every_language(name: str) -> None:
    problem = syntax_problem(name, BROKEN[name])
    assert problem is not None
    assert 1 <= problem.line <= 2


def test_language_is_known_by_name_or_first_line() -> None:
    assert language_of("src/x.PY") == "python"
    assert language_of("bin/tool", b"#!/usr/bin/env python3\n") == "python"
    assert language_of("bin/tool", b"#!/bin/sh -e\n") == "bash"
    assert language_of("a.h", b"class A;") == "cpp"
    assert language_of("a.h", b"int f();") == "c"
    assert language_of("README") is None
    assert language_of("a.txt") is None


REPOSITORY = {
    "core/store.py": (
        'class Store:\n    """Keeps things."""\n\n    # how to save\n    @cached\n'
        "    def save_item(self, item):\n        return item\n\n\ndef open_store(path):\n"
        "    return Store()\n"
    ),
    "core/cli.py": (
        "from core.store import Store, open_store\n\n\ndef main():\n    # Store is opened here\n"
        "    store = open_store('Store')\n    store.save_item(f'{Store}')\n"
    ),
    "core/extra.py": "from core.store import open_store\n\n\ndef unused():\n    open_store(1)\n",
    "tests/test_store.py": "from core.store import Store\n\n\ndef test_store():\n    Store()\n",
    "lib/other.rb": "class Store\n  def save_item; end\nend\n",
}


async def test_outline_of_a_file_and_a_folder(box: Toolbox) -> None:
    box.add(REPOSITORY)
    result = await box.call("symbols", action="outline", path="core/store.py")
    assert result.content.split("\n") == [
        "core/store.py (12 lines)",
        "1-7 class Store",
        "6-7   def save_item(self, item)",
        "10-11 def open_store(path)",
    ]
    result = await box.call("symbols", action="outline", path="core")
    assert "core/cli.py (8 lines)\n4-7 def main()" in result.content
    assert "core/extra.py" in result.content


async def test_definition_of_a_name(box: Toolbox) -> None:
    box.add(REPOSITORY)
    result = await box.call("symbols", action="definition", name="open_store")
    assert result.content == "core/store.py:\n10\tdef open_store(path):\n11\t    return Store()"
    result = await box.call("symbols", action="definition", name="save_item")
    assert result.content.split("\n") == [
        "core/store.py:6 method Store.save_item: def save_item(self, item)",
        "lib/other.rb:2 method Store.save_item: def save_item; end",
    ]


async def test_source_comes_with_decorators_and_the_comment_above(box: Toolbox) -> None:
    box.add(REPOSITORY)
    result = await box.call("symbols", action="source", name="Store.save_item", path="core")
    assert result.content == (
        "core/store.py:\n4\t    # how to save\n5\t    @cached\n"
        "6\t    def save_item(self, item):\n7\t        return item"
    )


async def test_source_that_was_shown_counts_as_read(box: Toolbox) -> None:
    box.add(REPOSITORY)
    await box.call("symbols", action="source", name="save_item", path="core")
    result = await box.call(
        "edit",
        path="core/store.py",
        old="def save_item(self, item):\n  return item",
        new="def save_item(self, item):\n  return [item]",
    )
    assert result.ok
    assert "        return [item]\n" in box.text("core/store.py")


async def test_references_are_code_and_not_comments_or_text(box: Toolbox) -> None:
    box.add(REPOSITORY)
    result = await box.call("symbols", action="references", name="Store", path="core")
    assert result.content.split("\n") == [
        "4 references in 2 files",
        "core/store.py:",
        "1: class Store: (definition)",
        "11: return Store()",
        "core/cli.py:",
        "1: from core.store import Store, open_store",
        "7: store.save_item(f'{Store}')",
    ]


async def test_unknown_name_gets_similar_ones(box: Toolbox) -> None:
    box.add(REPOSITORY)
    result = await box.call("symbols", action="definition", name="opn_store")
    assert not result.ok
    assert result.content.startswith("opn_store is not defined. Similar: open_store")
    assert not (await box.call("symbols", action="source")).ok


async def test_map_shows_the_most_referenced_first(box: Toolbox) -> None:
    box.add(REPOSITORY)
    result = await box.call("symbols", action="map")
    lines = result.content.split("\n")
    assert lines[0] == "core/store.py:"
    assert {"1 class Store", "10 def open_store(path)"} <= set(lines)


def test_map_fits_its_budget(tmp_path: Path) -> None:
    box = Toolbox.at(tmp_path)
    box.add(
        {
            f"m{n}.py": "".join(f"def function_{n}_{k}(a, b): ...\n" for k in range(30))
            + f"function_{n - 1}_1(1, 2)\n"
            for n in range(30)
        }
    )
    count = lambda text: len(text.split())  # noqa: E731 - a tokenizer
    ranked = repository_map.ranking(
        IndexCache(tmp_path / "cache"), list(source_files(box.workspace))
    )
    sizes = []
    for budget in (40, 200, 1000):
        text = repository_map.fit(ranked, budget, count)
        assert count(text) <= budget
        sizes.append(count(text))
    assert sizes[0] >= 20
    assert sizes == sorted(sizes)


def test_trees_are_cached_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Toolbox.at(tmp_path)
    box.add(REPOSITORY)
    cache = tmp_path / "cache"

    def indexed() -> list[str]:
        parsed: list[str] = []
        real = index_source

        def noted(language: str, data: bytes) -> index.FileIndex:
            parsed.append(data.decode())
            return real(language, data)

        monkeypatch.setattr(index, "index_source", noted)
        indexes = IndexCache(cache).indexes(source_files(box.workspace))
        monkeypatch.setattr(index, "index_source", real)
        assert set(indexes) == set(REPOSITORY)
        return parsed

    assert len(indexed()) == len(REPOSITORY)
    assert indexed() == []
    box.add({"core/extra.py": "def changed(): ...\n"})
    assert indexed() == ["def changed(): ...\n"]
    path = box.workspace / "core/extra.py"
    path.rename(box.workspace / "core/moved.py")
    (box.workspace / "core/moved.py").rename(path)
    assert indexed() == []


def map_of(box: Toolbox, cache: Path) -> str:
    files = list(source_files(box.workspace))
    return repository_map.fit(repository_map.ranking(IndexCache(cache), files), 200)


def test_broken_cache_costs_time_only(tmp_path: Path) -> None:
    box = Toolbox.at(tmp_path)
    box.add(REPOSITORY)
    cache = tmp_path / "cache"
    cache.mkdir()
    for damage in (b"not a database at all" * 100, b""):
        (cache / "symbols.sqlite").write_bytes(damage)
        assert "class Store" in map_of(box, cache)
    unwritable = tmp_path / "file"
    unwritable.write_text("")
    assert "class Store" in map_of(box, unwritable / "cache")


async def test_ignored_binary_and_huge_files_are_not_indexed(box: Toolbox) -> None:
    box.add(
        {
            ".gitignore": "vendor/\n",
            "vendor/a.py": "def needle(): ...\n",
            "b.py": b"\0def needle(): ...\n",
            "c.py": "x = 1\n" * 300_000 + "def needle(): ...\n",
            "d.js": "var a=1;" * 10_000 + "function needle(){}",
        }
    )
    result = await box.call("symbols", action="definition", name="needle")
    assert "not defined" in result.content


async def test_unreadable_files_are_left_out(box: Toolbox) -> None:
    box.add({"a.py": "def open_thing(): ...\n", "secret/b.py": "def secret_thing(): ...\n"})
    box.context.may_read = lambda path: "/secret/" not in path
    for action in ("outline", "map"):
        result = await box.call("symbols", action=action)
        assert "open_thing" in result.content
        assert "secret_thing" not in result.content
    assert not (await box.call("symbols", action="source", name="secret_thing")).ok
