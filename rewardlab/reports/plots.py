"""Pictures: reward curves over PPO steps, the saturation of lambda, the mix of pair kinds; and the logs behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardlab.comparison.grid import Source
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.runs import LOGGED, LeftOut
from rewardlab.comparison.table import ComparisonTable, Row, headline
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import RewardlabError
from rewardlab.reports.charts import COLOURS, OTHER, Bar, Line, Panel, Picture

SCORE, PART, GOLD, KL = "reward/score", "reward/part/", "reward/gold_accuracy", "policy/kl"
SATURATION = "reward/lambda_saturation"
MOST_DRAWN = 30
"""Methods in one chart."""
POINTS = 150
"""Points of a curve; longer ones are means over stretches of steps."""
PAIR_KINDS = {"rationale_sensitive": 0, "label_sensitive": 1, "malformed": OTHER}
"""Kind of a pair of samples, as manifests of pairs call it -> its colour."""
TITLES = {
    SCORE: "trained reward, mean score",
    GOLD: "accuracy against gold (monitored, not trained on)",
    KL: "KL to the reference (nats per response)",
    SATURATION: "share of responses with r₁ at or above λ",
}


@dataclass(frozen=True, eq=False)
class CurveRun:
    """The log of one PPO run.

    Attributes:
        method: Its name in tables; runs of one method differ in seed only.
        series: Metric -> step -> value; steps without a value are absent.
    """

    path: Path
    method: str
    series: Mapping[str, Mapping[int, float]]


def load_curves(paths: Iterable[Path], names: Mapping[str, str], left_out: LeftOut = LOGGED) -> list[CurveRun]:
    """Read the logs of PPO runs; unreadable ones are left out.

    Args:
        paths: Run folders.
        names: Name of a run folder -> its method, where an evaluation says so.
        left_out: Takes a line for each that cannot be read.
    """
    runs = []
    for path in paths:
        try:
            runs.append(CurveRun(path, names.get(path.name) or _method(path), _series(path / "metrics.jsonl")))
        except (RewardlabError, KeyError, TypeError, ValueError) as error:
            left_out.add(f"{path}: left out of the curves ({error})")
    return runs


def drawn_rows(table: ComparisonTable) -> tuple[list[Row], str]:
    """The rows that a chart has room for: those with the highest values, in their order; and a note on the others."""
    position = (headline(table), table.decodings[-1])
    values = {row.name: row.scores[position].value for row in table.rows if position in row.scores}
    best = sorted(table.rows, key=lambda row: -values.get(row.name, -math.inf))[:MOST_DRAWN]
    left = len(table.rows) - len(best)
    note = (
        f"Drawn are the {MOST_DRAWN} methods with the highest values; {left} more stand in the table." if left else ""
    )
    return [row for row in table.rows if any(row is each for each in best)], note


def colours_of(names: Iterable[str], values: Mapping[str, float] | None = None) -> dict[str, int]:
    """Method -> its colour in every picture, in their order.

    Args:
        names: The methods.
        values: Where there are more methods than colours, those with the highest values have one and the others share a
            grey; without values the first ones have one.
    """
    known, all_names = values or {}, list(dict.fromkeys(names))
    ranked = sorted(all_names, key=lambda name: -known.get(name, -math.inf))
    coloured = [name for name in all_names if name in ranked[:COLOURS]]
    return {name: coloured.index(name) if name in coloured else OTHER for name in all_names}


def legend(names: Iterable[str], colours: Mapping[str, int]) -> list[tuple[str, int]]:
    """A legend of these methods; the grey ones are one entry."""
    shown = dict.fromkeys(names)
    named = [(name, colours[name]) for name in shown if colours[name] < OTHER]
    grey = [name for name in shown if colours[name] >= OTHER]
    return [*named, *([(f"{len(grey)} others" if len(grey) > 1 else grey[0], OTHER)] if grey else [])]


def curves_picture(runs: Sequence[CurveRun], colours: Mapping[str, int]) -> Picture | None:
    """Score, each part of the reward, gold accuracy and KL over steps (PPO-NLU figure 2); None when none is logged."""
    present = {name for run in runs for name in run.series}
    parts = sorted(name for name in present if name.startswith(PART))
    alt = "Reward, its parts, gold accuracy and KL over PPO steps"
    return _curves("reward_curves", alt, [name for name in (SCORE, *parts, GOLD, KL) if name in present], runs, colours)


def saturation_picture(runs: Sequence[CurveRun], colours: Mapping[str, int]) -> Picture | None:
    """How often lambda binds, over steps; None when no run uses lambda."""
    using = [run for run in runs if run.series.get(SATURATION)]
    alt = "Share of responses whose label RM score reaches λ"
    return _curves("lambda_saturation", alt, [SATURATION] if using else [], using, colours)


def pair_kinds_picture(
    distributions: Mapping[str, Mapping[str, float]], sources: Mapping[str, Sequence[Source]]
) -> Picture | None:
    """Kinds of all pairs of SFT samples, a bar a task (RLLR figure 2).

    Args:
        distributions: Task -> share of each of :data:`PAIR_KINDS`.
        sources: Task -> the folders of pairs.
    Returns:
        None without tasks.
    """
    if not distributions:
        return None
    bars = [
        Bar(
            task,
            [(float(shares.get(kind, 0.0)), colour) for kind, colour in PAIR_KINDS.items()],
            shown_value(shares.get("rationale_sensitive", 0.0)),
            sources=sources.get(task, ()),
        )
        for task, shares in distributions.items()
    ]
    kinds = [(kind.replace("_", "-"), colour) for kind, colour in PAIR_KINDS.items()]
    panel = Panel("kinds of pairs of samples", bars, "share of pairs, %")
    return Picture("pair_kinds", "Shares of rationale- and label-sensitive pairs", [panel], kinds)


def _curves(
    name: str, alt: str, metrics: Sequence[str], runs: Sequence[CurveRun], colours: Mapping[str, int]
) -> Picture | None:
    if not metrics:
        return None
    methods = sorted(dict.fromkeys(run.method for run in runs), key=lambda method: colours[method])[:MOST_DRAWN]
    drawn = [run for run in runs if run.method in methods]
    panels = [
        Panel(TITLES.get(metric, f"part: {metric.removeprefix(PART)}"), _lines(metric, drawn, colours), "PPO step")
        for metric in metrics
    ]
    left = len({run.method for run in runs}) - len(methods)
    note = f"{left} more methods are not drawn." if left else ""
    return Picture(name, alt, panels, legend((run.method for run in drawn), colours), note)


def _lines(metric: str, runs: Sequence[CurveRun], colours: Mapping[str, int]) -> list[Line]:
    """One metric: the mean over each method's runs, with a band of one standard deviation (n - 1)."""
    grouped: dict[str, list[CurveRun]] = {}
    for run in runs:
        if run.series.get(metric):
            grouped.setdefault(run.method, []).append(run)
    return [_mean_line(metric, method, runs_of_method, colours[method]) for method, runs_of_method in grouped.items()]


