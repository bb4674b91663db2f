"""How many stages are built side by side, and with how many threads: ``--jobs auto`` goes by processors and memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.config import ModelConfig
from rewardlab.errors import InputError, ModelError
from rewardlab.models.names import find_model, resolve_device
from rewardlab.pipeline.stage import Stage

AUTO = "auto"
PROCESS_BYTES = 1 << 30
"""A process that trains, apart from its weights: libraries take half of it, activations of a small model the rest."""
TIMES_WEIGHTS = 4
"""Memory for a model's weights, as a multiple of its files: copies while an adapter is merged, gradients, roles."""
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to share: processors that this process may use, and bytes of memory that it can still take."""

    processors: int
    free_bytes: int

    @classmethod
    def here(cls) -> Machine:
        """This machine now, or what a container leaves of it."""
        from rewardlab.container_limits import usable_memory, usable_processors

        return cls(usable_processors(), usable_memory())


def read_jobs(text: str) -> int | None:
    """``--jobs`` as typed; None is auto.

    Raises:
        InputError: It is neither that nor a number from 1 on.

    >>> read_jobs("2"), read_jobs("auto")
    (2, None)
    """
    if text == AUTO:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise InputError(f"--jobs {text}: expected {AUTO}, or a number from 1 on")
    return int(text)


def check_jobs(jobs: object) -> None:
    """Refuse a number of jobs, given in Python, that is none from 1 on; None is auto. Raises InputError."""
    if jobs is not None and (not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1):
        raise InputError(f"jobs = {jobs!r}: expected None, or a whole number from 1 on")


def jobs_for(stages: Sequence[Stage], machine: Machine | None = None) -> int:
    """How many stages ``auto`` builds side by side: one for each processor, as long as memory lasts.

    Args:
        stages: Those that are not finished.
        machine: Default: this one.
    Returns:
        At least 1. It is 1 on a GPU, for a model whose size is not known, and where a budget for an annotator must be
        kept, which one process alone can do.
    """
    needs = [bytes_needed(stage.config) for stage in stages]
    if not needs or None in needs or any(map(keeps_budget, stages)):
        return 1
    found = machine or Machine.here()
    most = max(need for need in needs if need is not None)
    return max(1, min(found.processors, found.free_bytes // most, len(stages)))


def keeps_budget(stage: Stage) -> bool:
    """Whether building it would spend what ``annotate.budget_usd`` limits."""
    return stage.config.get("annotate", {}).get("budget_usd") is not None and stage.preview() is not None


def share_processors(asked: int | None, jobs: int) -> None:
    """One thread a process, here and in the processes that are started, unless ``OMP_NUM_THREADS`` says otherwise.

    Where ``auto`` leaves one process it keeps all processors: nothing runs beside it. A number gets one thread each
    even if it is 1, so that results do not depend on it: sums over several threads differ in their last bits.

    Args:
        asked: As :func:`read_jobs` read it.
        jobs: How many there will be.
    """
    if asked is not None or jobs > 1:
        os.environ.setdefault(THREADS, "1")


def bytes_needed(config: Mapping[str, Any]) -> int | None:
    """Memory of a process that builds a stage; None where a GPU's memory counts, or the size is not known."""
    if "model" not in config:
        return PROCESS_BYTES
    model = ModelConfig.model_validate(config["model"])
    try:
        source = find_model(model.name, unpack=False)
        on_cpu = resolve_device(model.device) == "cpu"
    except ModelError:
        return None
    if not (source.is_local and on_cpu):
        return None
    files = [*Path(source.location).glob("*.safetensors"), *Path(source.location).glob("*.bin")]
    return PROCESS_BYTES + TIMES_WEIGHTS * sum(file.stat().st_size for file in files) if files else None
