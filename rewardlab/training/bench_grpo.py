"""Steps of GRPO of a fixed size, timed, done by the code that real runs use.

The work is that of ``experiments/bench/peer_trl.py``: prompts of random tokens, all of one length, responses
that use their whole budget, one pass over each batch and one optimiser step. Only seconds and memory mean anything.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rewardlab.config import ModelConfig, RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.models import SamplingConfig, Trunk
from rewardlab.rewards import Ledger
from rewardlab.training.bench import TASK, Phases, RandomPrompts, load_or_make, machine_of, peak_mib, random_rows
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
        model: Which model, on which device, in which dtype.
        work: How much of what.
        settings: Further configuration, dotted keys; ``grpo.kl_coef`` is beta.
        shape: Take a model of this shape with random weights instead; a name in ``models.shapes``.
        is_plain: Read whole rows, a prompt once for each of its responses; to compare.
    Returns:
        Medians over the timed steps: ``sec_per_step``, ``cpu_sec_per_step``, ``phases`` (seconds each), and the
        ``peak_mib`` of the process (of the GPU where one is used). What was run stands beside them.
    """
    trunk = load_or_make(model, shape)
    trunk.shares_prompts = False if is_plain else trunk.shares_prompts
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
    spent = {name: round(median(row[name] for row in phases[1:]), 3) for name in phases[0]}
    return figures(trunk, work, seconds) | {
        "shares_prompts": trunk.shares_prompts,
        "beta": trainer.config.kl_coef,
        "phases": spent,
    }


def config_of(model: ModelConfig, given: Mapping[str, Any]) -> RunConfig:
    """The configuration of a bench: defaults, and what is given."""
    return load_config({"task": TASK, "model.name": model.name, **given}, NO_FILE).model_copy(update={"model": model})


def new_folder() -> Path:
    """A run folder."""
    return Path(tempfile.mkdtemp(prefix="rewardlab-bench-"))


def timed(step: Callable[[int], None], steps: int) -> list[tuple[float, float]]:
    """Seconds and CPU seconds of so many steps after the first."""
    found = []
    for number in range(steps + 1):
        clock, cpu = time.perf_counter(), time.process_time()
        step(number)
        found.append((time.perf_counter() - clock, time.process_time() - cpu))
    return found[1:]


def figures(trunk: Trunk, work: Any, seconds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """What was run, medians of seconds and CPU seconds, and the peak memory."""
    return {
        **machine_of(trunk),
        **asdict(work),
        "sec_per_step": round(median(clock for clock, _ in seconds), 3),
        "cpu_sec_per_step": round(median(cpu for _, cpu in seconds), 3),
        "peak_mib": round(peak_mib(trunk.device)),
    }
