"""The hosted annotator under load, and killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewardlab.annotate.base import RationaleRequest
from rewardlab.annotate.hosted import OpenAIAnnotator
from rewardlab.annotate.journal import Journal
from rewardlab.config import AnnotateConfig
from rewardlab.types import Example
from tests.servers.chat_server import HALF, TOGETHER, ChatServer

ROOT = Path(__file__).resolve().parents[2]
CONCURRENCY = TOGETHER
REQUESTS = 20 * CONCURRENCY
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
MEMORY = Path("/proc/self/statm")


@pytest.mark.skipif(not MEMORY.exists(), reason="needs the memory statistics of Linux")
def test_64_are_always_in_flight_each_is_asked_once_and_memory_stays_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers only when 64 requests wait. ``experiments/bench/annotate.py`` has the rates."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    memory_mb: dict[int, float] = {}

    def measure(what: str, done: int, total: int) -> None:
        memory_mb[done] = int(MEMORY.read_text().split()[1]) * PAGE_MB

    with ChatServer() as server:
        config = AnnotateConfig(model="m", base_url=server.url("together"), concurrency=CONCURRENCY, attempts=1)
        rows = [Example("sst2", str(row), {"text": f"film number {row} " + "word " * 60}) for row in range(REQUESTS)]
        annotator = OpenAIAnnotator(config, Journal(tmp_path / "openai.jsonl"))
        answers = annotator.rationales([RationaleRequest(row, "positive") for row in rows], measure)
    assert {answer.outcome for answer in answers} == {"answered"}
    assert (server.requests, server.in_flight_peak) == (REQUESTS, CONCURRENCY)
    start = min(done for done in memory_mb if done >= REQUESTS // 5)
    assert memory_mb[REQUESTS] - memory_mb[start] < 10


def pair_gen(server: ChatServer, runs: Path) -> list[str]:
    """The command that is killed: label pairs with a hosted annotator."""
    options = ["--task", "sandbox-sentiment", "--annotator", "openai", "--runs", str(runs)]
    settings = {
        "annotate.model": "m",
        "annotate.base_url": server.url("half"),
        "annotate.concurrency": CONCURRENCY,
        "pairs.held_out": 50,
    }
    given = [f"--set={key}={value}" for key, value in settings.items()]
    return [sys.executable, "-m", "rewardlab", "pair-gen", *options, "--limit", "250", *given]


def pairs_below(runs: Path) -> list[bytes]:
    """The pairs for training and the held-out ones."""
    (folder,) = (runs / "pairs").iterdir()
    return [(folder / name).read_bytes() for name in ("pairs.jsonl", "held_out.jsonl")]


@pytest.mark.slow
def test_after_kill_9_no_answer_is_asked_for_again(tmp_path: Path) -> None:
    """Killed while the server holds back whatever came after the 300th of 2 x (250 + 50) requests."""
    environment = {**os.environ, "OPENAI_API_KEY": "k", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with ChatServer() as server:
        process = subprocess.Popen(
            pair_gen(server, tmp_path / "killed"), env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL
        )
        while server.requests < HALF + CONCURRENCY and process.poll() is None:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(600) == -signal.SIGKILL
        assert server.requests == HALF + CONCURRENCY
        server.go_on()
        for runs in ("killed", "straight"):
            command = pair_gen(server, tmp_path / runs)
            subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=900)
            if runs == "killed":
                again = server.requests - 600
        assert 0 <= again <= 2 * CONCURRENCY  # those held back, and answers that were not on the disk yet
        assert server.requests == 600 + again + 600
    assert len(Journal(tmp_path / "killed" / "annotations" / "openai.jsonl")) == 600
    killed, straight = pairs_below(tmp_path / "killed"), pairs_below(tmp_path / "straight")
    assert killed == straight
    assert killed[0].count(b"\n") == 250
