"""Seconds of each phase of a training step: by the clock, and of the device's own work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up the seconds of named phases; on a GPU it waits for the work that a phase has queued.

    Args:
        device: Where the work runs.

    Attributes:
        seconds: Phase -> seconds by the clock.
        device_seconds: Device seconds of all phases together.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self.device_seconds = 0.0
        self._device = device

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside as ``name``."""
        start, began = now(self._device), device_now(self._device)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + now(self._device) - start
        self.device_seconds += device_now(self._device) - began


def now(device: torch.device) -> float:
    """Seconds on the clock when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def device_now(device: torch.device) -> float:
    """Device seconds: on a CPU this process's processor time, over all threads, elsewhere :func:`now`.

    Other work on a CPU makes the clock run on and leaves processor time nearly as it is, so that budgets stay equal.
    """
    return time.process_time() if device.type == "cpu" else now(device)
