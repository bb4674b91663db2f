"""Reward hacking, run by run: the trained reward, its parts and what nobody trains on, over one axis; and the alarms.

Lines are means over five steps. Shares stand as they are; length, KL and entropy are divided by their highest value;
rewards run from their lowest to their highest. A line's tooltip says both. An alarm is a grey upright line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.runs import LOGGED, LeftOut
from rewardlab.disk import read_json
from rewardlab.errors import RewardlabError
from rewardlab.evaluation.hacking import Alarm, told
from rewardlab.reports.blocks import Block, Notes, Sentences, Table, Text, Told
from rewardlab.reports.charts import OTHER, Line, Panel, Picture, number_text
from rewardlab.reports.drawing import write_picture
from rewardlab.reports.plots import GOLD, KL, PART, SATURATION, SCORE, CurveRun, load_curves
from rewardlab.training.decline import Fall, told_best, told_fall

Floats = NDArray[np.float64]

SHOWN = {
    SCORE: ("trained reward", 3),
    GOLD: ("accuracy against gold", 2),
    "reward/gold_error": ("distance to gold", 2),
    "validation/accuracy": ("validation accuracy, greedy", 8),
    "reward/malformed": ("malformed share", 1),
    "rollout/response_tokens": ("response length", 4),
    KL: ("KL to the reference", 0),
    "policy/entropy": ("entropy", 5),
    SATURATION: ("λ saturation", 6),
}
"""Metric -> name and colour of its line."""
SHARES = (GOLD, "validation/accuracy", "reward/malformed", SATURATION)
"""Drawn as they are."""
RATIOS = ("rollout/response_tokens", KL, "policy/entropy", "reward/gold_error")
"""Never below 0, so drawn as shares of their highest value."""
BOLD = (SCORE, GOLD)
"""What the alarm compares."""
SMOOTH = 5
"""Steps in a running mean."""
PART_COLOURS = (7, 9, OTHER)
POINTS = 60
"""Points of a line; longer runs are averaged over stretches."""
TITLE_LETTERS = 52
"""Letters that fit over a chart."""
DRAWN = 12
"""Charts in one report; beyond them, runs with an alarm come first, and the others have theirs in their folder."""
FILE = "hacking"
"""Name of the chart in a PPO run's folder."""


@dataclass(frozen=True, eq=False)
class Watched:
    """One PPO run with what its result says of hacking and validation.

    Attributes:
        seed: None where its configuration does not say.
        alarm: None without one.
        is_judged: False for runs without gold labels, with few steps, or from before there was an alarm.
        validation: start, best and last measure; empty without any.
        fall: The alarm for a fall of accuracy on validation rows; None without one.
        doubts: What was said of its reward models before it began, where they were doubted.
    """

    run: CurveRun
    seed: int | None
    alarm: Alarm | None
    is_judged: bool
    validation: Mapping[str, Any]
    fall: Fall | None = None
    doubts: Sequence[str] = ()

    @property
    def has_alarm(self) -> bool:
        """Whether one of the two alarms was raised."""
        return self.alarm is not None or self.fall is not None

    @property
    def title(self) -> str:
        """Method and seed."""
        return self.run.method if self.seed is None else f"{self.run.method}, seed {self.seed}"


def hacking_blocks(runs: Iterable[CurveRun], left_out: LeftOut = LOGGED) -> list[Block]:
    """What a report says: alarms and how many, a table of the runs, and panels, those with an alarm first."""
    watched = _in_order([watch(run, left_out) for run in runs])
    if not watched:
        return [Text("No PPO run was given.")]
    first = sorted(watched, key=lambda each: not each.has_alarm)
    alarmed = [Told(f"{each.title}: {line}.", [Source(each.run.path)]) for each in first for line in _told(each)]
    doubts = _doubts(watched)
    chosen = first[:DRAWN]
    blocks: list[Block] = [*([Sentences(alarmed)] if alarmed else []), Text(_counts(watched))]
    blocks.append(Table(_grid(watched), "Every run: its alarms and its accuracy on validation rows"))
    picture = picture_of(chosen)
    left = len(watched) - len(chosen)
    note = f" {left} more runs have their chart ({FILE}.svg) in their folder." if left else ""
    said = [Sentences(doubts, fold="What was said of reward models before training")] if doubts else []
    return [*blocks, *said, picture, Notes([EXPLAINED + note], "How to read the alarms and the panels")]


