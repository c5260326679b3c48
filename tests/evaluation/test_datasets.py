"""Public task sets become suites whose tasks fail at the start and pass when solved."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from laguna_agent.cli import main
from laguna_agent.errors import LagunaError, UsageError
from laguna_agent.evaluation.datasets import humaneval
from laguna_agent.evaluation.datasets.package_data import PackageData
from laguna_agent.evaluation.datasets.task_writer import write_task
from laguna_agent.evaluation.runner import check_suite
from laguna_agent.evaluation.suite import read_suite
from laguna_agent.evaluation.suite_source import open_suite
from support.packs import write_files

TEN = {
    "task_id": "HumanEval/0",
    "prompt": '\n\ndef times_ten(n: int) -> int:\n    """Ten times n.\n    """\n',
    "entry_point": "times_ten",
    "canonical_solution": "    return 10 * n\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(-1) == -10\n\n",
}
RUST_TEN = {
    "task_id": "CodeGen/0",
    "category": "codegen",
    "prompt": "// Ten times n.\nfn times_ten(n: i32) -> i32 {",
    "canonical_solution": "n * 10\n}",
    "test": "#[cfg(test)]\nmod tests { use super::*;\n"
    "#[test] fn t() { assert_eq!(times_ten(-1), -10); } }",
    "entry_point": "times_ten",
    "edition": "2021",
}


async def problems(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    await check_suite(read_suite(folder), found.__setitem__)
    return found


async def test_a_problem_of_humaneval_is_a_file_with_hidden_tests(tmp_path: Path) -> None:
    humaneval.write_python(gzip.compress(json.dumps(TEN).encode()), tmp_path / "humaneval")
    task = tmp_path / "humaneval" / "000-times-ten"
    assert (task / "files/solution.py").read_text().startswith("def times_ten(n: int) -> int:")
    assert "-10" not in "".join(p.read_text() for p in (task / "files").iterdir())
    assert await problems(tmp_path / "humaneval") == {"000-times-ten": ""}


async def test_a_problem_of_humaneval_rust_is_compiled_with_its_hidden_tests(
    tmp_path: Path,
) -> None:
    humaneval.write_rust(json.dumps(RUST_TEN).encode() + b"\n", tmp_path / "rust")
    found = await problems(tmp_path / "rust")
    assert found in ({"000-times-ten": ""}, {"000-times-ten": "left out: rustc is missing"})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageData:
    """A package of an index on this machine."""
    data = json.dumps(TEN).encode()
    info = "ten_set-1.0.dist-info"
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "ten_set-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("ten_set/ten.jsonl", data)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ten-set\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        wheel.writestr(f"{info}/RECORD", "")
    pip_conf = tmp_path / "pip.conf"
    pip_conf.write_text(f"[global]\nno-index = true\nfind-links = {index}\n")
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(pip_conf))
    return PackageData("ten-set", "1.0", "ten_set/ten.jsonl", hashlib.sha256(data).hexdigest())


@pytest.mark.slow
def test_a_data_set_is_downloaded_once_and_checked(package: PackageData, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--offline forbids"):
        package.read(offline=True)
    assert json.loads(package.read(offline=False)) == TEN
    next((tmp_path / "index").iterdir()).unlink()
    assert json.loads(package.read(offline=True)) == TEN
    changed = PackageData(package.package, package.version, package.member, "0" * 64)
    with pytest.raises(LagunaError, match="does not provide ten-set"):
        changed.read(offline=False)


EXERCISE = {
    "files": {"solution": ["ten.py"], "test": ["ten_test.py"], "example": [".meta/example.py"]}
}
TEST = """\
import unittest
from ten import ten

