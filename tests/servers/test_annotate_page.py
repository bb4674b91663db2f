"""``docs/annotate.md``: every command in it runs, in the order of the page, and every class has a line."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path

import pytest

from rewardlab.annotate.base import OUTCOMES
from rewardlab.cli import main as cli
from tests.servers.chat_server import ChatServer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "annotate.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line, comments=True)[1:] for line in PAGE.splitlines() if line.startswith("rewardlab ")]
ELSEWHERE = {"key": "k", "annotator": "openai", "model": "m", "text": "Fine.", "finish": "stop"}


def test_every_command_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text(re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0])
    Path("other").mkdir()
    Path("other/openai.jsonl").write_text(json.dumps(ELSEWHERE) + "\n")
    assert len(COMMANDS) == 12
    with ChatServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "any text")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url("ok"))
        for command in COMMANDS:
            typed = [server.url("ok") if word == "http://127.0.0.1:8000/v1" else word for word in command]
            monkeypatch.setattr("sys.stdin", io.StringIO("a\nr\na\na\na\n"))
            if typed[-1] == "status":
                server.batches.finish()
            assert cli.run(typed) == 0, (typed, capfd.readouterr().err)
    out = capfd.readouterr().out
    assert "in all: " in out
    assert "1 answers taken over" in out


def test_every_class_has_a_line() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(OUTCOMES)
