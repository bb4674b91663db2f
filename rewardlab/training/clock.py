"""Seconds of each phase of a training step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up the seconds of named phases; on a GPU it waits for the work that a phase has queued.

    Args:
        device: Where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside as ``name``."""
        start = now(self._device)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + now(self._device) - start


def now(device: torch.device) -> float:
    """Seconds on the clock when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
