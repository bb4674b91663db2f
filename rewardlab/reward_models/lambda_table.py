"""The sweep over lambda as a table, and a label RM's stored quantiles and z-scores as another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.numbers import shown_value
from rewardlab.intervals import Interval
from rewardlab.reward_models.lambda_sweep import Row

SHOWN = ("q1", "q5", "q10", "q25", "q50", "q75", "q90", "q95", "q99")


def sweep_table(rows: Sequence[Row]) -> str:
    """A line a lambda; shares and qualities times 100."""
    titles = ("total", "λ", "saturated", "accuracy", "rationale quality", "mean r2")
    headings = [Heading(title, is_number=place > 0) for place, title in enumerate(titles)]
    return markdown_grid(Grid(headings, [_line(row) for row in rows]))


def sweep_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The same as rows of plain values, shares of 1; None where nothing measures one."""
    return [
        {
            "name": row.name,
            "lambda": row.lam,
            "saturated": row.saturation,
            **_flat("accuracy", row.accuracy),
            **_flat("quality", row.quality),
            "r2": row.r2,
        }
        for row in rows
    ]


def calibration_table(stored: Mapping[str, Any]) -> str:
    """What ``--lambda`` can name, on the raw scale: quantiles and z-scores of ``sft_scores.json``."""
    named = {name: stored["quantiles"][name] for name in SHOWN} | dict(stored["zscores"])
    headings = [Heading("λ"), Heading("raw score", is_number=True)]
    return markdown_grid(Grid(headings, [[Cell(name), Cell(f"{value:.3f}")] for name, value in named.items()]))


def _flat(name: str, found: Interval | None) -> dict[str, float | None]:
    value, low, high = (None, None, None) if found is None else (found.value, found.low, found.high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _line(row: Row) -> list[Cell]:
    return [
        Cell(row.name if row.lam is None else f"min(r1, {row.name}) + r2"),
        Cell(MISSING if row.lam is None else f"{row.lam:.3f}"),
        Cell(MISSING if row.saturation is None else shown_value(row.saturation)),
        _interval(row.accuracy),
        _interval(row.quality),
        Cell(f"{row.r2:.3f}"),
    ]


def _interval(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell(MISSING)
    return Cell(shown_value(interval.value), f"[{shown_value(interval.low)}, {shown_value(interval.high)}]")
