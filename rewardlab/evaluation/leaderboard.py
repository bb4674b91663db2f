"""What the servers of GLUE and SuperGLUE would score, where the rows of a submission have gold labels.

Test labels are the servers'. Rows with labels are those of a validation file in the place of a test file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from rewardlab.evaluation.submission import Answers, Benchmark, OfficialFile
from rewardlab.metrics import encode, measure
from rewardlab.tasks.task import tasks
from rewardlab.types import Example

_MNLI = "MNLI"
METRICS: Mapping[Benchmark, Mapping[str, tuple[str, ...]]] = {
    "glue": {
        "CoLA.tsv": ("matthews",),
        "SST-2.tsv": ("accuracy",),
        "MRPC.tsv": ("f1", "accuracy"),
        "STS-B.tsv": ("pearson", "spearman"),
        "QQP.tsv": ("f1", "accuracy"),
        "MNLI-m.tsv": ("accuracy",),
        "MNLI-mm.tsv": ("accuracy",),
        "QNLI.tsv": ("accuracy",),
        "RTE.tsv": ("accuracy",),
        "WNLI.tsv": ("accuracy",),
        "AX.tsv": ("matthews",),
    },
    "superglue": {
        "BoolQ.jsonl": ("accuracy",),
        "CB.jsonl": ("macro_f1", "accuracy"),
        "COPA.jsonl": ("accuracy",),
        "MultiRC.jsonl": ("f1", "exact_match"),
        "ReCoRD.jsonl": ("token_f1", "exact_match"),
        "RTE.jsonl": ("accuracy",),
        "WiC.jsonl": ("accuracy",),
        "WSC.jsonl": ("accuracy",),
        "AX-b.jsonl": ("matthews",),
        "AX-g.jsonl": ("parity", "accuracy"),
    },
}
"""Official file -> what the leaderboard shows of it (Wang et al. 2019, table 1, and 2020, table 1)."""
_NOT_COUNTED = frozenset({"AX.tsv", "AX-b.jsonl", "AX-g.jsonl"})


def scores_of(
    benchmark: Benchmark, file: OfficialFile, rows: Sequence[Example], answers: Answers
) -> dict[str, float] | None:
    """The metrics of one file, from -1 or 0 to 1; None where some row has no gold label.

    Args:
        benchmark: Whose file.
        file: Which.
        rows: All its rows, ids as the answers name them.
        answers: Index -> label.
    """
    if not rows or any(row.label is None for row in rows):
        return None
    task = tasks.get(file.task)
    gold = [row.label for row in rows if row.label is not None]
    given = [answers[row.id] for row in rows]
    groups = None if task.group is None else [task.group(row.fields) for row in rows]
    return {name: measure(name, encode(name, gold, given, task, groups)) for name in METRICS[benchmark][file.name]}


def counted_tasks(benchmark: Benchmark) -> tuple[tuple[str, ...], ...]:
    """The files of each task that counts in the score: MNLI has two, diagnostic sets none."""
    files = [name for name in METRICS[benchmark] if name not in _NOT_COUNTED]
    grouped: dict[str, list[str]] = {}
    for name in files:
        grouped.setdefault(_MNLI if name.startswith(_MNLI) else name, []).append(name)
    return tuple(map(tuple, grouped.values()))


def score(benchmark: Benchmark, scores: Mapping[str, Mapping[str, float]]) -> float | None:
    """The one number of the leaderboard: mean over tasks of the mean of their metrics; None where a file is missing.

    Example:
        SuperGLUE's BERT-large, as its leaderboard prints it (69.0):

        >>> values = [[77.4], [75.7, 83.6], [70.6], [70.0, 24.0], [72.0, 71.3], [71.7], [69.6], [64.4]]
        >>> names = [name for (name,) in counted_tasks("superglue")]
        >>> bert = {name: dict(zip("ab", each)) for name, each in zip(names, values)}
        >>> round(score("superglue", bert), 1)
        69.0
    """
    counted = counted_tasks(benchmark)
    if any(name not in scores for names in counted for name in names):
        return None
    return fmean(fmean(fmean(scores[name].values()) for name in names) for names in counted)
