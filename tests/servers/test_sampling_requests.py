"""What goes over the wire to a server that draws responses, with a server that has no model behind it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewardlab.annotate.client import make_client
from rewardlab.config import ModelConfig
from rewardlab.errors import InputError
from rewardlab.models.sampler import Sample, SamplingConfig, end_ids, sample
from rewardlab.models.trunk import Trunk, load_trunk
from rewardlab.sampler_config import SamplerConfig
from rewardlab.training import sampling_server
from rewardlab.training.clock import Clock
from rewardlab.training.completions import read_completion
from rewardlab.training.sampling_server import SamplingServer, served_model
from tests.servers.http_server import HttpServer, Reply, Request
from tests.support.models import tiny_llama
from tests.support.training import EXAMPLES, ppo_trainer

PROMPTS = [[10], [11], [12], [13]]
SAMPLING = SamplingConfig(4)
SUCCESS = Reply(b"Success", kind="text/plain")


@dataclass
class Scripted:
    """Answers every prompt with its first token and the end token.

    Attributes:
        end: The end token.
        first: Called with each completion request before it is answered; what it returns is the answer, unless None.
        unloads: How it answers a request to drop an adapter.
        asked, dropped, headers: What came. ``adapters`` has name and folder of each that was loaded.
    """

    end: int
    first: Callable[[dict[str, Any]], Any] = lambda body: asyncio.sleep(0)
    unloads: Reply = SUCCESS
    asked: list[dict[str, Any]] = field(default_factory=list)
    adapters: list[tuple[str, Path]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Reply:
        body = request.json()
        if request.path == "/v1/load_lora_adapter":
            assert (Path(body["lora_path"]) / "adapter_config.json").exists()
            self.adapters.append((body["lora_name"], Path(body["lora_path"])))
            return SUCCESS
        if request.path == "/v1/unload_lora_adapter":
            self.dropped.append(body["lora_name"])
            return self.unloads
        self.asked.append(body)
        return await self.first(body) or Reply(completion([body["prompt"][0], self.end]).encode())


def completion(ids: Sequence[int]) -> str:
    """The body of an answer, without the prompt that was read."""
    table = {"token_logprobs": [-1.0] * len(ids)}
    return json.dumps({"choices": [{"token_ids": list(ids), "logprobs": table, "finish_reason": "stop"}]})


def refused(status: int) -> Reply:
    return Reply.of({"error": {"message": "refused", "code": status}}, status)


@pytest.fixture
def trunk(tmp_path: Path) -> Trunk:
    """Carries a policy."""
    return ppo_trainer(tmp_path, lambda *_: 0.0, run={"model.device": "cpu"}).trunk


def drawn(scripted: Scripted, trunk: Trunk, folder: Path, steps: int = 1) -> list[Sample]:
    """The responses of the last of some steps."""
    with HttpServer(scripted.answer) as server:
        config = SamplerConfig(url=f"http://127.0.0.1:{server.port}", timeout_s=20)
        with SamplingServer(config, "base", trunk, folder) as sampler:
            found = [sampler.draw(step, PROMPTS, range(len(PROMPTS)), SAMPLING) for step in range(steps)]
    return found[-1]


class TestRequests:
    def test_all_are_in_flight_at_once_and_answers_keep_the_order_of_the_prompts(
        self, tmp_path: Path, trunk: Trunk
    ) -> None:
        arrived: list[int] = []

        async def last_one_first(body: dict[str, Any]) -> None:
            arrived.append(body["prompt"][0])
            turn = len(PROMPTS) - len(arrived)
            while len(arrived) < len(PROMPTS):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1 * turn)

        found = drawn(Scripted(trunk.codec.eos_id, last_one_first), trunk, tmp_path / "run")
        assert [each.ids for each in found] == [(prompt[0], trunk.codec.eos_id) for prompt in PROMPTS]

    def test_one_that_fails_for_a_moment_is_sent_again_alone(self, tmp_path: Path, trunk: Trunk) -> None:
        async def busy_once(body: dict[str, Any]) -> Reply | None:
            return refused(503) if body["prompt"] == [11] and scripted.asked.count(body) == 1 else None

        scripted = Scripted(trunk.codec.eos_id, busy_once)
        found = drawn(scripted, trunk, tmp_path / "run")
        assert [each.ids[0] for each in found] == [10, 11, 12, 13]
        assert Counter(body["prompt"][0] for body in scripted.asked) == {10: 1, 11: 2, 12: 1, 13: 1}
        assert len({json.dumps(body) for body in scripted.asked}) == len(PROMPTS), "it is the same request"

    @pytest.mark.parametrize(("status", "tries"), [(500, 3), (404, 1)])
    def test_one_that_always_fails_ends_the_run(self, tmp_path: Path, trunk: Trunk, status: int, tries: int) -> None:
        """No server that lacks the adapter is asked for it again."""

        async def refuse(body: dict[str, Any]) -> Reply | None:
            return refused(status) if body["prompt"] == [11] else None

        scripted = Scripted(trunk.codec.eos_id, refuse)
        with pytest.raises(InputError, match=f"did not draw the responses .*Error code: {status}"):
            drawn(scripted, trunk, tmp_path / "run")
        assert sum(body["prompt"] == [11] for body in scripted.asked) == tries
        assert scripted.dropped == [name for name, _ in scripted.adapters]

    def test_every_token_that_ends_a_response_is_sent(self, tmp_path: Path, trunk: Trunk) -> None:
        trunk.model.generation_config.eos_token_id = [7, 9]
        scripted = Scripted(7)
        assert all(each.is_finished for each in drawn(scripted, trunk, tmp_path / "run"))
        assert [body["stop_token_ids"] for body in scripted.asked] == [sorted({7, 9, trunk.codec.eos_id})] * 4

    def test_the_budget_is_that_of_the_step(self, tmp_path: Path) -> None:
        trainer, budgets = ppo_trainer(tmp_path, lambda *_: 0.0, least_new_tokens=2), []

        def draw(step: int, prompts: Sequence[Sequence[int]], keys: Sequence[int], sampling: SamplingConfig) -> Any:
            budgets.append(sampling.max_new_tokens)
            return [Sample((trainer.trunk.codec.eos_id,), "", True, drawn=(-1.0,)) for _ in prompts]

        trainer.server = SimpleNamespace(draw=draw)  # type: ignore[assignment]
        for step in range(12):
            trainer._roll_out(step, Clock(trainer.trunk.device))
        assert set(budgets) <= {2, 3, 4, 5, 6}
        assert len(set(budgets)) > 2


class TestAdapters:
    def test_no_name_is_used_twice_whichever_run_asks(
        self, tmp_path: Path, trunk: Trunk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server may keep what it computed under a name, and knows no working folder but its own."""
        monkeypatch.chdir(tmp_path)
        scripted = Scripted(trunk.codec.eos_id)
        for _ in range(2):
            drawn(scripted, trunk, Path("run"), steps=2)
        names = [name for name, _ in scripted.adapters]
        assert len(set(names)) == 4
        assert scripted.dropped == names
        assert all(folder.is_absolute() for _, folder in scripted.adapters)

    @pytest.mark.parametrize("unloads", [refused(404), Reply(b"never", headers={"Content-Length": "99"})])
    def test_one_that_stays_is_told_of_once(
        self,
        tmp_path: Path,
        trunk: Trunk,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        unloads: Reply,
    ) -> None:
        """A server that says nothing is not waited for as long as for responses."""
        monkeypatch.setattr(sampling_server, "UNLOAD_S", 0.2)
        timeouts: list[float] = []

        def client(key: str, url: str, timeout_s: float) -> Any:
            timeouts.append(timeout_s)
            return make_client(key, url, timeout_s)

        monkeypatch.setattr(sampling_server, "make_client", client)
        scripted = Scripted(trunk.codec.eos_id, unloads=unloads)
        caplog.set_level(logging.WARNING)
        drawn(scripted, trunk, tmp_path / "run", steps=3)
        names = [name for name, _ in scripted.adapters]
        assert scripted.dropped == names
        assert timeouts == [20, 20, 0.2, 20, 20, 0.2, 20, 20, 0.2], "a step loads, draws and drops"
        [line] = [record.getMessage() for record in caplog.records if "did not unload" in record.getMessage()]
        assert names[0] in line
        assert not (tmp_path / "run" / sampling_server.FOLDER).exists()


