"""Where things stand in a chart: how far axes go, and where there is room for a label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

AIR = 5.0
"""Room between a point and its label, in the units of a panel."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, in the units of a panel; ``bottom`` counts upwards."""

    left: float
    bottom: float
    width: float
    height: float


def overlapping(a: Box, b: Box) -> bool:
    """Whether two boxes share more than an edge.

    >>> overlapping(Box(0, 0, 2, 2), Box(1, 1, 2, 2)), overlapping(Box(0, 0, 2, 2), Box(2, 0, 2, 2))
    (True, False)
    """
    return (
        a.left < b.left + b.width
        and b.left < a.left + a.width
        and a.bottom < b.bottom + b.height
        and b.bottom < a.bottom + a.height
    )


def free_place(point: tuple[float, float], width: float, height: float, taken: Sequence[Box], room: Box) -> Box | None:
    """Where a label fits beside its point without covering anything; None where it does not.

    Args:
        point: The middle of the point.
        width, height: Of the label.
        taken: What must not be covered: points, lines, other labels.
        room: What the label must stay inside.
    Example:
        >>> free_place((50, 50), 30, 10, [Box(44, 44, 12, 12)], Box(0, 0, 100, 100))
        Box(left=61.0, bottom=45.0, width=30, height=10)
    """
    x, y = point
    right, left = x + 6 + AIR, x - 6 - AIR - width
    heights = (y - height / 2, y + AIR, y - AIR - height)
    candidates = [Box(side, bottom, width, height) for bottom in heights for side in (right, left)]
    candidates += [Box(x - width / 2, bottom, width, height) for bottom in (y + 6 + AIR, y - 6 - AIR - height)]
    for box in candidates:
        is_inside = room.left <= box.left and box.left + width <= room.left + room.width
        is_inside = is_inside and room.bottom <= box.bottom and box.bottom + height <= room.bottom + room.height
        if is_inside and not any(overlapping(box, other) for other in taken):
            return box
    return None


FAR = 2.0
"""An interval is far away where its end nearer to 0 is so many times as far from 0 as the median interval reaches."""
WORTH = 2 / 3
"""Intervals far away are left out of an axis where it then needs at most this share of its length."""


def near_range(intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Lowest and highest end around 0; without intervals far away, where these would squeeze the others.

    >>> near_range([(-1.0, 3.0), (-2.0, 2.0), (-33.0, -29.0)]), near_range([(-1.0, 3.0), (-4.0, -3.0)])
    ((-2.0, 3.0), (-4.0, 3.0))
    """
    reach = median(max(abs(low), abs(high)) for low, high in intervals) if intervals else 0.0
    near = [(low, high) for low, high in intervals if low <= 0 <= high or min(abs(low), abs(high)) <= FAR * reach]
    short, whole = ((min([0.0, *lows]), max([0.0, *highs])) for lows, highs in (_ends(near), _ends(intervals)))
    return short if short[1] - short[0] <= WORTH * (whole[1] - whole[0]) else whole


def _ends(intervals: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [low for low, _ in intervals], [high for _, high in intervals]


def axis_range(values: Iterable[float], *, from_zero: bool = False) -> tuple[float, float]:
    """Lowest and highest finite value with some air; never of width 0.

    Args:
        values: What the axis must show.
        from_zero: Without air below zero, where no value is.
    Example:
        >>> axis_range([0.0, 10.0], from_zero=True)
        (0.0, 10.5)
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    air = 0.05 * (high - low) or max(0.05 * abs(high), 0.01)
    return (0.0 if from_zero and 0 <= low <= air else low - air), high + air
