"""``rewardlab studio``: where it listens, what it refuses, and its export."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from rewardlab.cli.main import run
from tests.support.studio import ledger_row, ppo_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one run; what the command says to the hub's libraries ends with the test."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    ppo_run(tmp_path / "runs", [ledger_row(1, "a", "positive")])
    return tmp_path / "runs"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str]]:
    """(application, address it listens at) of each server that was started; none of them answers."""
    started: list[tuple[Any, str]] = []

    def note(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        started.append((self.config.app, sockets[0].getsockname()[0]))
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", note)
    return started


def status(app: Any, host: str) -> int:
    """What the application answers under a name."""
    return int(TestClient(app, base_url=f"http://{host}").get("/").status_code)


@pytest.mark.parametrize("command", [["studio"], ["studio", "serve"]])
def test_it_listens_on_this_machine_and_answers_to_its_names(
    runs: Path, served: list[tuple[Any, str]], command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, str(runs), "--port", "0"]) == 0
    ((app, address),) = served
    assert address == "127.0.0.1"
    assert [status(app, host) for host in ("127.0.0.1", "localhost", "evil.example")] == [200, 200, 400]
    assert "http://127.0.0.1:" in capsys.readouterr().out


def test_a_host_of_every_address_says_so(
    runs: Path, served: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["studio", str(runs), "--port", "0", "--host", "0.0.0.0"]) == 0
    ((app, address),) = served
    assert address == "0.0.0.0"
    assert status(app, "my.machine") == 200
    assert "every machine" in capsys.readouterr().err


@pytest.mark.usefixtures("served")
def test_a_folder_that_is_not_there(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["studio", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.usefixtures("served")
def test_a_port_that_is_taken(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert run(["studio", str(runs), "--port", str(other.getsockname()[1])]) == 2
    assert "choose another --port" in capsys.readouterr().err


def test_without_the_extra(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["studio", str(runs)]) == 2
    assert "pip install" in capsys.readouterr().err


def test_export(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site"
    assert run(["studio", "export", str(site), "--runs", str(runs)]) == 0
    assert (site / "index.html").is_file()
    assert f"written: 4 pages, {site / 'index.html'}" in capsys.readouterr().out  # runs, the run, its table, its sample
    assert run(["studio", "export", str(site), "--runs", str(runs)]) == 2
    assert "choose a new folder" in capsys.readouterr().err
