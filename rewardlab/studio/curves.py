"""The curves of one run: what its log says of each step, a small chart a quantity, and the alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import polars as pl
from markupsafe import Markup

from rewardlab.errors import RewardlabError
from rewardlab.evaluation.hacking import Alarm, find_alarm, series_of, told
from rewardlab.reports.charts import Line, Panel
from rewardlab.reports.drawing import draw
from rewardlab.reports.plots import GOLD, KL, PART, SATURATION, SCORE, TITLES
from rewardlab.rewards.ledger import LEDGER_FILE
from rewardlab.studio.index import VALIDATION_FILE, StudioRun
from rewardlab.studio.tables import Tables
from rewardlab.training.decline import Fall, told_best, told_fall

TERM = "reward/term/"
SHOWN: Mapping[str, str] = {
    SCORE: TITLES[SCORE],
    GOLD: "accuracy against gold (not trained on)",
    "reward/gold_error": "distance to the gold number (not trained on)",
    "validation/accuracy": "accuracy on validation rows, greedy",
    "reward/total": "total that was trained on, mean",
    KL: TITLES[KL],
    "rollout/response_tokens": "response length (tokens)",
    "reward/malformed": "share of malformed responses",
    "reward/unscored": "share of unscored responses",
    SATURATION: TITLES[SATURATION],
    "policy/entropy": "entropy (nats per token)",
    "sft/loss": "loss (nats per token)",
    "sft/token_accuracy": "accuracy of tokens",
    "rm/loss": "loss (nats per pair)",
    "rm/accuracy": "share of pairs in the right order",
    "rm/margin": "score of chosen minus rejected",
}
"""Metric -> title of its chart, in this order; parts and terms come behind the score."""
POINTS = 300
"""Points of a line; longer runs are averaged over stretches of steps."""
DRAWN = 1000
"""Charts that are kept, some 10 kB each."""
ALARM = 3
"""Colour of an alarm: red."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One chart, and its last value for those who do not see it."""

    metric: str
    title: str
    svg: Markup
    last: float


def curves_of(run: StudioRun, tables: Tables) -> list[Curve]:
    """A chart for each quantity that the run logged; none for stages that log nothing.

    Raises:
        DataError: A log is damaged.
    """
    frame = tables.metrics(run.path)
    validation = tables.rows(run.path / VALIDATION_FILE)
    series = dict(_series(frame)) if frame is not None else {}
    if validation is not None:
        series["validation/accuracy"] = validation.select("step", value=pl.col("accuracy").cast(pl.Float64))
    marks = [(name, step) for name, step, _ in alarms_of(run, tables)]
    return [_curve(metric, title, series[metric], marks) for metric, title in _titles(series) if metric in series]


def _series(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Metric -> its steps and values, where there are any."""
    for name, kind in frame.schema.items():
        if name != "step" and kind.is_numeric():
            known = frame.select("step", value=pl.col(name).cast(pl.Float64)).drop_nulls()
            known = known.filter(pl.col("value").is_finite())
            if not known.is_empty():
                yield name, known


def _titles(series: Mapping[str, pl.DataFrame]) -> list[tuple[str, str]]:
    """Metrics in order, with every part and every term behind the score."""
    parts = [(name, f"part: {name.removeprefix(PART)}") for name in sorted(series) if name.startswith(PART)]
    terms = [(name, f"term: {name.removeprefix(TERM)}") for name in sorted(series) if name.startswith(TERM)]
    first, *others = SHOWN.items()
    return [first, *parts, *terms, *others]


def _curve(metric: str, title: str, series: pl.DataFrame, marks: list[tuple[str, int]]) -> Curve:
    thinned = _thinned(series)
    values = tuple(thinned["value"])
    lines = (Line(title, 0, tuple(thinned["step"]), values),)
    low, high = min(values), max(values)
    steps = (series["step"].min(), series["step"].max())
    upright = [Line(f"{name} at step {step}", ALARM, (step, step), (low, high), is_thin=True) for name, step in marks]
    shown = lines if steps[0] == steps[1] else (*lines, *upright)
    return Curve(metric, title, Markup(_drawn(Panel(title, shown, "step"))), float(series["value"][-1]))


@lru_cache(maxsize=DRAWN)
def _drawn(panel: Panel) -> str:
    """The chart of equal numbers, drawn once: matplotlib takes some 20 ms for each, and a page has a dozen."""
    return draw(panel)


def _thinned(series: pl.DataFrame) -> pl.DataFrame:
    """At most :data:`POINTS` points, each the mean of its stretch of steps."""
    stride = -(-series.height // POINTS)
    if stride == 1:
        return series
    groups = series.with_row_index("place").with_columns(group=pl.col("place") // stride)
    return groups.group_by("group", maintain_order=True).agg(pl.col("step").mean(), pl.col("value").mean())


def alarms_of(run: StudioRun, tables: Tables) -> list[tuple[str, int, str]]:
    """(name, step, what it says) of each alarm; of a run that is not finished from what it has logged so far."""
    found: list[tuple[str, int, str]] = []
    try:
        stored = (run.result.get("hacking") or {}).get("alarm")
        alarm = Alarm(**stored) if stored else None if run.result else _alarm_so_far(run, tables)
        fall = Fall(**run.result["fall"]) if run.result.get("fall") else None
    except (TypeError, AttributeError, KeyError):
        return found
    if alarm is not None:
        found.append(("hacking alarm", alarm.step, told(alarm)))
    if fall is not None:
        found.append(("fall of accuracy", fall.step, told_fall(fall)))
    return found


def notes_of(run: StudioRun) -> list[str]:
    """What the run says of its reward models, and which policy was the best."""
    try:
        lines = [str(line) for line in run.result.get("reward_models") or ()]
        best = told_best(run.result["validation"]) if run.result.get("fall") and run.result.get("validation") else None
    except (TypeError, AttributeError, KeyError):
        return []
    return [*lines, *([best] if best else [])]


def _alarm_so_far(run: StudioRun, tables: Tables) -> Alarm | None:
    """The alarm that the ledger of an unfinished run raises."""
    if not (run.path / LEDGER_FILE).is_file():
        return None
    try:
        frame = tables.samples(run.path)
    except RewardlabError:
        return None
    if frame is None or "score" not in frame.columns or "step" not in frame.columns:
        return None
    read = frame.select(
        "step", "score", *(pl.col(n) if n in frame.columns else pl.lit(None).alias(n) for n in ("correct", "error"))
    )
    return find_alarm(series_of(read.iter_rows(named=True)))
