"""Training whose responses are drawn by a real server with the same tiny model, behind PEFT."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import transformers

from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import InputError, TrainingError
from rewardlab.models.roles import Roles
from rewardlab.models.trunk import Trunk, load_trunk
from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.rollout import roll_out
from rewardlab.training.sampling_server import FOLDER, SamplingServer, served_model
from tests.servers.model_server import BASE, ModelServer
from tests.support.models import tiny_llama
from tests.support.training import EXAMPLES, ppo_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT 0.21
QUICK = 60.0
"""Seconds that a request may take in these tests."""


def letters(_: object, text: str) -> float:
    return float(sum(character.isalpha() for character in text))


def sft_adapter(base: Path, folder: Path) -> Path:
    """An SFT adapter with other targets, rank and scale than the policy's, all of it random."""
    trunk = load_trunk(ModelConfig(name=str(base), device="cpu", dtype="float32"))
    lora = LoraConfig(rank=3, alpha=6.0, rank_stabilised=True, targets=("q_proj", "o_proj"))
    trunk.roles.add("sft", lora)
    scatter(trunk.roles, "sft", 1)
    trunk.roles.save("sft", folder)
    return folder


def scatter(roles: Roles, name: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in roles.parameters(name):
        parameter.data.normal_(0, 0.2, generator=generator)


def started(base: Path, folder: Path, dtype: Literal["float32", "bfloat16"] = "float32") -> Trunk:
    """The trunk behind SFT."""
    return load_trunk(ModelConfig(name=str(base), device="cpu", dtype=dtype), sft_adapter(base, folder))


@contextmanager
def drawing(
    folder: Path, model: ModelServer | None = None, trunk: Trunk | None = None, **settings: Any
) -> Iterator[tuple[OnlineTrainer, ModelServer]]:
    """A trainer whose responses a server draws, and what the server serves; both have the same model by default."""
    if not (folder / "model").exists():
        tiny_llama(folder / "model")
    served = model or ModelServer(folder / "model")
    with served.open() as open_server:
        url = {"sampler.url": f"http://127.0.0.1:{open_server.port}", "sampler.timeout_s": QUICK}
        run = {**url, "model.device": "cpu", **settings.pop("run", {})}
        trainer = ppo_trainer(folder, letters, trunk, run, **settings)
        section = trainer.run_config.sampler
        with SamplingServer(section, served_model(section), trainer.trunk, trainer.folder) as server:
            trainer.server = server
            yield trainer, served


def metrics(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "run" / "metrics.jsonl"))


@torch.no_grad()
def test_the_adapter_that_is_written_is_sft_and_policy_together(tmp_path: Path) -> None:
    from peft import PeftModel

    base = tiny_llama(tmp_path / "model")
    trunk = started(base, tmp_path / "sft")
    with drawing(tmp_path, trunk=trunk) as (trainer, served):
        scatter(trunk.roles, "policy", 2)
        rollout = roll_out(
            *(trainer.actor, EXAMPLES, trainer.sampling, 4, (0, 0)),
            drawer=lambda *request: trainer.server.draw(0, *request),  # type: ignore[union-attr]
        )
        [written] = served.loaded.values()
        alone = PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), str(written))
        ids = torch.arange(5, 25).view(2, 10)
        ours = trunk.logits(trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), "policy"))
        torch.testing.assert_close(alone(ids).logits, ours, atol=2e-4, rtol=1e-4)
        bare = trunk.logits(trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), None))
        assert float((bare - ours).abs().max()) > 0.1
    for chunk in rollout.chunks:
        assert chunk.drawn is not None
        torch.testing.assert_close(chunk.drawn, chunk.old, atol=2e-4, rtol=1e-4)
        assert not chunk.drawn[~chunk.response_keep].any()
    assert all(sample.drawn is not None and len(sample.drawn) == len(sample.ids) for sample in rollout.samples)


