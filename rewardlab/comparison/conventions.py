"""Which metrics make the one number of a column, under the two published conventions.

``rllr``: Pearson for STS-B, accuracy elsewhere. ``ppo-nlu``: Spearman for STS-B, F1 for QQP and MRPC; a task with
macro-F1 beside accuracy (CB) counts the mean of the two before anything else is averaged (table 3). Matthews for
CoLA in both. MNLI-m and MNLI-mm are two columns of the average in both: RLLR's printed averages are over nine.
PPO-NLU's are without WNLI and the diagnostic sets: table 1 says so of WNLI and AX, and the numbers of table 3 are the
means of its columns without AXb and AXg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from rewardlab.errors import UnknownNameError

Convention = Literal["rllr", "ppo-nlu"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

_PREFERENCES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "rllr": (("pearson",), ("matthews",), ("accuracy",)),
    "ppo-nlu": (("spearman",), ("f1",), ("matthews",), ("macro_f1", "accuracy"), ("accuracy",)),
}
_LEFT_OUT: Mapping[str, frozenset[str]] = {"rllr": frozenset(), "ppo-nlu": frozenset({"wnli", "axb", "axg"})}
_NAMES = {
    "accuracy": "acc.",
    "f1": "F1",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "sample_f1": "sample-F1",
    "balanced_accuracy": "balanced acc.",
    "matthews": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
}


def scored_metrics(convention: str, measured: Sequence[str]) -> tuple[str, ...]:
    """The metrics whose mean is the column's number.

    Args:
        convention: ``rllr`` or ``ppo-nlu``.
        measured: What the task measures, the main one first; it is used when the convention names none of them.
    Raises:
        UnknownNameError: No such convention.
    Example:
        >>> scored_metrics("ppo-nlu", ["accuracy", "f1"])
        ('f1',)
    """
    _check(convention)
    for metrics in _PREFERENCES[convention]:
        if set(metrics) <= set(measured):
            return metrics
    return (measured[0],)


def averaged_columns(convention: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that count in the average, in their order.

    Raises:
        UnknownNameError: No such convention.
    Example:
        >>> averaged_columns("ppo-nlu", ["cola", "wnli", "rte", "axb"])
        ('cola', 'rte')
    """
    _check(convention)
    return tuple(column for column in columns if column not in _LEFT_OUT[convention])


def metric_title(metrics: Sequence[str]) -> str:
    """How a table names them."""
    return "/".join(_NAMES.get(metric, metric) for metric in metrics)


def _check(convention: str) -> None:
    if convention not in _PREFERENCES:
        raise UnknownNameError("convention", convention, CONVENTIONS)
