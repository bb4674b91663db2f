"""Fixtures that several files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from tests.support.commands import Command, Outcome


@pytest.fixture
def rewardlab(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Command:
    """Runs one command line in an empty folder, without network, keys or data."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("REWARDLAB_DATA", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for module in ("rewardlab.tasks.hub", "rewardlab.models.names"):
        monkeypatch.setattr(f"{module}.offline_reason", lambda: "no route to the hub")

    def run(*arguments: str) -> Outcome:
        code = cli.run(list(arguments))
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def film_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random model that knows the words of ``tests/support/reward_models.py``; to be read only."""
    from tests.support.models import tiny_llama, tiny_tokenizer
    from tests.support.reward_models import TEXTS

    return tiny_llama(tmp_path_factory.mktemp("models") / "llama", tiny_tokenizer(TEXTS))
