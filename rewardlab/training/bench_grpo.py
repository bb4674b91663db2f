"""Steps of GRPO of a fixed size, timed, done by the code that real runs use.

The work is that of ``experiments/bench/peer_trl.py``: prompts of random tokens, all of one length, responses
that use their whole budget, one pass over each batch and one optimiser step. Only seconds and memory mean anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rewardlab.config import ModelConfig
from rewardlab.models import SamplingConfig
from rewardlab.rewards import Ledger
from rewardlab.training.bench import TASK, Phases, RandomPrompts, random_rows
from rewardlab.training.bench_steps import bench_trunk, config_of, figures, new_folder, timed
from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.methods import methods
from rewardlab.types import Example, Score


@dataclass(frozen=True, slots=True)
class GRPOWork:
    """A fixed amount of GRPO.

    Attributes:
        batch, group, micro: Responses per step, to each prompt, and per forward pass.
        prompt_len, response_len: Tokens of every prompt and of every response.
        steps: Timed steps; one more runs before them and is left out.
    """

    batch: int = 16
    group: int = 4
    micro: int = 4
    prompt_len: int = 96
    response_len: int = 24
    steps: int = 2


class Letters:
    """Share of the letters a to h in a text: a rule that tells random responses apart."""

    name, needs_gold = "letters", False

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response."""
        return [Score(sum(letter in "abcdefgh" for letter in text) / max(1, len(text))) for text in responses]


def bench_grpo(
    model: ModelConfig,
    work: GRPOWork,
    settings: Mapping[str, Any] | None = None,
    shape: str | None = None,
    *,
    is_plain: bool = False,
) -> dict[str, Any]:
    """Time GRPO steps.

    Args:
        model, shape, is_plain: As :func:`rewardlab.training.bench_steps.bench_trunk`.
        work: How much of what.
        settings: Further configuration, dotted keys; ``grpo.kl_coef`` is beta.
    Returns:
        Medians over the timed steps: ``sec_per_step``, ``cpu_sec_per_step``, ``phases`` (seconds each), and the
        ``peak_mib`` of the process (of the GPU where one is used). What was run stands beside them.
    """
    trunk = bench_trunk(model, shape, is_plain=is_plain)
    given = {
        "grpo.steps": work.steps + 1,
        "grpo.batch": work.batch,
        "grpo.samples": work.group,
        "grpo.micro_batch": work.micro,
        **(settings or {}),
    }
    config = config_of(model, given)
    number = work.batch // work.group * (work.steps + 1)
    examples = [Example(TASK, str(row), {"text": ""}, "positive", config.format) for row in range(number)]
    rows = random_rows(number, work.prompt_len, trunk)
    trunk.codec = RandomPrompts(trunk.codec, {e.id: ids for e, ids in zip(examples, rows, strict=True)})
    phases: list[Mapping[str, float]] = []
    trainer = OnlineTrainer(
        methods.get("grpo"),
        trunk,
        Letters(),
        examples,
        config,
        Phases(phases),
        Ledger(lambda name, row: None),
        new_folder(),
    )
    trainer.sampling = SamplingConfig(
        work.response_len, trainer.sampling.temperature, batch=work.batch, is_fixed_length=True
    )
    seconds = timed(trainer.step, work.steps)
    spent = {name: median(row[name] for row in phases[1:]) for name in phases[0]}
    return figures(trunk, work, seconds, trainer.config.kl_coef, spent)
