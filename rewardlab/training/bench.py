"""PPO steps of a fixed size, timed, done by the code that real runs use.

The work is that of ``experiments/bench/peer.py``: prompts of random tokens, all of one length, and responses that use
their whole budget. Scores and texts mean nothing here; only seconds and memory do.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rewardlab.config import ModelConfig, RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError
from rewardlab.models import Codec, SamplingConfig, Trunk, load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.models.scoring import make_scorer
from rewardlab.models.shapes import random_trunk
from rewardlab.rewards import Ledger, RewardContext, build_reward, label_shares
from rewardlab.training.flops import Passes, Sizes, peak_tflops
from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.ppo import PPOTrainer
from rewardlab.training.progress import Silent
from rewardlab.types import Example

TASK = "sandbox-sentiment"
"""Whose rule judges the responses; the prompts are random tokens."""
SPECIAL = 100
"""Random prompts keep clear of this many ids at both ends of the vocabulary."""
REWARDS: Mapping[str, Mapping[str, str]] = {
    "rule": {"reward.expression": "rule"},
    "mixed": {"reward.expression": "mixed", "reward.lam": "5", "reward.r2": "ranked"},
}
PHASES = ("generate", "score", "reference", "old", "update")


@dataclass(frozen=True, slots=True)
class PPOWork:
    """A fixed amount of PPO.

    Attributes:
        batch, micro: Responses per step, and per forward pass and optimiser step.
        prompt_len, response_len: Tokens of every prompt and of every response.
        ppo_epochs: Passes over each batch.
        steps: Timed steps; one more runs before them and is left out.
        value: Critic: a head on the policy, or an adapter of its own.
        reward: The task's rule, or a mixture of two reward models.
    """

    batch: int = 16
    micro: int = 4
    prompt_len: int = 96
    response_len: int = 24
    ppo_epochs: int = 4
    steps: int = 3
    value: str = "head"
    reward: str = "rule"

    def __post_init__(self) -> None:
        if self.reward not in REWARDS:
            raise ConfigError(f"--reward {self.reward!r}: expected one of {', '.join(REWARDS)}")


class RandomPrompts(Codec):
    """A codec whose prompts are given token ids, by example id.

    Args:
        codec: The model's own codec, used for responses.
        prompts: Token ids per example id.
    """

    def __init__(self, codec: Codec, prompts: Mapping[str, Sequence[int]]) -> None:
        super().__init__(codec.tokenizer, codec.config)
        self._prompts = prompts

    def prompt_ids(self, example: Example) -> list[int]:
        """The ids given for the example."""
        return list(self._prompts[example.id])


def bench_ppo(
    model: ModelConfig,
    work: PPOWork,
    settings: Mapping[str, Any] | None = None,
    shape: str | None = None,
    peak: float | None = None,
) -> dict[str, Any]:
    """Time PPO steps.

    Args:
        model: Which model, on which device, in which dtype.
        work: How much of what.
        settings: Further configuration, dotted keys.
        shape: Take a model of this shape with random weights instead; a name in ``models.shapes``.
        peak: Most TFLOP/s of the device; None looks its name up.
    Returns:
        Medians over the timed steps: ``sec_per_step``, ``cpu_sec_per_step``, ``phases`` (seconds each), and the
        ``peak_mib`` of the process (of the GPU where one is used); ``tokens_per_s`` drawn in the phase ``generate``;
        ``tflop`` that the phases need and, where the peak is known, ``mfu``, their share of what the device could
        have done in that time. What was run stands beside them.
    """
    trainer = _trainer(load_or_make(model, shape), model, work, settings or {})
    seconds: list[tuple[float, float]] = []
    phases: list[Mapping[str, float]] = []
    trainer.recorder = Phases(phases)
    for step in range(work.steps + 1):
        clock, cpu = time.perf_counter(), time.process_time()
        trainer.step(step)
        seconds.append((time.perf_counter() - clock, time.process_time() - cpu))
    measured = {name: median(row[name] for row in phases[1:]) for name in PHASES}
    return {
        **machine_of(trainer.trunk),
        **asdict(work),
        "sec_per_step": round(median(clock for clock, _ in seconds[1:]), 3),
        "cpu_sec_per_step": round(median(cpu for _, cpu in seconds[1:]), 3),
        "peak_mib": round(peak_mib(trainer.trunk.device)),
        "phases": {name: round(spent, 3) for name, spent in measured.items()},
        "tokens_per_s": round(work.batch * work.response_len / measured["generate"], 1),
        **_utilisation(trainer, work, {"step": median(clock for clock, _ in seconds[1:]), **measured}, peak),
        "seconds": [round(clock, 3) for clock, _ in seconds[1:]],
    }


def load_or_make(model: ModelConfig, shape: str | None) -> Trunk:
    """The model, or one of that shape with random weights."""
    return load_trunk(model) if shape is None else random_trunk(shape, model)


def _utilisation(
    trainer: OnlineTrainer, work: PPOWork, seconds: Mapping[str, float], peak: float | None
) -> dict[str, Any]:
    """Operations of a step and of its phases, and their share of the device's peak where a phase took any time."""
    models = 2 if work.reward == "mixed" else 0
    passes = Passes(
        work.prompt_len, work.response_len, work.ppo_epochs, models, work.value == "adapter", trainer.may_trust_sampler
    )
    tera = {name: each * work.batch / 1e12 for name, each in passes.operations(Sizes.of(trainer.trunk)).items()}
    tera["step"] = sum(tera.values())
    if peak is None:
        peak = _known_peak(trainer.trunk)
    shares = {name: round(each / (seconds[name] * peak), 4) for name, each in tera.items() if peak and seconds[name]}
    return {"tflop": {name: float(f"{each:.4g}") for name, each in tera.items()}, "peak_tflops": peak, "mfu": shares}


