"""Timed work of a fixed size, done by the code that real runs use: PPO steps, and the sampler against ``generate``.

The work is that of ``experiments/bench/peer.py``: prompts of random tokens, all of one length, and responses that use
their whole budget. Scores and texts mean nothing here; only seconds and memory do.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rewardlab.config import NO_FILE, ModelConfig, RunConfig, load_config
from rewardlab.errors import ConfigError
from rewardlab.models import Codec, SamplingConfig, Trunk, load_trunk, row_key, sample
from rewardlab.models.heads import ScalarHead
from rewardlab.models.names import find_model
from rewardlab.models.scoring import make_scorer
from rewardlab.rewards import Ledger, RewardContext, build_reward
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
        super().__init__(codec.tokenizer, codec.max_prompt_tokens)
        self._prompts = prompts

    def prompt_ids(self, example: Example) -> list[int]:
        """The ids given for the example."""
        return list(self._prompts[example.id])


def bench_ppo(model: ModelConfig, work: PPOWork, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Time PPO steps.

    Args:
        model: Which model, on which device, in which dtype.
        work: How much of what.
        settings: Further configuration, dotted keys.
    Returns:
        Medians over the timed steps: ``sec_per_step``, ``cpu_sec_per_step``, ``phases`` (seconds each), and the
        ``peak_mib`` of the process (of the GPU where one is used); what was run stands beside them.
    """
    trainer = _trainer(model, work, settings or {})
    seconds: list[tuple[float, float]] = []
    phases: list[Mapping[str, float]] = []
    trainer.recorder = _Phases(phases)
    for step in range(work.steps + 1):
        clock, cpu = time.perf_counter(), time.process_time()
        trainer.step(step)
        seconds.append((time.perf_counter() - clock, time.process_time() - cpu))
    shape = {name: getattr(work, name) for name in work.__slots__}
    return {
        **_machine(trainer.trunk),
        **shape,
        "sec_per_step": round(median(clock for clock, _ in seconds[1:]), 3),
        "cpu_sec_per_step": round(median(cpu for _, cpu in seconds[1:]), 3),
        "peak_mib": round(_peak_mib(trainer.trunk.device)),
        "phases": {name: round(median(row[name] for row in phases[1:]), 3) for name in PHASES},
        "seconds": [round(clock, 3) for clock, _ in seconds[1:]],
    }


def bench_sampler(
    model: ModelConfig, batch: int = 16, prompt_len: int = 96, shortest: int = 4, longest: int = 64, repeats: int = 3
) -> dict[str, Any]:
    """Time the sampler against ``generate`` of transformers, in turn, on rows that stop at evenly spread lengths.

    Args:
        model: Which model, on which device, in which dtype.
        batch, prompt_len: Rows, and tokens of each prompt.
        shortest, longest: Tokens of the first and of the last response to stop.
        repeats: Timed turns of each; one more of each runs before them and is left out.
    Returns:
        Median seconds of both, their ratio, and the median of the ratios turn by turn.
    """
    trunk, plain = load_trunk(model), _plain_model(model)
    prompts = _random_rows(batch, prompt_len, trunk)
    budgets = [round(shortest + (longest - shortest) * row / max(1, batch - 1)) for row in range(batch)]
    turns = [(_ours(trunk, prompts, budgets), _generate(plain, prompts, budgets)) for _ in range(repeats + 1)][1:]
    ours, theirs = (median(turn[side] for turn in turns) for side in (0, 1))
    return {
        **_machine(trunk),
        "batch": batch,
        "prompt_len": prompt_len,
        "stops": [shortest, longest],
        "sampler_s": round(ours, 3),
        "generate_s": round(theirs, 3),
        "ratio": round(median(mine / other for mine, other in turns), 3),
        "turns": [[round(second, 3) for second in turn] for turn in turns],
    }


class _Phases(Silent):
    """Keeps the seconds of each phase of each step."""

    def __init__(self, rows: list[Mapping[str, float]]) -> None:
        self._rows = rows

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        self._rows.append({name: metrics.get(f"time/{name}_s", 0.0) for name in PHASES})