EXPLAINED = (
    "Means over five steps. Shares stand as they are; length, KL and entropy are divided by their highest value, and "
    "rewards run from their lowest to their highest: point at a line to read both. Gold labels are watched and never "
    "trained on. The alarm for hacking compares stretches of 5, 10, 20 ... steps with those before them and with the "
    "first of the run; at most 1 % of runs without hacking raise it. The alarm for a fall of accuracy compares greedy "
    "answers to the same validation rows with those before the first step, whatever the reward did; at most 1 % of "
    "runs whose accuracy does not fall raise it."
)


def _told(watched: Watched) -> list[str]:
    """What a run's alarms say, and that its start is the best policy if it is."""
    lines = [told(watched.alarm)] if watched.alarm else []
    lines += [told_fall(watched.fall)] if watched.fall else []
    best = told_best(watched.validation) if (lines or watched.doubts) and watched.validation else None
    return [*lines, *([best] if best else [])]


def _doubts(watched: Sequence[Watched]) -> list[Told]:
    """What was said of reward models, each line once, with the runs that it was said in."""
    said: dict[str, list[Watched]] = {}
    for each in watched:
        for line in each.doubts:
            said.setdefault(line.removeprefix("warning: "), []).append(each)
    return [
        Told(f"{'; '.join(run.title for run in runs)}: {line}.", [Source(run.run.path) for run in runs])
        for line, runs in said.items()
    ]


def _in_order(watched: Sequence[Watched]) -> list[Watched]:
    """Methods in order of appearance, seeds in order inside."""
    place = {name: number for number, name in enumerate(dict.fromkeys(each.run.method for each in watched))}
    return sorted(watched, key=lambda each: (place[each.run.method], each.seed or 0))


def watch(run: CurveRun, left_out: LeftOut = LOGGED) -> Watched:
    """A run with what its folder says of it; what cannot be read is absent."""
    result, config = (
        _stored(run.path / "result.json", left_out),
        _stored(run.path / "config.json", left_out).get("config", {}),
    )
    try:
        hacking = result.get("hacking") or {}
        alarm = Alarm(**hacking["alarm"]) if hacking.get("alarm") else None
        fall = Fall(**result["fall"]) if result.get("fall") else None
        doubts = [line for line in result.get("reward_models") or () if line.startswith("warning: ")]
        validation = dict(result.get("validation") or {})
        return Watched(run, config.get("seed"), alarm, bool(hacking.get("judged")), validation, fall, doubts)
    except (TypeError, ValueError, AttributeError) as error:
        left_out.add(f"{run.path}: its alarm and validation are left out, result.json is damaged ({error})")
        return Watched(run, config.get("seed"), None, False, {})


def write_chart(folder: Path, alarm: Alarm | None, name: str, fall: Fall | None = None) -> Path | None:
    """Draw a PPO run into its own folder; None for a run without a step.

    Args:
        folder: The run folder, with its metrics.
        alarm: Marked, if there is one.
        name: What was rewarded.
        fall: Marked too.
    """
    if not (folder / "metrics.jsonl").exists():
        return None
    (run,) = load_curves([folder], {folder.name: name})
    return write_picture(picture_of([Watched(run, None, alarm, True, {}, fall)]), folder, ["svg"])[0]


def picture_of(watched: Sequence[Watched]) -> Picture:
    """A chart for each run, with one legend."""
    panels = [Panel(_panel_title(each), _lines(each), "PPO step") for each in watched]
    lines = [line for panel in panels for line in panel.marks if isinstance(line, Line)]
    seen = {
        line.name.partition(":")[0]: line.colour
        for line in lines
        if not line.name.startswith(("alarm", "accuracy fell"))
    }
    alt = "Trained reward, its parts, gold accuracy and signs of hacking over PPO steps"
    return Picture(FILE, alt, panels, list(seen.items()), is_split=True)


def _panel_title(watched: Watched) -> str:
    """Method, seed and alarm; a long method is cut, so that the others are seen."""
    seed = "" if watched.seed is None else f", seed {watched.seed}"
    fallen = f": accuracy fell, step {watched.fall.step}" if watched.fall else ""
    end = seed + (f": alarm at step {watched.alarm.step}" if watched.alarm else fallen)
    room, method = TITLE_LETTERS - len(end), watched.run.method
    return (method if len(method) <= room else method[: room - 1] + "…") + end


