"""Training for a time in place of a number of steps: ends on a whole step; the learning rate follows the time.

Such a run is not repeated to the bit: how many steps fit into a time depends on the machine. What it took is recorded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback

from rewardlab import processes
from rewardlab.training.clock import device_now
from rewardlab.training.schedule import factor_at


class TimeLimit(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Ends training when its steps have taken so many device seconds; time between steps (checkpoints) is free.

    Measuring validation rows is not free: whoever does it adds to ``spent``.

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

    @property
    def share(self) -> float:
        """The part of the time that is spent."""
        return self.spent / self._seconds

    def factor(self) -> float:
        """Learning rate as a share of its peak: linear warm-up, then a cosine down to 0 when the time is over."""
        return factor_at(self.share, self._warmup, 0.0)

    def scheduler(self, optimizer: torch.optim.Optimizer) -> LambdaLR:
        """A schedule that asks :meth:`factor` after each step, and stores nothing of this object in a checkpoint."""
        return LambdaLR(optimizer, lambda step: self.factor())

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the watch."""
        self._began = self._now()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the watch, before the learning rate of the next step is set; all processes end in the same step."""
        self.spent += sum(processes.gather(self._now() - self._began))
        control.should_training_stop = control.should_training_stop or self.is_over

    def _now(self) -> float:
        return device_now(self._device)
