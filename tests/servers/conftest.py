"""The chat server, and ``rewardlab annotate`` typed against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from tests.servers.annotating import CENT, KEY, Typed
from tests.servers.chat_server import ChatServer


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as open_server:
        yield open_server


@pytest.fixture
def annotate(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Typed:
    """Runs the command in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text(CENT)

    def run(behaviour: str, *more: str) -> tuple[int, str, str]:
        options = ["--task", "sandbox-sentiment", "--annotator", "openai", "--base-url", server.url(behaviour)]
        quick = ["--set", "annotate.model=m", "--set", "annotate.attempts=2", "--set", "annotate.backoff_s=0.01"]
        code = cli.run(["annotate", *options, *quick, "--limit", "12", "--prices", "prices.toml", *more])
        return code, *capfd.readouterr()

    return run
