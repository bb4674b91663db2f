"""``--sampler URL`` typed: training against a server, evaluation without it, and a server that is not there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import rewardlab.sandbox
from rewardlab.cli import main as cli
from rewardlab.disk import read_json, read_jsonl
from tests.servers.http_server import HttpServer, Reply, Request
from tests.servers.model_server import BASE, ModelServer
from tests.support.commands import Outcome
from tests.support.launching import run_together
from tests.support.models import tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT 0.21
TINY = Path(rewardlab.sandbox.__file__).parent / "tiny"
ROWS = [f"--set=data.{part}" for part in ("labelled=32", "prompts=16", "validation=8", "test=20")]
SMALL = [
    "--task=sandbox-sentiment",
    "--reward=rule",
    "--dtype=float32",
    "--device=cpu",
    "--steps=2",
    "--batch=8",
    *ROWS,
]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VLLM_API_KEY", raising=False)

    def run(*arguments: str) -> Outcome:
        return Outcome(cli.run(list(arguments)), *capfd.readouterr())

    return run


@pytest.mark.slow
def test_training_with_a_server_and_evaluation_without_one(typed: Callable[..., Outcome]) -> None:
    served = ModelServer(TINY)
    with served.open() as server:
        url = f"http://127.0.0.1:{server.port}"
        trained = typed("ppo", "--sampler", f"{url}/v1/", *SMALL, "--set=sft.epochs=1")
        assert trained.code == 0, trained.err
        again = typed("ppo", "--sampler", "http://127.0.0.1:9", *SMALL, "--set=sft.epochs=1")
        assert again.code == 0, "a finished run is found wherever the server was"
    assert f"responses are drawn by {url} ({BASE})" in trained.out + trained.err
    [run] = Path("runs/ppo").iterdir()
    assert len(served.asked) == 16
    for row in read_jsonl(run / "metrics.jsonl"):
        assert row["sampler/ratio_mean"] == pytest.approx(1, abs=1e-3)
        assert row["sampler/truncated_share"] == 0
    assert read_json(run / "config.json")["config"]["sampler"]["url"] == url
    assert not (run / "sampler").exists()
    evaluated = typed("eval", "--run", str(run))
    assert evaluated.code == 0, evaluated.err
    [measured] = Path("runs/eval").iterdir()
    assert read_json(measured / "config.json")["config"]["sampler"]["url"] is None
    assert len(served.asked) == 16


@pytest.mark.slow
def test_two_processes_ask_what_one_asks(tmp_path: Path) -> None:
    """Each sends its own prompts; the first one loads the adapter."""
    model = tiny_llama(tmp_path / "model")
    rows, asked = [], []
    for count in (1, 2):
        served, runs = ModelServer(model), tmp_path / str(count)
        with served.open() as server:
            typed = ["grpo", "--sampler", f"http://127.0.0.1:{server.port}", "--model", str(model), "--init=base"]
            sizes = ["--set=model.max_new_tokens=6", "--set=grpo.micro_batch=4", "--tracker=none", "--format=label"]
            ended = run_together([*typed, *SMALL, *sizes, "--samples=2", "--runs", str(runs)], count, tmp_path)
            assert [process.code for process in ended] == [0] * count, ended
        assert [entry.split()[0] for entry in served.log] == ["load", "unload"] * 2
        [path] = runs.rglob("metrics.jsonl")
        rows.append([{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_jsonl(path)])
        asked.append(sorted((body["seed"], body["prompt"]) for body in served.asked))
    assert asked[0] == asked[1]
    assert len(asked[0]) == 16
    for alone, together in zip(*rows, strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-5)


def free_port() -> int:
    """A port of this machine at which nothing answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestBeforeAnyStageRuns:
    """SFT is behind these runs; nothing of it is made."""

    @pytest.mark.parametrize("method", ["ppo", "reinforce"])
    def test_a_server_that_is_not_there_is_one_line(self, typed: Callable[..., Outcome], method: str) -> None:
        port = free_port()
        line = typed(method, "--sampler", f"http://127.0.0.1:{port}", *SMALL).problem
        assert line.startswith(f"sampler http://127.0.0.1:{port} does not answer (")
        assert line.endswith("start it, or leave --sampler out")
        assert not Path("runs").exists()

    def test_a_server_of_another_kind_is_one_line(self, typed: Callable[..., Outcome]) -> None:
        async def page(_: Request) -> Reply:
            return Reply(b"<html>hello</html>", kind="text/html")

        with HttpServer(page) as server:
            line = typed("ppo", "--sampler", f"http://127.0.0.1:{server.port}", *SMALL).problem
        assert line.endswith("/v1/models is no list of models; expected a server such as vLLM's")
        assert not Path("runs").exists()

    def test_a_server_of_another_model_is_one_line(self, typed: Callable[..., Outcome]) -> None:
        async def models(_: Request) -> Reply:
            return Reply.of({"data": [{"id": "qwen"}]})

        with HttpServer(models) as server:
            url = f"http://127.0.0.1:{server.port}"
            line = typed("ppo", "--sampler", url, "--set=sampler.model=llama", *SMALL).problem
        assert line == f"sampler {url} has qwen; expected sampler.model = 'llama'"
        assert not Path("runs").exists()

    def test_a_plan_asks_no_server(self, typed: Callable[..., Outcome]) -> None:
        shown = typed("ppo", "--sampler", f"http://127.0.0.1:{free_port()}", "--dry-run", *SMALL)
        assert (shown.code, shown.err) == (0, "")
        assert "[to run] PPO on rule" in shown.out

    def test_a_method_that_draws_here_asks_none(self, typed: Callable[..., Outcome], tmp_path: Path) -> None:
        from rewardlab.config_loading import NO_FILE, load_config
        from rewardlab.pipeline import Pipeline

        given = {"sampler.url": f"http://127.0.0.1:{free_port()}", "task": "sandbox-sentiment"}
        for method in ("raft", "dpo"):
            Pipeline(load_config(given, NO_FILE), tmp_path).train(method).check()