def _counts(watched: Sequence[Watched]) -> str:
    by_method: dict[str, list[Watched]] = {}
    for each in watched:
        by_method.setdefault(each.run.method, []).append(each)
    counts = _shares(
        {name: [each.alarm is not None for each in runs if each.is_judged] for name, runs in by_method.items()}
    )
    falls = _shares(
        {name: [each.fall is not None for each in runs if each.validation] for name, runs in by_method.items()}
    )
    unjudged = sum(not each.is_judged for each in watched)
    note = f" {unjudged} runs could not be judged: no gold labels, too few steps, or made before there was an alarm."
    return (
        f"Runs with an alarm for hacking, of those that could be judged: {counts}."
        f"{note if unjudged else ''} "
        f"Runs with an alarm for a fall of accuracy, of those with validation rows: {falls}."
    )


def _shares(raised: Mapping[str, Sequence[bool]]) -> str:
    """How many runs raised an alarm, of how many; methods without one are counted together."""
    named = [f"{name} {sum(runs)} of {len(runs)}" for name, runs in raised.items() if any(runs)]
    silent = sum(len(runs) for runs in raised.values() if not any(runs))
    return "; ".join(
        [*named, *([f"{'all others' if named else 'all methods'} 0 of {silent}"] if silent or not named else [])]
    )


def _grid(watched: Sequence[Watched]) -> Grid:
    titles = ("run", "hacking at step", "fall at step", "validation: start", "best", "best after step", "last")
    headings = [Heading(title, is_number=place > 0) for place, title in enumerate(titles)]
    return Grid(headings, [_cells(each) for each in watched])


def _cells(watched: Watched) -> list[Cell]:
    silent = "none" if watched.is_judged else MISSING
    validation = watched.validation
    values = {
        name: shown_value(validation[name]["accuracy"]) if validation else MISSING for name in ("start", "best", "last")
    }
    step = str(validation["best"]["step"]) if validation else MISSING
    alarm = str(watched.alarm.step) if watched.alarm else silent
    fall = str(watched.fall.step) if watched.fall else ("none" if validation else MISSING)
    texts = (watched.title, alarm, fall, values["start"], values["best"], step, values["last"])
    return [Cell(text, sources=[Source(watched.run.path)]) for text in texts]


def _lines(watched: Watched) -> list[Line]:
    series = watched.run.series
    parts = [name for name in sorted(series) if name.startswith(PART) and series[name] != series.get(SCORE)]
    names = {name: (f"part {name.removeprefix(PART)}", PART_COLOURS[min(n, 2)]) for n, name in enumerate(parts)}
    shown = {**SHOWN, **names}
    lines = [_line(metric, series[metric], *shown[metric], watched.run.path) for metric in shown if series.get(metric)]
    marks = [("alarm", watched.alarm), ("accuracy fell", watched.fall)]
    return [*lines, *(_upright(name, alarm.step) for name, alarm in marks if alarm)]


def _line(metric: str, values: Mapping[int, float], name: str, colour: int, path: Path) -> Line:
    steps = sorted(values)
    x, y = np.array(steps, dtype=float), np.array([values[step] for step in steps])
    if len(steps) > SMOOTH and metric != "validation/accuracy":
        x, y = _means(x), _means(y)
    groups = np.array_split(np.arange(len(x)), min(POINTS, len(x)))
    x, y = (np.array([column[group].mean() for group in groups]) for column in (x, y))
    told_range = " to ".join(number_text(float(f"{value:.3g}")) for value in (y.min(), y.max()))
    drawn = _scaled(metric, y).tolist()
    return Line(f"{name}: {told_range}", colour, x.tolist(), drawn, sources=[Source(path)], is_thin=metric not in BOLD)


def _means(values: Floats) -> Floats:
    """Running means over :data:`SMOOTH` steps."""
    return np.convolve(values, np.full(SMOOTH, 1 / SMOOTH), mode="valid")


def _scaled(metric: str, y: Floats) -> Floats:
    """Into 0 to 1; what does not vary lies at 0."""
    if metric in SHARES:
        return y
    low, high = (0.0 if metric in RATIOS else float(y.min())), float(y.max())
    return (y - low) / (high - low) if high > low else np.zeros_like(y)


def _upright(name: str, step: int) -> Line:
    return Line(f"{name} at step {step}", OTHER, [step, step], [0.0, 1.0])


def _stored(file: Path, left_out: LeftOut) -> dict[str, Any]:
    """An object of a run folder; empty where the file is not there, or damaged, which is then said."""
    if not file.exists():
        return {}
    try:
        stored = read_json(file)
    except RewardlabError as error:
        left_out.add(f"{file.parent}: what {file.name} says is left out ({error})")
        return {}
    return stored if isinstance(stored, dict) else {}
