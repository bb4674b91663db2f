"""Doing something every so many seconds: lines of progress, checkpoints. Nothing that a run computes depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable

from rewardlab import processes


class Interval:
    """Says when so many seconds have passed since it was made or restarted.

    Args:
        seconds: How many; None: they never pass.
        now: The clock, seconds.
    """

    def __init__(self, seconds: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._now = seconds, now
        self._since = now()

    @property
    def is_over(self) -> bool:
        """True when the seconds have passed."""
        return self._seconds is not None and self._now() - self._since >= self._seconds

    @property
    def is_over_for_all(self) -> bool:
        """The same in all processes of a run, by the clock of the main one; all of them ask."""
        return processes.gather(self.is_over)[0]

    def restart(self) -> None:
        """Count from now on."""
        self._since = self._now()