CARDS = [{"id": "yours", "parent": "qwen"}, {"id": "qwen", "parent": None}, {"id": "qwen-alias"}]


class TestServedModel:
    def served(self, model: str | None, listed: object = CARDS) -> tuple[str, str]:
        """The base model, and the key that the server was shown."""
        shown: list[str] = []

        async def models(request: Request) -> Reply:
            shown.append(request.headers["authorization"])
            return Reply.of({"data": listed})

        with HttpServer(models) as server:
            found = served_model(SamplerConfig(url=f"http://127.0.0.1:{server.port}", model=model, timeout_s=20))
        return found, shown[0]

    def test_an_adapter_is_no_base_model(self) -> None:
        """A run that was killed leaves its own."""
        assert [self.served(model)[0] for model in (None, "qwen-alias")] == ["qwen", "qwen-alias"]
        with pytest.raises(InputError, match=r"has qwen, qwen-alias; expected sampler\.model = 'yours'"):
            self.served("yours")

    @pytest.mark.parametrize("model", [None, "qwen"])
    def test_a_server_of_adapters_alone_has_none(self, model: str | None) -> None:
        with pytest.raises(InputError, match="has no model; expected "):
            self.served(model, CARDS[:1])

    @pytest.mark.parametrize("listed", [None, 1, [1], [{}], {"id": "qwen"}])
    def test_what_is_no_list_of_models_is_named(self, listed: object) -> None:
        with pytest.raises(InputError, match="/v1/models is no list of models"):
            self.served(None, listed)

    def test_the_key_of_another_service_is_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "theirs")
        monkeypatch.setenv("VLLM_API_KEY", " mine ")
        assert self.served(None)[1] == "Bearer mine"
        monkeypatch.delenv("VLLM_API_KEY")
        assert self.served(None)[1] == "Bearer none"


@pytest.mark.parametrize("stop", [(), (" ",), ("e",), ("th", " a")])
def test_what_the_sampler_here_draws_is_read_as_it_was_drawn(tmp_path: Path, stop: tuple[str, ...]) -> None:
    """A server may draw on behind a text that ends a response, up to the budget; that is left out."""
    trunk = load_trunk(ModelConfig(name=str(tiny_llama(tmp_path / "model")), dtype="float32", device="cpu"))
    prompts = [trunk.codec.prompt_ids(example) for example in EXAMPLES]
    config = SamplingConfig(12, stop=stop)
    samples = sample(trunk, prompts * 4, range(len(prompts) * 4), config, None)
    assert any(each.is_finished for each in samples) or not stop
    assert not all(each.is_finished for each in samples)
    longer = sample(trunk, prompts * 4, range(len(prompts) * 4), replace(config, stop=()), None)
    for own, other in zip(samples, longer, strict=True):
        rest = other.ids[len(own.ids) :]
        read = read_completion(completion([*own.ids, *rest]), [], config, trunk.codec, end_ids(trunk), 10**6)
        assert read == own
        assert len(read.drawn or ()) == len(own.ids)