def _trainer(model: ModelConfig, work: PPOWork, settings: Mapping[str, Any]) -> PPOTrainer:
    trunk = load_trunk(model)
    config = _config(model, work, settings)
    number = work.batch * (work.steps + 1)
    examples = [Example(TASK, str(row), {"text": ""}, "positive", config.format) for row in range(number)]
    rows = _random_rows(number, work.prompt_len, trunk)
    trunk.codec = RandomPrompts(trunk.codec, {e.id: ids for e, ids in zip(examples, rows, strict=True)})
    reward = build_reward(config.reward, RewardContext(_scorers(trunk, config), {}, config.reward.reading))
    folder = Path(tempfile.mkdtemp(prefix="rewardlab-bench-"))
    trainer = PPOTrainer(trunk, reward, examples, config, Silent(), Ledger(lambda name, row: None), folder)
    trainer.sampling = SamplingConfig(
        work.response_len, trainer.sampling.temperature, batch=work.batch, is_fixed_length=True
    )
    return trainer


def _config(model: ModelConfig, work: PPOWork, settings: Mapping[str, Any]) -> RunConfig:
    given = {
        "task": TASK,
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
    return load_config({**given, **{f"model.{key}": value for key, value in model.model_dump().items()}}, NO_FILE)


def _scorers(trunk: Trunk, config: RunConfig) -> dict[str, Any]:
    """Two reward models that were never trained, where the reward asks for them."""
    if config.reward.expression != "mixed":
        return {}
    for kind in ("label", "ranked"):
        trunk.roles.add(f"rm-{kind}", config.lora, head=ScalarHead(trunk.width), is_trainable=False)
    return {kind: make_scorer(trunk, f"rm-{kind}", config.ppo.micro_batch) for kind in ("label", "ranked")}


def _random_rows(rows: int, length: int, trunk: Trunk) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    vocabulary = trunk.model.get_input_embeddings().num_embeddings
    margin = min(SPECIAL, vocabulary // 4)
    ids: list[list[int]] = torch.randint(margin, vocabulary - margin, (rows, length), generator=generator).tolist()
    return ids


def _ours(trunk: Trunk, prompts: Sequence[Sequence[int]], budgets: Sequence[int]) -> float:
    keys = [row_key("bench", row) for row in range(len(prompts))]
    config = SamplingConfig(max(budgets), batch=len(prompts), is_fixed_length=True)
    start = _now(trunk.device)
    drawn = sample(trunk, prompts, keys, config, None, budgets)
    seconds = _now(trunk.device) - start
    assert [len(one.ids) for one in drawn] == list(budgets)
    return seconds


@torch.inference_mode()
def _generate(model: Any, prompts: Sequence[Sequence[int]], budgets: Sequence[int]) -> float:
    """Seconds of ``generate`` on the same rows, each ended by a stopping criterion at its budget."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class AtBudget(StoppingCriteria):  # type: ignore[misc]  # transformers has no types here
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            return torch.tensor(budgets, device=input_ids.device) <= input_ids.shape[1] - len(prompts[0])

    ids = torch.tensor(prompts, device=model.device)
    start = _now(model.device)
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=max(budgets),
        eos_token_id=None,
        pad_token_id=0,
        stopping_criteria=StoppingCriteriaList([AtBudget()]),
    )
    return _now(model.device) - start


def _plain_model(config: ModelConfig) -> Any:
    """The model as transformers loads it, with nothing of ours around it."""
    from transformers import AutoModelForCausalLM

    from rewardlab.models.names import resolve_device, resolve_dtype

    location = find_model(config.name).location
    model = AutoModelForCausalLM.from_pretrained(location, dtype=getattr(torch, resolve_dtype(config)))
    return model.to(resolve_device(config.device)).eval()


def _machine(trunk: Trunk) -> dict[str, Any]:
    return {
        "model": trunk.name,
        "device": str(trunk.device),
        "dtype": str(trunk.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