def _known_peak(trunk: Trunk) -> float | None:
    if trunk.device.type != "cuda":
        return None
    return peak_tflops(torch.cuda.get_device_name(trunk.device), str(trunk.dtype).removeprefix("torch."))


class Phases(Silent):
    """Keeps the seconds of each phase of each step."""

    def __init__(self, rows: list[Mapping[str, float]]) -> None:
        self._rows = rows

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        self._rows.append({name: metrics.get(f"time/{name}_s", 0.0) for name in PHASES})


def _trainer(trunk: Trunk, model: ModelConfig, work: PPOWork, settings: Mapping[str, Any]) -> OnlineTrainer:
    config = _config(model, work, settings)
    number = work.batch * (work.steps + 1)
    examples = [Example(TASK, str(row), {"text": ""}, "positive", config.format) for row in range(number)]
    rows = random_rows(number, work.prompt_len, trunk)
    trunk.codec = RandomPrompts(trunk.codec, {e.id: ids for e, ids in zip(examples, rows, strict=True)})
    context = RewardContext(_scorers(trunk, config), {}, config.reward.reading, label_shares(examples))
    reward = build_reward(config.reward, context)
    folder = Path(tempfile.mkdtemp(prefix="rewardlab-bench-"))
    trainer = PPOTrainer(trunk, reward, examples, config, Silent(), Ledger(lambda name, row: None), folder)
    trainer.sampling = SamplingConfig(
        work.response_len, trainer.sampling.temperature, batch=work.batch, is_fixed_length=True
    )
    return trainer


def _config(model: ModelConfig, work: PPOWork, settings: Mapping[str, Any]) -> RunConfig:
    given = {
        "task": TASK,
        "model.name": model.name,
        "ppo.steps": work.steps + 1,
        "ppo.batch": work.batch,
        "ppo.micro_batch": work.micro,
        "ppo.minibatches": -(-work.batch // work.micro),
        "ppo.ppo_epochs": work.ppo_epochs,
        "ppo.value": work.value,
        "ppo.value_init": "zero",
        **REWARDS[work.reward],
        **settings,
    }
    return load_config(given, NO_FILE).model_copy(update={"model": model})


def _scorers(trunk: Trunk, config: RunConfig) -> dict[str, Any]:
    """Two reward models that were never trained, where the reward asks for them."""
    if config.reward.expression != "mixed":
        return {}
    for kind in ("label", "ranked"):
        trunk.roles.add(f"rm-{kind}", config.lora, head=ScalarHead(trunk.width), is_trainable=False)
    return {kind: make_scorer(trunk, f"rm-{kind}", config.ppo.micro_batch) for kind in ("label", "ranked")}


def random_rows(rows: int, length: int, trunk: Trunk) -> list[list[int]]:
    """So many rows of so many random token ids, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = trunk.model.get_input_embeddings().num_embeddings
    margin = min(SPECIAL, vocabulary // 4)
    ids: list[list[int]] = torch.randint(margin, vocabulary - margin, (rows, length), generator=generator).tolist()
    return ids


def machine_of(trunk: Trunk) -> dict[str, Any]:
    """What a measurement was made with."""
    is_cuda = trunk.device.type == "cuda"
    return {
        "model": trunk.name,
        "device": torch.cuda.get_device_name(trunk.device) if is_cuda else str(trunk.device),
        "dtype": str(trunk.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def peak_mib(device: torch.device) -> float:
    """Peak memory of the GPU, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
