"""Training for a time in place of a number of steps: ends on a whole step; the learning rate follows the time.

Such a run is not repeated to the bit: how many steps fit into a time depends on the machine. What it took is recorded.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback

from rewardlab import processes

UNBOUNDED = 10**9
"""Optimiser steps at most, where time is what ends training."""


class TimeLimit(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Ends training when its steps have taken so many device seconds; time between steps (checkpoints) is free.

    Args:
        seconds: The limit; of several processes the seconds are added up.
        warmup: Share of the time until the peak learning rate.
        device: Where the work runs.
    """

    def __init__(self, seconds: float, warmup: float, device: torch.device) -> None:
        self.spent = 0.0
        self._seconds, self._warmup, self._device = seconds, warmup, device
        self._began = 0.0

    @property
    def is_over(self) -> bool:
        """True when no further step may begin."""
        return self.spent >= self._seconds

    def factor(self) -> float:
        """Learning rate as a share of its peak: linear warm-up, then a cosine down to 0 when the time is over."""
        share = min(1.0, self.spent / self._seconds)
        if share < self._warmup:
            return share / self._warmup
        return 0.5 * (1 + math.cos(math.pi * (share - self._warmup) / (1 - self._warmup)))

    def scheduler(self, optimizer: torch.optim.Optimizer) -> LambdaLR:
        """A schedule that asks :meth:`factor` after each step, and stores nothing of this object in a checkpoint."""
        return LambdaLR(optimizer, lambda step: self.factor())

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the watch."""
        self._began = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the watch; all processes end in the same step."""
        self.spent += sum(processes.gather(self._now() - self._began))
        control.should_training_stop = control.should_training_stop or self.is_over

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
