"""Validation inside SFT: when the adapter is measured, and what that costs a run that has a time.

What is measured, and which adapter is kept, stands in ``validation.py``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.models import SamplingConfig, Trunk
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.training.clock import device_now
from rewardlab.training.fitting import sampling_batch
from rewardlab.training.time_limit import TimeLimit
from rewardlab.training.validation import Cadence, Validation
from rewardlab.types import Example

logger = logging.getLogger(__name__)


def sft_validation(
    trunk: Trunk, role: str, config: RunConfig, steps: int, rows: int, validation: Sequence[Example], folder: Path
) -> Validation:
    """What measures the adapter as it trains; off where there is nothing to choose from.

    Args:
        trunk: Carries the role.
        role: What is trained.
        config: Answer format, response budget, batch sizes.
        steps: Optimiser steps in all; ``UNBOUNDED`` where time ends training.
        rows: Rows of an epoch.
        validation: Labelled rows to answer.
        folder: The run folder.
    """
    patience = config.sft.patience
    cadence = Cadence.of_sft(steps, math.ceil(rows / config.sft.batch), patience)
    if cadence.looks == 1:
        validation = ()
    if validation and processes.is_sharded():
        logger.warning("weights in pieces cannot answer validation rows; the last adapter counts, not the best one")
        validation = ()
    sampling = SamplingConfig(config.new_tokens, 0.0, STOP_STRINGS[config.format], sampling_batch(config, trunk))
    return Validation(trunk, validation, cadence, sampling, folder, role, patience)


class Watching(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Measures validation rows when that is due, before a checkpoint of the same step is stored.

    Args:
        validation: What measures.
        limit: The time that ends training; measuring counts as a part of it.
    """

    def __init__(self, validation: Validation, limit: TimeLimit | None) -> None:
        self.validation, self.limit = validation, limit
        self._before = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure, if it is due; the model then trains on as it was."""
        share = self.limit.share if self.limit else 0.0
        if self.validation.is_due(state.global_step, self._before, share):
            device = self.validation.trunk.device
            began = device_now(device)
            self.validation.trunk.model.eval()
            self.validation.look(state.global_step)
            self.validation.trunk.model.train()
            control.should_training_stop = control.should_training_stop or self.validation.is_settled
            if self.limit is not None:
                self.limit.spent += sum(processes.gather(device_now(device) - began))
                control.should_training_stop = control.should_training_stop or self.limit.is_over
        self._before = self.limit.share if self.limit else 0.0

    def go_on(self, checkpoint: Path) -> None:
        """Take the measures from a checkpoint; the limit has its time already."""
        self.validation.reload(checkpoint)
        self._before = self.limit.share if self.limit else 0.0
