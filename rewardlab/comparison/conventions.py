"""Which metrics make the one number of a column, and what is averaged, under three published conventions.

``rllr``: Pearson for STS-B, accuracy elsewhere. ``ppo-nlu``: Spearman for STS-B, F1 for QQP and MRPC. MNLI-m and
MNLI-mm are two columns of the average in both: RLLR's printed averages are over nine. PPO-NLU's are without WNLI and
the diagnostic sets: table 1 says so of WNLI and AX, and the numbers of table 3 are the means of its columns without AXb
and AXg.

``leaderboard``: the scores of the servers of GLUE and SuperGLUE. A task counts the mean of its metrics (F1 and accuracy
of QQP and MRPC, both correlations of STS-B), MNLI-m and MNLI-mm are one task, WNLI counts and diagnostic sets do not.

Matthews for CoLA in all. Under ``ppo-nlu`` and ``leaderboard`` CB counts the mean of macro-F1 and accuracy, MultiRC and
ReCoRD of F1 and exact match, AX-g of gender parity and accuracy (table 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from rewardlab.errors import UnknownNameError

Convention = Literal["rllr", "ppo-nlu", "leaderboard"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

_OF_SUPERGLUE = (("macro_f1", "accuracy"), ("token_f1", "exact_match"), ("parity", "accuracy"))
_PREFERENCES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "rllr": (("pearson",), ("matthews",), ("accuracy",), ("exact_match",)),
    "ppo-nlu": (("spearman",), ("f1", "exact_match"), ("f1",), ("matthews",), *_OF_SUPERGLUE, ("accuracy",)),
    "leaderboard": (
        ("pearson", "spearman"),
        ("f1", "exact_match"),
        ("f1", "accuracy"),
        ("matthews",),
        *_OF_SUPERGLUE,
        ("accuracy",),
    ),
}
_DIAGNOSTICS = frozenset({"axb", "axg"})
_LEFT_OUT: Mapping[str, frozenset[str]] = {
    "rllr": frozenset(),
    "ppo-nlu": _DIAGNOSTICS | {"wnli"},
    "leaderboard": _DIAGNOSTICS,
}
_ONE_TASK: Mapping[str, Mapping[str, str]] = {"leaderboard": {"mnli-mm": "mnli"}}
"""Convention -> column -> the column that it makes one task with."""
_NAMES = {
    "accuracy": "acc.",
    "f1": "F1",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "sample_f1": "sample-F1",
    "balanced_accuracy": "balanced acc.",
    "matthews": "Matthews",
    "exact_match": "EM",
    "token_f1": "F1",
    "parity": "parity",
    "pearson": "Pearson",
    "spearman": "Spearman",
}


def scored_metrics(convention: str, measured: Sequence[str]) -> tuple[str, ...]:
    """The metrics whose mean is the column's number.

    Args:
        convention: One of :data:`CONVENTIONS`.
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


def averaged_tasks(convention: str, columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The columns of each task that counts in the average, which is the mean over tasks of their columns' means.

    Raises:
        UnknownNameError: No such convention.
    Example:
        >>> averaged_tasks("leaderboard", ["mnli", "mnli-mm", "rte", "axb"])
        (('mnli', 'mnli-mm'), ('rte',))
    """
    tasks: dict[str, list[str]] = {}
    for column in averaged_columns(convention, columns):
        tasks.setdefault(_ONE_TASK.get(convention, {}).get(column, column), []).append(column)
    return tuple(map(tuple, tasks.values()))


def metric_title(metrics: Sequence[str]) -> str:
    """How a table names them."""
    return "/".join(_NAMES.get(metric, metric) for metric in metrics)


def _check(convention: str) -> None:
    if convention not in _PREFERENCES:
        raise UnknownNameError("convention", convention, CONVENTIONS)
