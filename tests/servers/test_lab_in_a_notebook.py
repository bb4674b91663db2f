"""``Lab`` asks a hosted annotator from a notebook, where an event loop runs already."""

from __future__ import annotations

import asyncio
from pathlib import Path

import polars
import pytest

import rewardlab as rl
from tests.servers.chat_server import ChatServer
from tests.servers.conftest import KEY


def test_annotate_inside_a_running_loop(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    asked = {"annotate.model": "m", "annotate.base_url": server.url("ok")}
    lab = rl.Lab("runs", task="sandbox-sentiment", annotator="openai", settings=asked, quiet=True)

    async def cell() -> rl.Run:
        return lab.annotate(limit=4)

    run = asyncio.run(cell())
    rows = run.rows("rationales.jsonl")
    assert run.stage == "annotate"
    assert len(rows.filter(polars.col("split") != "validation")) == 8  # for the right label and a wrong one
    assert rows["rationale"].null_count() == 0
    assert lab.annotate(limit=4).folder == run.folder
