"""The studio in Chromium: no error in the console, no request elsewhere, keys, and markup in texts as text."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from rewardlab.annotate.review import every_review
from rewardlab.studio.app import build_app
from tests.support.browser import CHROMIUM, Browser
from tests.support.studio import SCRIPT, ledger_row, pair_row, ppo_run, stage_folder, studio_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium"),
]
PAGES = ("/", "/run/ppo/toy-p1", "/samples/ppo/toy-p1", "/sample/0/ppo/toy-p1", "/pairs/pairs.jsonl/pairs/toy-q1")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A studio that serves a hostile run and two pairs on a free port of this machine."""
    ppo_run(tmp_path / "runs", [ledger_row(step, SCRIPT, SCRIPT, response=SCRIPT) for step in (1, 2)], "toy-p1")
    pairs = [pair_row("a", SCRIPT, "bad"), pair_row("b")]
    stage_folder(tmp_path / "runs", "pairs", "toy-q1", result={}, files={"pairs.jsonl": pairs})
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    app = build_app(studio_of(tmp_path / "runs", tmp_path / "annotations"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()  # the socket listens from here on or a little later; the browser waits for its answer
    listening.listen()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_studio_in_a_browser(address: str, tmp_path: Path) -> None:
    with Browser() as browser:
        for width in (390, 1280):
            for page in PAGES:
                browser.visit(address + page, width=width)
                assert browser.run("document.documentElement.scrollWidth") <= width, (page, width)
        assert "<script>alert" in browser.run("document.body.innerText")
        browser.visit(address + "/pairs/pairs.jsonl/pairs/toy-q1?row=0", width=1280)
        browser.press("a")
        browser.visit(address + "/pairs/pairs.jsonl/pairs/toy-q1?row=1", width=1280)
        browser.press("ArrowLeft")
        assert browser.run("document.querySelector('h1').innerText").startswith("Pair 0")
        assert browser.errors == []
        assert {"/".join(each.split("/")[:3]) for each in browser.requested} <= {address, "data:,"}
    assert [review.decision for review in every_review(tmp_path / "annotations")] == ["accept"]
