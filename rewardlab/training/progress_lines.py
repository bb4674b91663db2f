"""Progress as lines, for output that is no terminal: SLURM, nohup, CI, a pipe.

A line is written when a step or a row ends and :data:`SECONDS` have passed since the line before, so that a short stage
writes none. A stage that has written one writes where it ended too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from rewardlab import processes
from rewardlab.training.interval import Interval
from rewardlab.training.progress import SHOWN

SECONDS = 30.0
"""Between two lines of a stage."""

Say = Callable[[str], None]
Now = Callable[[], float]


class Draw(Protocol):
    """Writes a line in place of the one before."""

    def __call__(self, line: str, *, is_last: bool = False) -> None:
        """``is_last``: the next line stands below this one."""
        ...


class _Lines:
    """How far something is, how fast it was since it began here, and whether a line is due.

    Args:
        say: Takes a line.
        now: The clock, seconds.
        total: How much there is to do; 0: unknown.
        done: What was done before.
    """

    def __init__(self, say: Say, now: Now, total: int, done: int) -> None:
        self._say, self._now = say, now
        self._total, self._first, self.done = total, done, done
        self._began, self._due = now(), Interval(SECONDS, now)
        self._told: int | None = None

    def reach(self, done: int, text: str, more: str = "") -> None:
        """So much is done; ``text`` says what, ``more`` stands behind the numbers."""
        self.done = done
        has_ended = self._told not in (None, done) and 0 < self._total <= done
        if self._due.is_over or has_ended:
            self.tell(text, more)

    def end(self, text: str, more: str = "") -> None:
        """Write where it ended, if lines were written and the last one does not say so."""
        if self._told not in (None, self.done):
            self.tell(text, more)

    def tell(self, text: str, more: str) -> None:
        of = f" of {self._total}" if self._total else ""
        parts = [f"{text} {self.done}{of}", more, self._left()]
        self._say(", ".join(part for part in parts if part))
        self._told = self.done
        self._due.restart()

    def _left(self) -> str:
        """The time that the rest takes at the mean pace so far."""
        made, rest = self.done - self._first, self._total - self.done
        return f"about {duration((self._now() - self._began) / made * rest)} left" if made > 0 and rest > 0 else ""


class LineRecorder:
    """A :class:`~rewardlab.training.progress.Recorder` that writes lines: step, metrics that matter, time left.

    Args:
        head: Begins each line: which stage it is.
        say: Takes a line.
        shown: Metric name -> short name; metrics that a stage does not emit are left out.
        now: The clock, seconds.
    """

    def __init__(self, head: str, say: Say, shown: Mapping[str, str] = SHOWN, now: Now = time.monotonic) -> None:
        self._head, self._say, self._shown, self._now = f"{head}: step", say, shown, now
        self._lines: _Lines | None = None
        self._texts = ""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Start the watch."""
        self._lines, self._texts = _Lines(self._say, self._now, total, done), ""

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a line when one is due."""
        if self._lines is not None:
            shown = (f"{short} {metrics[name]:.3g}" for name, short in self._shown.items() if name in metrics)
            self._texts = ", ".join(shown)
            self._lines.reach(step, self._head, self._texts)

    def finish(self) -> None:
        """Write a last line where there were others."""
        if self._lines is not None:
            self._lines.end(self._head, self._texts)
        self._lines = None


class InPlaceRecorder:
    """A :class:`~rewardlab.training.progress.Recorder` that draws one line anew at each step, as notebooks can.

    Args:
        head: Begins the line: which stage it is.
        draw: Takes a line that the next one takes the place of, and ``is_last`` for one that stays.
        shown: Metric name -> short name; metrics that a stage does not emit are left out.
    """

    def __init__(self, head: str, draw: Draw, shown: Mapping[str, str] = SHOWN) -> None:
        self._head, self._draw, self._shown = head, draw, shown
        self._total = 0
        self._line = ""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Take the number of steps, for the lines to come."""
        self._total, self._line = total, ""

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """Draw the line anew; blanks cover what a longer one has left."""
        if not processes.is_main():
            return
        of = f" of {self._total}" if self._total else ""
        shown = (f"{short} {metrics[name]:.3g}" for name, short in self._shown.items() if name in metrics)
        line = ", ".join([f"{self._head}: step {step}{of}", *shown])
        self._draw(line.ljust(len(self._line)))
        self._line = line

    def finish(self) -> None:
        """Leave the last line."""
        if self._line:
            self._draw(self._line, is_last=True)
        self._line = ""


class CountLines:
    """Lines for stages that count rows: called with (what, done, total). A count that begins again is another one.

    Args:
        head: Begins each line: which stage it is.
        say: Takes a line.
        now: The clock, seconds.
    """

    def __init__(self, head: str, say: Say, now: Now = time.monotonic) -> None:
        self._head, self._say, self._now = head, say, now
        self._lines: _Lines | None = None
        self._total = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Write a line when one is due."""
        if self._lines is None or total != self._total or done < self._lines.done:
            self._lines, self._total = _Lines(self._say, self._now, total, done), total
        self._lines.reach(done, f"{self._head}: {what},")


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(44.6), duration(150), duration(7500)
    ('45 s', '3 min', '2 h 5 min')
    """
    if round(seconds) < 90:
        return f"{round(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
