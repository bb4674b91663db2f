"""The annotate command against ``transformers serve`` with the embedded model: a server that nobody here wrote."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import rewardlab.sandbox
from rewardlab.cli import main as cli
from rewardlab.disk import read_json, read_jsonl

pytestmark = pytest.mark.slow

MODEL = Path(rewardlab.sandbox.__file__).parent / "tiny"
START_S = 900


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running server."""
    pytest.importorskip("fastapi", reason="transformers serve needs fastapi and uvicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(sys.executable).with_name("transformers")
    command = [str(script), "serve", str(MODEL), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = tmp_path_factory.mktemp("serve") / "log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until the server answers; fails with its log when it does not."""
    for _ in range(START_S * 2):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as answered:
            answered.close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"transformers serve does not answer: {log.read_text()[-2000:]}")


def test_annotate(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any text")
    monkeypatch.chdir(tmp_path)
    options = ["--task", "sandbox-sentiment", "--annotator", "openai", "--base-url", served, "--concurrency", "2"]
    settings = {"annotate.model": str(MODEL), "annotate.max_new_tokens": 24, "annotate.attempts": 2}
    code = cli.run(["annotate", *options, "--limit", "2", *(f"--set={key}={value}" for key, value in settings.items())])
    err = capfd.readouterr().err
    (folder,) = Path("runs/annotate").iterdir()
    manifest = read_json(folder / "manifest.json")
    assert manifest["outcomes"]["failed"] == 0, err
    assert manifest["requests"] == sum(manifest["outcomes"].values()) == 8
    assert 8 <= manifest["spent"]["response_tokens"] <= 8 * 24
    assert manifest["spent"]["prompt_tokens"] > 8 * 10
    # a model of 1.3 million parameters: most of what it says is cut off, and nothing of that becomes a rationale
    for row in read_jsonl(folder / "rationales.jsonl"):
        assert bool(row["rationale"]) == (row["outcome"] == "answered")
    assert code == (0 if manifest["outcomes"]["answered"] else 1)
    assert len(Path("runs/annotations/openai.jsonl").read_text().splitlines()) == 8


def test_eval(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The embedded model behind the server answers as a row of a table; it gives labels once it is asked for them."""
    monkeypatch.setenv("OPENAI_API_KEY", "any text")
    monkeypatch.chdir(tmp_path)
    options = ["--task", "sandbox-sentiment", "--format", "label", "--hosted", "--base-url", served, "--limit", "4"]
    settings = {"eval.hosted.model": str(MODEL), "annotate.attempts": 2, "model.max_new_tokens": 4}
    code = cli.run(["eval", *options, "--shots", "2", *(f"--set={key}={value}" for key, value in settings.items())])
    assert code == 0, capfd.readouterr().err
    (folder,) = Path("runs/eval").iterdir()
    result = read_json(folder / "result.json")
    assert sum(result["hosted"]["outcomes"].values()) == 8
    assert result["hosted"]["outcomes"].get("failed", 0) == 0
    assert result["spent"]["response_tokens"] <= 8 * 4
    rows = list(read_jsonl(folder / "predictions.jsonl"))
    assert {row["decoding"] for row in rows} == {"sampled", "greedy"}
    assert all(row["prompt"].count("\n\n") >= 2 for row in rows), "two solved examples"
