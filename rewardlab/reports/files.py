"""The files that ``rewardlab compare --out`` leaves: the table in three formats, its differences, in other measures
too, and PPO curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rewardlab.comparison.difference_text import gain_row
from rewardlab.comparison.differences import Gain, rivals_of
from rewardlab.comparison.frames import csv_text, frame
from rewardlab.comparison.grid import to_markdown
from rewardlab.comparison.latex import to_latex
from rewardlab.comparison.related import method_names, related
from rewardlab.comparison.table import ComparisonTable
from rewardlab.judge.verdicts import load_judged
from rewardlab.reports.charts import write_picture
from rewardlab.reports.plots import colours_of, curves_picture, load_curves
from rewardlab.reports.rivals import measure_gains, measures_note, write_measures
from rewardlab.runs import write_atomic


def write_comparison(table: ComparisonTable, found: Sequence[Gain], given: Iterable[Path], folder: Path) -> list[Path]:
    """Write table.md, table.tex, table.csv, differences.csv, measures.csv; reward_curves.svg where a PPO log is found.

    Args:
        table: What to write.
        found: Its paired differences; without any, differences.csv is left out. measures.csv is about the same rivals,
            and left out where nothing but the table's numbers was measured.
        given: The paths the user named; a PPO run among them, or evaluated by one of them, is drawn.
        folder: Where to; made when missing.
    Returns:
        The files written.
    """
    evals = [run for row in table.rows for run in row.runs]
    curves = load_curves(related(evals, given).trained, method_names(table))
    picture = curves_picture(curves, colours_of(run.method for run in curves))
    measures = measure_gains(table, rivals_of(found), load_judged(evals))
    tables = [*write_tables(table, folder), *([write_differences(found, folder)] if found else [])]
    tables += [write_measures(measures, folder)] if measures_note(measures) else []
    return [*tables, *([write_picture(picture, folder)] if picture is not None else [])]


def write_tables(table: ComparisonTable, folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.tex`` and ``table.csv``; returns their paths."""
    texts = {"table.md": to_markdown(table), "table.tex": to_latex(table), "table.csv": csv_text(frame(table))}
    for name, text in texts.items():
        write_atomic(folder / name, text)
    return [folder / name for name in texts]


def write_differences(found: Sequence[Gain], folder: Path) -> Path:
    """Write ``differences.csv``: one line a comparison, with interval, tests, effect size and sentence."""
    import polars

    path = folder / "differences.csv"
    write_atomic(path, csv_text(polars.DataFrame([gain_row(gain) for gain in found], infer_schema_length=None)))
    return path
