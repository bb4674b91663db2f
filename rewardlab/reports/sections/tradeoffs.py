"""Pictures of what accuracy costs: against KL, against time and labels; and of rationale quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev

from rewardlab.comparison.evaluations import CellData, Position
from rewardlab.comparison.grid import Source, all_sources
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.table import COSTS, ComparisonTable, Row, headline
from rewardlab.reports.charts import Bar, Dot, Panel, Picture
from rewardlab.reports.plots import KL, CurveRun, drawn_rows, legend

LAST_STEPS = 5
"""Logged steps at the end of training whose KL is averaged."""
KL_LABEL = "KL to the reference at the end, nats per response"
COST_LABELS = {
    "seconds": "seconds of one seed",
    "gold_labels": "gold labels read",
    "annotator_calls": "calls of the annotator",
}


def kl_picture(table: ComparisonTable, curves: Sequence[CurveRun], colours: Mapping[str, int]) -> Picture | None:
    """Accuracy over the KL at the end of training, a panel a decoding; None when no evaluated method logged KL."""
    reached = final_kl(curves)
    panels = [_panel(table, decoding, lambda row: reached.get(row.name), colours) for decoding in table.decodings]
    labels = [KL_LABEL] * len(panels)
    return _picture("accuracy_kl", "Accuracy against KL to the reference", panels, labels, table, colours)


def cost_picture(table: ComparisonTable, colours: Mapping[str, int]) -> Picture | None:
    """Accuracy over each cost, under the last decoding shown; None when there is nothing to draw."""
    decoding = table.decodings[-1]
    panels = [_panel(table, decoding, _cost(name), colours) for name in reversed(COSTS)]
    titles = [COST_LABELS[name] for name in reversed(COSTS)]
    return _picture("accuracy_cost", "Accuracy against cost", panels, titles, table, colours)


def quality_picture(table: ComparisonTable) -> Picture | None:
    """Mean rationale quality of each method, a panel a column, under the last decoding (after RLLR figure 4)."""
    panels = []
    rows, note = drawn_rows(table)
    for column in table.metrics:
        position = (column, table.decodings[-1])
        bars = [bar for row in rows if (bar := _quality_bar(row, position)) is not None]
        panels += [Panel(f"{column}, {position[1]}", bars, "rationale quality, %")] if bars else []
    return Picture("rationale_quality", "Rationale quality of each method", panels, [], note) if panels else None


def final_kl(curves: Sequence[CurveRun]) -> dict[str, float]:
    """Method -> mean KL over the last five logged steps of its runs, nats per response."""
    ends: dict[str, list[float]] = {}
    for run in curves:
        if series := run.series.get(KL):
            ends.setdefault(run.method, []).append(fmean([series[step] for step in sorted(series)[-LAST_STEPS:]]))
    return {method: fmean(values) for method, values in ends.items()}


def _cost(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.cost[name]


def _panel(
    table: ComparisonTable, decoding: str, x_of: Callable[[Row], float | None], colours: Mapping[str, int]
) -> Panel:
    position = (headline(table), decoding)
    dots = [
        Dot(row.name, colours[row.name], x, 100 * score.value, 100 * score.low, 100 * score.high, all_sources(row))
        for row in drawn_rows(table)[0]
        if (x := x_of(row)) is not None and (score := row.scores.get(position)) is not None
    ]
    return Panel(f"{position[0]} times 100, {decoding} decoding", dots)


def _picture(
    name: str,
    alt: str,
    panels: Sequence[Panel],
    labels: Sequence[str],
    table: ComparisonTable,
    colours: Mapping[str, int],
) -> Picture | None:
    """The panels that hold a dot."""
    named = zip(panels, labels, strict=True)
    drawn = [Panel(panel.title, panel.marks, label) for panel, label in named if panel.marks]
    shown = {mark.name for panel in drawn for mark in panel.marks if isinstance(mark, Dot)}
    entries = legend((row.name for row in table.rows if row.name in shown), colours)
    return Picture(name, alt, drawn, entries, drawn_rows(table)[1]) if drawn else None


def _quality_bar(row: Row, position: Position) -> Bar | None:
    value = row.summaries.get(position, {}).get("quality")
    if value is None:
        return None
    runs = [run for run in row.runs if position in run.cells]
    sources = [Source(run.path) for run in runs]
    interval = _quality_interval(value, list(row.cells[position].values()))
    return Bar(row.name, [(value, 0)], shown_value(value), interval, sources)


def _quality_interval(value: float, cells: Sequence[CellData]) -> tuple[float, float] | None:
    """One standard deviation over seeds to each side; for one seed, the stored interval over items."""
    stored = [cell.summary["quality"] for cell in cells if isinstance(cell.summary.get("quality"), Mapping)]
    if len(stored) > 1:
        spread = stdev(float(entry["value"]) for entry in stored)
        return value - spread, value + spread
    return (float(stored[0]["low"]), float(stored[0]["high"])) if stored else None
