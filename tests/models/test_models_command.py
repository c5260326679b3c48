from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest

from laguna_agent import cli
from laguna_agent.interfaces.transfer_progress import TransferLine, describe, duration
from laguna_agent.models.catalogue import load_catalogue
from laguna_agent.models.fetch.partial_download import DownloadProgress
from laguna_agent.models.store import Store
from support.file_server import serving
from support.gguf_files import QWEN, gguf_bytes, write_gguf

DATA = gguf_bytes(QWEN | {"general.name": "Served"})


def main(arguments: list[str]) -> int:
    return cli.main(["models", *arguments])


@pytest.fixture
def model(tmp_path) -> Path:
    return write_gguf(tmp_path / "mine.gguf")


@pytest.fixture
def server():
    with serving(DATA) as running:
        yield running


def test_list_before_anything_is_there(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "laguna-xs-2.1 " in shown
    assert "20.3 GB" in shown
    assert "starter" in shown
    assert main(["list", "--installed"]) == 0
    assert "No model is installed" in capsys.readouterr().out


def test_list_marks_the_default_and_writes_json(model, capsys):
    main(["import", str(model)])
    capsys.readouterr()
    main(["list", "--installed"])
    lines = capsys.readouterr().out.split("\n")
    assert lines[1].split()[:2] == ["*", "mine"]
    main(["list", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["default"] == "mine"
    by_name = {row["name"]: row for row in data["models"]}
    assert by_name["mine"]["state"] == "imported"
    assert by_name["mine"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert by_name["laguna-xs-2.1"]["state"] == "not installed"


def test_show_tells_what_catalogue_and_file_say(model, capsys):
    main(["import", str(model)])
    capsys.readouterr()
    assert main(["show", "mine", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["architecture"], facts["context"], facts["installed"]) == ("qwen2", 32768, True)
    assert main(["show", "starter"]) == 0
    shown = capsys.readouterr().out
    assert "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046" in shown
    assert "Apache-2.0" in shown
    assert main(["show", str(model)]) == 0
    assert main(["show", "nothing"]) == 3


def test_the_default_is_chosen_by_name_and_reset(model, capsys):
    main(["import", str(model), "--name", "one"])
    main(["import", str(model), "--name", "two"])
    assert main(["default", "two"]) == 0
    assert Store().default == "two"
    assert main(["default", "--reset"]) == 0
    assert Store().default is None
    capsys.readouterr()
    main(["default"])
    assert capsys.readouterr().out == "one\n"
    assert main(["default", str(model)]) == 2
    assert main(["default", "starter"]) == 3


def test_a_default_that_the_configuration_overrides_says_so(model, capsys, monkeypatch):
    main(["import", str(model)])
    monkeypatch.setenv("LAGUNA_MODEL", "other")
    assert main(["default", "mine"]) == 0
    assert "other, set in the configuration or LAGUNA_MODEL" in capsys.readouterr().err


def test_removing_names_what_stays(model, capsys):
    main(["import", str(model)])
    capsys.readouterr()
    assert main(["remove", "mine"]) == 0
    assert capsys.readouterr().out == f"removed mine; {model} stays\n"
    assert main(["remove", "mine"]) == 3


def test_pulling_an_address_records_its_digest_and_holds_to_it(server, capsys):
    assert main(["pull", server.url]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("model  ")
    digest = hashlib.sha256(DATA).hexdigest()
    assert f"recorded sha256 {digest}" in err
    assert main(["pull", server.url]) == 0
    assert "is already installed" in capsys.readouterr().err
    main(["remove", "model"])
    server.data = gguf_bytes(QWEN | {"general.name": "Changed"})
    assert main(["pull", server.url]) == 3
    err = capsys.readouterr().err
    assert "other bytes than expected" in err
    assert "--trust-new" in err
    assert Store().find("model") is None
    assert main(["pull", server.url, "--trust-new"]) == 0
    assert Store().recorded("model") == hashlib.sha256(server.data).hexdigest()


def test_pulling_a_file_that_is_not_a_model_leaves_nothing(server, capsys):
    server.data = gguf_bytes(QWEN | {"general.architecture": "mystery"})
    assert main(["pull", server.url]) == 3
    assert "'mystery'" in capsys.readouterr().err
    assert list(Store().directory.glob("model*")) == []


def test_pulling_from_a_mirror_asks_for_the_files_name(server, capsys):
    """The mirror has another file; the request for it is what counts."""
    assert main(["pull", "starter", "--from", server.url.replace("model.gguf", "dir/")]) == 3
    assert server.asked[0]["path"] == "/dir/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
    assert "another file" in capsys.readouterr().err


@pytest.mark.slow
def test_pulling_from_a_disk(starter_model, tmp_path, capsys):
    assert main(["pull", "starter", "--offline", "--from", str(starter_model)]) == 0
    done = Store().find("starter")
    assert done.sha256 == load_catalogue().get("starter").file.sha256
    assert "100%" in capsys.readouterr().err
    done.path.unlink()  # pytest would keep a gigabyte


def test_a_hub_that_is_a_mirror_is_asked_first(server, capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/model.gguf"))
    assert main(["pull", "laguna:q4_k_m"]) == 3
    assert server.asked[0]["path"] == (
        "/poolside/Laguna-XS-2.1-GGUF/resolve/main/Laguna-XS-2.1-Q4_K_M.gguf"
    )
    assert f"{len(DATA)} bytes instead of 20274300032" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["flag", "environment", "configuration"])
def test_offline_nothing_is_reached_for(how, server, capsys, monkeypatch, laguna_home):
    if how == "environment":
        monkeypatch.setenv("LAGUNA_OFFLINE", "1")
    if how == "configuration":
        (laguna_home / "config").mkdir()
        (laguna_home / "config/config.toml").write_text("offline = true\n")
    flags = ["--offline"] if how == "flag" else []
    assert main(["pull", server.url, *flags]) == 3
    assert "laguna is offline" in capsys.readouterr().err
    assert server.asked == []


def test_an_interrupted_pull_ends_as_interrupted(server, capsys, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TransferLine, "progress", interrupt)
    assert main(["pull", server.url]) == 130
    assert "the part fetched so far is kept" in capsys.readouterr().err


def test_fit_covers_installed_models_and_the_catalogue(model, capsys):
    main(["import", str(model)])
    capsys.readouterr()
    assert main(["fit"]) == 0
    shown = capsys.readouterr().out
    assert "MOST" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert main(["fit", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert rows["mine"]["fits"] is True
    assert rows["mine"]["estimated"] is False
    assert len({name.partition(":")[0] for name in rows}) == len(rows)
    assert main(["fit", "laguna", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert rows["laguna-xs-2.1"]["weights"] == 20_274_300_032
    assert rows["laguna-xs-2.1"]["estimated"] is True
    assert main(["fit", "mine", "--context", "1024", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert row["context"] == 1024
    assert main(["fit", "mine", "--context", "1"]) == 2
    assert main(["fit", "nothing"]) == 3
    assert main(["fit", str(model)]) == 0


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["show"], ["list", "--what"]])
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("laguna: ")
    assert "`laguna models" in err
    assert err.count("\n") == 2


# --- the transfer line ------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at(done: int, total: int | None = 1000, rate: float = 100.0) -> DownloadProgress:
    return DownloadProgress("m", "downloading", done, total, rate)


def test_a_terminal_has_one_live_line():
    stream = Terminal()
    with TransferLine(stream) as line:
        for done in (1, 500, 1000):
            line.progress(at(done))
        line.notice("something happened")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("laguna: something happened\n")
    assert "\rm  50%" in text


def test_elsewhere_lines_are_plain_and_few():
    stream, now = io.StringIO(), [0.0]
    with TransferLine(stream, clock=lambda: now[0]) as line:
        for second in range(101):
            now[0] = float(second)
            line.progress(at(second * 10))
        line.progress(at(1000))
    lines = stream.getvalue().split("\n")[:-1]
    assert len(lines) == 11
    assert "\r" not in stream.getvalue()
    assert lines[-1].startswith("m  100%")


def test_quiet_shows_notices_only():
    stream = io.StringIO()
    with TransferLine(stream, quiet=True) as line:
        line.progress(at(1))
        line.notice("n")
    assert stream.getvalue() == "laguna: n\n"


def test_words_for_progress():
    progress = DownloadProgress("laguna-xs-2.1", "downloading", 8_700_000_000, 20_274_300_032, 24e6)
    assert describe(progress) == "laguna-xs-2.1  42%  8.7 GB of 20.3 GB  24 MB/s  8 min left"
    assert describe(at(500, None)) == "m  500 bytes  100 bytes/s"
    assert "  checking  " in describe(DownloadProgress("m", "checking", 1, 2, 0))
    assert [duration(s) for s in (45, 480, 7500)] == ["45 s", "8 min", "2 h 05 min"]