class Tests(unittest.TestCase):
    def test_ten(self):
        self.assertEqual(ten(7), 70)
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    python = "python/exercises/practice/ten"
    cpp = "cpp/exercises/practice/ten"
    cpp_files = {"solution": ["ten.cpp", "ten.h"], "test": ["ten_test.cpp"],
                 "example": [".meta/example.cpp", ".meta/example.h"]}  # fmt: skip
    return write_files(
        tmp_path / "clone",
        {
            f"{python}/.meta/config.json": json.dumps(EXERCISE),
            f"{python}/.meta/example.py": "def ten(n):\n    return 10 * n\n",
            f"{python}/.docs/instructions.md": "# Instructions\n\nTimes ten.",
            f"{python}/ten.py": "def ten(n):\n    pass\n",
            f"{python}/ten_test.py": TEST,
            f"{cpp}/.meta/config.json": json.dumps({"files": cpp_files}),
            f"{cpp}/.meta/example.cpp": '#include "ten.h"\nint ten(int n) { return 10 * n; }\n',
            f"{cpp}/.meta/example.h": "int ten(int n);\n",
            f"{cpp}/.docs/instructions.md": "Times ten.",
            f"{cpp}/ten.cpp": "",
            f"{cpp}/ten.h": "",
            f"{cpp}/ten_test.cpp": '#include "ten.h"\nint run() { return ten(7) == 70; }\n',
            f"{cpp}/test/tests-main.cpp": "#include <cstdio>\nint run();\nint main() "
            '{ puts(run() ? "All tests passed" : "failed"); return !run(); }\n',
        },
    )


async def test_an_exercise_is_a_task_with_two_tries_and_hidden_tests(
    clone: Path, tmp_path: Path
) -> None:
    with open_suite("polyglot", data=clone) as suite:
        task = next(task for task in suite.tasks if task.name == "python-ten")
        assert (task.file.tries, task.file.tags) == (2, ("python",))
        assert "Times ten." in task.file.prompt
        assert "ten.py" in task.file.prompt
        assert [path.name for path in (task.folder / "files").iterdir()] == ["ten.py"]
        found: dict[str, str] = {}
        await check_suite(suite, found.__setitem__)
    assert found["python-ten"] == ""
    assert found["cpp-ten"] in ("", "left out: g++ is missing")
    assert not task.folder.exists()


@pytest.mark.parametrize(
    "name",
    [
        "facts-50",
        pytest.param("orders-50", marks=pytest.mark.slow),
        pytest.param("settings-50", marks=pytest.mark.slow),
    ],
)
async def test_a_long_task_needs_every_answer_in_order(name: str) -> None:
    with open_suite("long") as suite:
        steps = {f"steps-{n}" for n in (50, 120, 300)}
        assert {tag for task in suite.tasks for tag in task.file.tags} >= steps
        assert [task.name for task in suite.chosen([], ["steps-50"]).tasks] == [
            "facts-50",
            "orders-50",
            "settings-50",
        ]
        short = suite.chosen([name], [])
        found: dict[str, str] = {}
        await check_suite(short, found.__setitem__)
        assert found == dict.fromkeys(found, "")
        files = short.tasks[0].folder / "files"
        run = [sys.executable, "desk.py"]
        first = subprocess.run(run, cwd=files, capture_output=True, text=True, check=True)
        beginning = {
            "facts": "The code of the",
            "orders": "An order from",
            "settings": "From now on",
        }
        assert beginning[name.partition("-")[0]] in first.stdout
        wrong = subprocess.run([*run, "42"], cwd=files, capture_output=True, text=True, check=True)
        assert wrong.stdout.startswith("That is not right.")
        assert beginning[name.partition("-")[0]] not in (files / "desk.json").read_text()


def test_what_is_no_clone_is_named(
    tmp_path: Path, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "polyglot"]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["eval", "polyglot", "--data", str(tmp_path)]) == 2
    assert "holds no exercises" in capsys.readouterr().err
    assert main(["eval", "smoke", "--data", str(tmp_path)]) == 2
    assert "takes no --data" in capsys.readouterr().err
    (clone / "python/exercises/practice/ten/.meta/config.json").write_text('{"files": 1}')
    assert main(["eval", "polyglot", "--data", str(clone)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_files_of_a_task_stay_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not inside the workspace"):
        write_task(tmp_path / "t", {"prompt": "x"}, files={"../../out": "x"})
    assert not (tmp_path.parent / "out").exists()
