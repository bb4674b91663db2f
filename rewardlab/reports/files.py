"""The files that ``rewardlab compare --out`` leaves: the table in three formats, its differences, PPO curves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rewardlab.reports.differences import Gain, gain_row
from rewardlab.reports.plots import draw_curves, load_curves
from rewardlab.reports.render import write_tables
from rewardlab.reports.table import ComparisonTable
from rewardlab.runs import write_atomic

LOG = "metrics.jsonl"


def write_comparison(table: ComparisonTable, found: Sequence[Gain], given: Iterable[Path], folder: Path) -> list[Path]:
    """Write table.md, table.tex, table.csv, differences.csv, and reward_curves.png when a PPO log is found.

    Args:
        table: What to write.
        found: Its paired differences; without any, differences.csv is left out.
        given: The paths the user named; a PPO run among them, or evaluated by one of them, is drawn.
        folder: Where to; made when missing.
    Returns:
        The files written.
    """
    evals = [run for row in table.rows for run in row.runs]
    logs = dict.fromkeys(path.resolve() for path in [*given, *_trained(table)] if (path / LOG).exists())
    curves = draw_curves(load_curves(logs, evals), folder / "reward_curves.png")
    tables = [*write_tables(table, folder), *([write_differences(found, folder)] if found else [])]
    return [*tables, *([curves] if curves is not None else [])]


def write_differences(found: Sequence[Gain], folder: Path) -> Path:
    """Write ``differences.csv``: one line a comparison, with interval, tests, effect size and sentence."""
    import polars

    path = folder / "differences.csv"
    write_atomic(path, polars.DataFrame([gain_row(gain) for gain in found], infer_schema_length=None).write_csv())
    return path


def _trained(table: ComparisonTable) -> Iterator[Path]:
    """Folders of the evaluated runs: as stored, or beside the evaluation when the runs were moved."""
    for row in table.rows:
        for run in row.runs:
            if run.model_run is not None:
                yield run.model_run
                yield run.path.parent / run.model_run.name
                yield run.path.parent.parent / run.model_run.parent.name / run.model_run.name
