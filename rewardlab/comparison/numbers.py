"""How numbers are printed: values, intervals, differences in points, p-values."""

from __future__ import annotations

from rewardlab.comparison.statistics import Estimate
from rewardlab.intervals import SIGNIFICANT

SMALL_P = 0.001
"""Smaller p-values are printed as smaller than this."""


def p_text(p: float) -> str:
    """A p-value as sentences print it.

    >>> p_text(0.00012), p_text(0.0478)
    ('p < 0.001', 'p = 0.048')
    """
    return f"p {p_number(p)}" if p < SMALL_P else f"p = {p_number(p)}"


def p_number(p: float) -> str:
    """A p-value as tables print it; never 0.050 for one that is below.

    >>> p_number(0.00012), p_number(0.0478), p_number(0.04996)
    ('< 0.001', '0.048', '0.0500')
    """
    if p < SMALL_P:
        return f"< {SMALL_P}"
    return f"{p:.3f}" if f"{p:.3f}" != "0.050" or p == SIGNIFICANT else f"{p:.4f}"


def points(value: float) -> str:
    """A signed difference in points.

    >>> points(-0.0123)
    '−1.2'
    """
    text = f"{100 * value:+.1f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def points_interval(size: Estimate) -> str:
    """The interval of a difference, signed."""
    return f"[{points(size.low)}, {points(size.high)}]"


def shown_value(value: float) -> str:
    """A metric as tables print it: times 100, one decimal, never ``-0.0``.

    >>> shown_value(0.87449)
    '87.4'
    """
    return f"{100 * value:.1f}".replace("-0.0", "0.0") if abs(value) < 0.0005 else f"{100 * value:.1f}"


def interval_text(score: Estimate) -> str:
    """The interval as printed, such as ``[85.1, 89.6]``."""
    return f"[{shown_value(score.low)}, {shown_value(score.high)}]"