@pytest.mark.parametrize(("method", "settings"), [("ppo", {}), ("grpo", {"run": {"grpo.samples": 4}})])
def test_two_steps(tmp_path: Path, method: str, settings: dict[str, Any]) -> None:
    trunk = started(tiny_llama(tmp_path / "model"), tmp_path / "sft")
    with drawing(tmp_path, trunk=trunk, method=method, **settings) as (trainer, served):
        before = [parameter.detach().clone() for parameter in trunk.roles.parameters("policy")]
        trainer.train()
        [left] = served.loaded
    after = trunk.roles.parameters("policy")
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    rows = metrics(tmp_path)
    assert len(rows) == 2
    for row in rows:
        assert row["sampler/ratio_mean"] == pytest.approx(1, abs=1e-3)
        assert row["sampler/truncated_share"] == 0
        assert 0 < row["sampler/difference"] < 1e-3
    first, second = (name.split()[1] for name in served.log if name.startswith("load"))
    assert first != second == left
    assert served.log == [f"load {first}", f"unload {first}", f"load {second}", f"unload {second}"]
    assert [body["model"] for body in served.asked] == [first] * 8 + [second] * 8
    assert not (trainer.folder / FOLDER).exists()
    sampled = {body["seed"] for body in served.asked}
    assert len(sampled) == 16, "each response has a seed of its own"


def test_a_second_run_asks_the_same(tmp_path: Path) -> None:
    asked = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with drawing(tmp_path / name, steps=1) as (trainer, served):
            trainer.train()
        asked.append([{**body, "model": None} for body in sorted(served.asked, key=lambda body: body["seed"])])
    assert asked[0] == asked[1]


def test_other_weights_are_refused_in_the_first_step(tmp_path: Path) -> None:
    other = ModelServer(tiny_llama(tmp_path / "other", seed=1))
    with drawing(tmp_path, other) as (trainer, _), pytest.raises(InputError) as refused:
        trainer.train()
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(f"sampler {trainer.run_config.sampler.url}: its log-probabilities (mean -")
    assert f"are not those of {tmp_path / 'model'} here (mean -" in line
    assert "serves other weights than model.name" in line
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_server_that_leaves_the_adapter_out_is_refused(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "model")
    deaf = ModelServer(base, ignores_adapter=True)
    with (
        drawing(tmp_path, deaf, started(base, tmp_path / "sft")) as (trainer, _),
        pytest.raises(InputError, match="leaves the adapter out"),
    ):
        trainer.train()


def test_a_server_that_leaves_updates_out_draws_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Behind the base model the first adapter changes nothing, so that the first step cannot show it."""
    deaf = ModelServer(tiny_llama(tmp_path / "model"), ignores_adapter=True)
    with drawing(tmp_path, deaf, steps=3) as (trainer, _):
        trainer.train()
    [line] = [record.getMessage() for record in caplog.records if record.name.endswith("sampling_server")]
    assert line.startswith(
        f"sampler {trainer.run_config.sampler.url}: in step 2 its log-probabilities differ from ours"
    )
    first, *later = [row["sampler/difference"] for row in metrics(tmp_path)]
    assert first < 1e-3
    assert min(later) > 1e-3


class TestBfloat16:
    """The server applies the adapter beside weights that are rounded; here SFT's is merged, and then rounded."""

    def test_rounding_is_allowed_for(self, tmp_path: Path) -> None:
        base = tiny_llama(tmp_path / "model", width=64, layers=4)
        served = ModelServer(base, dtype=torch.bfloat16)
        trunk = started(base, tmp_path / "sft", "bfloat16")
        with drawing(tmp_path, served, trunk, run={"model.dtype": "bfloat16"}) as (trainer, _):
            trainer.train()
        for row in metrics(tmp_path):
            assert row["sampler/ratio_mean"] == pytest.approx(1, abs=0.05)
            assert row["sampler/difference"] > 1e-3

    def test_it_is_refused_where_float32_is_asked_for(self, tmp_path: Path) -> None:
        base = tiny_llama(tmp_path / "model", width=64, layers=4)
        served = ModelServer(base, dtype=torch.bfloat16)
        with (
            drawing(tmp_path, served) as (trainer, _),
            pytest.raises(InputError, match=r"float32\): they differ by .* or in another dtype"),
        ):
            trainer.train()