def _mean_line(metric: str, method: str, runs: Sequence[CurveRun], colour: int) -> Line:
    """The steps that all runs logged."""
    steps = sorted(set.intersection(*(set(run.series[metric]) for run in runs)))
    values = np.array([[run.series[metric][step] for step in steps] for run in runs]).reshape(len(runs), len(steps))
    stretches = np.array_split(np.arange(len(steps)), min(POINTS, len(steps))) if steps else []
    x = [float(np.mean([steps[place] for place in each])) for each in stretches]
    mean, sources = values.mean(axis=0), [Source(run.path) for run in runs]
    ends = (mean,) if len(runs) < 2 else (mean, mean - (sd := values.std(axis=0, ddof=1)), mean + sd)
    y, *band = ([float(end[each].mean()) for each in stretches] for end in ends)
    low, high = band or ((), ())
    return Line(method, colour, x, y, low, high, sources)


def _series(path: Path) -> dict[str, dict[int, float]]:
    """Metric -> step -> value; a step written twice (after a resume) counts as written last."""
    series: dict[str, dict[int, float]] = {}
    for row in read_jsonl(path):
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                series.setdefault(name, {})[int(row["step"])] = float(value)
    return series


def _method(path: Path) -> str:
    """The method that a run stores, else its folder's name."""
    result = path / "result.json"
    return str((read_json(result) if result.exists() else {}).get("method", path.name))
