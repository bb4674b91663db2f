"""What the benches of GRPO and DPO share: the model, the configuration, the clock, and the figures that are printed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rewardlab.config import ModelConfig, RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.models import Trunk
from rewardlab.training.bench import TASK, load_or_make, machine_of, peak_mib


def bench_trunk(model: ModelConfig, shape: str | None, *, is_plain: bool) -> Trunk:
    """The model of a bench.

    Args:
        model: Which model, on which device, in which dtype.
        shape: Take a model of this shape with random weights instead; a name in ``models.shapes``.
        is_plain: Read whole rows, a prompt once for each of its responses.
    """
    trunk = load_or_make(model, shape)
    trunk.shares_prompts = False if is_plain else trunk.shares_prompts
    return trunk


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


def figures(
    trunk: Trunk, work: Any, seconds: Sequence[tuple[float, float]], beta: float, phases: Mapping[str, float]
) -> dict[str, Any]:
    """What was run, medians of seconds and CPU seconds, the seconds of each phase, and the peak memory."""
    return {
        **machine_of(trunk),
        **asdict(work),
        "sec_per_step": round(median(clock for clock, _ in seconds), 3),
        "cpu_sec_per_step": round(median(cpu for _, cpu in seconds), 3),
        "peak_mib": round(peak_mib(trunk.device)),
        "shares_prompts": trunk.shares_prompts,
        "beta": beta,
        "phases": {name: round(spent, 3) for name, spent in phases.items()},
    }