class TestTemperature:
    def test_raw_log_probabilities_are_refused_and_named(self, tmp_path: Path) -> None:
        with (
            drawing(tmp_path, temperature=0.7) as (trainer, _),
            pytest.raises(
                InputError, match=r"those of temperature 1, not 0\.7; start it with --logprobs-mode processed"
            ),
        ):
            trainer.train()

    def test_processed_ones_are_taken(self, tmp_path: Path) -> None:
        served = ModelServer(tiny_llama(tmp_path / "model"), processed=True)
        with drawing(tmp_path, served, temperature=0.7, steps=1) as (trainer, _):
            trainer.train()
        assert metrics(tmp_path)[0]["sampler/ratio_mean"] == pytest.approx(1, abs=1e-3)

    def test_a_tolerance_that_is_given_counts(self, tmp_path: Path) -> None:
        """The ratio is then what corrects for the difference."""
        run = {"sampler.tolerance": 10.0, "sampler.cap": 1.05}
        with drawing(tmp_path, temperature=0.7, steps=1, run=run) as (trainer, _):
            trainer.train()
        [row] = metrics(tmp_path)
        assert row["sampler/difference"] > 0.01
        assert row["sampler/truncated_share"] > 0.1

    def test_one_below_what_rounding_explains_counts_too(self, tmp_path: Path) -> None:
        trunk = started(tiny_llama(tmp_path / "model"), tmp_path / "sft")
        with (
            drawing(tmp_path, trunk=trunk, run={"sampler.tolerance": 1e-12}) as (trainer, _),
            pytest.raises(InputError, match=r"limit 1e-12"),
        ):
            trainer.train()


class TestRefused:
    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (
                {"max_rank": 16},
                r"refused the adapter .* of rank 19 \(.*greater than max_lora_rank 16.*--max-lora-rank 32",
            ),
            ({"updates": False}, "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora"),
            ({"hides": frozenset({"token_ids", "tokens"})}, "it sent no token ids; it has to know return_token_ids"),
            ({"hides": frozenset({"logprobs"})}, "it sent no log-probabilities"),
            ({"fails_after": 0}, r"did not draw the responses \(.*the engine is dead"),
        ],
        ids=["rank", "updates", "ids", "logprobs", "dead"],
    )
    def test_in_the_first_step(self, tmp_path: Path, flags: dict[str, Any], said: str) -> None:
        base = tiny_llama(tmp_path / "model")
        served = ModelServer(base, **flags)
        with (
            drawing(tmp_path, served, started(base, tmp_path / "sft")) as (trainer, _),
            pytest.raises(InputError, match=said) as refused,
        ):
            trainer.train()
        assert "\n" not in str(refused.value)
        assert not (trainer.folder / FOLDER).exists()
        assert not served.loaded

    def test_a_model_that_is_not_there(self, tmp_path: Path) -> None:
        with (
            pytest.raises(InputError, match=rf"has {BASE}; expected sampler\.model = 'llama'"),
            drawing(tmp_path, run={"sampler.model": "llama"}),
        ):
            pass

    def test_ids_that_stand_in_the_names_alone_will_do(self, tmp_path: Path) -> None:
        served = ModelServer(tiny_llama(tmp_path / "model"), hides=frozenset({"token_ids", "prompt_token_ids"}))
        with drawing(tmp_path, served, steps=1) as (trainer, _):
            trainer.train()
        assert metrics(tmp_path)[0]["sampler/ratio_mean"] == pytest.approx(1, abs=1e-3)


def test_a_server_that_dies_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    dying = ModelServer(tiny_llama(tmp_path / "model"), fails_after=8)
    with (
        drawing(tmp_path, dying, steps=3) as (trainer, _),
        pytest.raises(TrainingError, match="the same command goes on from the last checkpoint"),
    ):
        trainer.train()
    assert [row["step"] for row in metrics(tmp_path)] == [1]
    with drawing(tmp_path, steps=3) as (again, served):
        again.train()
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3]
    assert len(served.asked) == 16
    assert all(math.isfinite(row["policy/loss"]) for row in metrics(tmp_path))


def test_another_server_is_checked_when_a_run_goes_on(tmp_path: Path) -> None:
    dying = ModelServer(tiny_llama(tmp_path / "model"), fails_after=8)
    with drawing(tmp_path, dying) as (trainer, _), pytest.raises(TrainingError):
        trainer.train()
    other = ModelServer(tiny_llama(tmp_path / "other", seed=1))
    with drawing(tmp_path, other) as (again, _), pytest.raises(InputError, match="are not those of"):
        again.train()
