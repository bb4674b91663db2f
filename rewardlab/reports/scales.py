"""Axes of charts: how far they go, and where data and round numbers stand on them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Data -> units along one axis."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Place of ``value``; the two ends of the axis are ``low`` and ``high``."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def axis_range(values: Iterable[float], *, from_zero: bool = False) -> tuple[float, float]:
    """Lowest and highest finite value with some air; never of width 0.

    Args:
        values: What the axis must show.
        from_zero: Without air below zero, where no value is.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    air = 0.05 * (high - low) or max(0.05 * abs(high), 0.01)
    return (0.0 if from_zero and 0 <= low <= air else low - air), high + air


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers in [low, high], a step of 1, 2 or 5 times a power of ten apart.

    >>> ticks(0.0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= rough * 0.8)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def number_text(value: float) -> str:
    """A tick's number, as short as it can be.

    >>> number_text(0.30000000000000004), number_text(12000.0)
    ('0.3', '12000')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
