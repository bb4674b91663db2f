"""Steps of DPO of a fixed size, timed, done by the code that real runs use.

The work is that of ``experiments/bench/peer_trl.py``: pairs of random tokens, all of one length, and one
optimiser step a batch. Only seconds and memory mean anything.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from rewardlab.config import ModelConfig
from rewardlab.training.bench import TASK, random_rows
from rewardlab.training.bench_steps import bench_trunk, config_of, figures, new_folder, timed
from rewardlab.training.clock import Clock
from rewardlab.training.methods import methods
from rewardlab.training.pair_rows import PairRow, Reference
from rewardlab.training.preference import PreferenceTrainer
from rewardlab.training.progress import Silent
from rewardlab.training.rm_evaluation import EncodedPair
from rewardlab.types import Pair

_PAIR = Pair(TASK, "0", "label", "rationale", "", "", "", None, None, None, annotator="", model="")
"""What random pairs are pairs of."""


@dataclass(frozen=True, slots=True)
class DPOWork:
    """A fixed amount of DPO.

    Attributes:
        batch, micro: Pairs per step and per forward pass.
        prompt_len, response_len: Tokens of every prompt and of each of its two responses.
        steps: Timed steps; one more runs before them and is left out.
    """

    batch: int = 8
    micro: int = 2
    prompt_len: int = 96
    response_len: int = 24
    steps: int = 2


def bench_dpo(
    model: ModelConfig,
    work: DPOWork,
    settings: Mapping[str, Any] | None = None,
    shape: str | None = None,
    *,
    is_plain: bool = False,
) -> dict[str, Any]:
    """Time DPO steps, each with its share of the reference's pass, which runs once over all pairs before them.

    Args:
        model, shape, is_plain: As :func:`rewardlab.training.bench_steps.bench_trunk`.
        work: How much of what.
        settings: Further configuration, dotted keys.
    Returns:
        As :func:`rewardlab.training.bench_grpo.bench_grpo`; ``phases`` has ``reference``, a step's share, and
        ``update``.
    """
    trunk = bench_trunk(model, shape, is_plain=is_plain)
    given = {"dpo.steps": work.steps + 1, "dpo.batch": work.batch, "dpo.micro_batch": work.micro, **(settings or {})}
    number = work.batch * (work.steps + 1)
    rows = random_rows(number, work.prompt_len + 2 * work.response_len, trunk)
    trainer = PreferenceTrainer(
        methods.get("dpo"),
        trunk,
        [EncodedPair(_PAIR, ids, ids) for ids in rows],
        config_of(model, given),
        Silent(),
        new_folder(),
    )
    first, second = work.prompt_len, work.prompt_len + work.response_len
    trainer.rows = [PairRow(ids[:first], ids[first:second], ids[second:]) for ids in rows]
    clock, before = Clock(trunk.device), time.process_time()
    with clock.phase("reference"):
        trainer.reference = Reference.computed(trainer.actor, trainer.rows, work.micro)
    once = clock.seconds["reference"] / (work.steps + 1), (time.process_time() - before) / (work.steps + 1)
    seconds = timed(trainer.step, work.steps)
    phases = {"reference": once[0], "update": median(clock for clock, _ in seconds)}
    whole = [(clock + once[0], cpu + once[1]) for clock, cpu in seconds]
    return figures(trunk, work, whole, trainer.method.section(trainer.run_config).beta, phases)
