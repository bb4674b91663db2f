"""The reward-model table (RLLR tables 5 and 9): pair accuracy of each kind of reward model, beside two baselines.

``label-only`` sees nothing but the response's label, ``length-only`` nothing but its length; a reward model that does
not beat them has learned no more than they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.runs import LOGGED, LeftOut
from rewardlab.comparison.table import Mark, ranked
from rewardlab.disk import read_json
from rewardlab.errors import RewardlabError

TEST_SETS: Mapping[str, str] = {
    "held_out_label": "held-out label-sensitive pairs",
    "held_out_ranked": "held-out ranked pairs",
    "held_out_rationale": "held-out rationale-sensitive pairs",
    "policy_sampled": "policy samples ordered by gold",
}

Place = tuple[str, str]
"""(test set, task)."""


@dataclass(frozen=True, eq=False)
class RewardModelRun:
    """One ``rm train`` folder: pair kind, and (test set, task) -> accuracy entry."""

    path: Path
    kind: str
    entries: Mapping[Place, Mapping[str, Any]]


def load_reward_models(paths: Iterable[Path], left_out: LeftOut = LOGGED) -> list[RewardModelRun]:
    """Read reward-model folders; one that cannot be read is left out."""
    runs = []
    for path in paths:
        try:
            runs.append(_load(path))
        except (RewardlabError, KeyError, TypeError, ValueError, AttributeError) as error:
            left_out.add(f"{path}: left out, not a finished reward model ({error})")
    return runs


def reward_model_grid(runs: Sequence[RewardModelRun]) -> Grid:
    """One line a test set, task and kind; mean over runs of a kind, the best kind of each task bold."""
    titles = ("test pairs", "task", "reward model", "accuracy", "label-only", "length-only", "pairs", "runs")
    headings = [Heading(title, is_number=place > 2) for place, title in enumerate(titles)]
    places = list(dict.fromkeys(place for run in runs for place in run.entries))
    order = sorted(places, key=lambda place: (list(TEST_SETS).index(place[0]), place[1]))
    return Grid(headings, [line for place in order for line in _lines(place, runs)])


def _load(path: Path) -> RewardModelRun:
    result = read_json(path / "result.json")
    entries = {
        (name, task): entry | {number: float(entry[number]) for number in ("value", "low", "high", "n")}
        for name in TEST_SETS
        for task, entry in (result["accuracy"].get(name) or {}).items()
        if entry is not None
    }
    return RewardModelRun(path, str(result["kind"]), entries)


def _lines(place: Place, runs: Sequence[RewardModelRun]) -> list[list[Cell]]:
    by_kind: dict[str, list[RewardModelRun]] = {}
    for run in runs:
        if place in run.entries:
            by_kind.setdefault(run.kind, []).append(run)
    marks = ranked(
        {kind: _mean([run.entries[place] for run in found], "value") or 0.0 for kind, found in by_kind.items()}
    )
    return [_line(place, kind, by_kind[kind], marks.get(kind, "")) for kind in sorted(by_kind)]


def _line(place: Place, kind: str, runs: Sequence[RewardModelRun], mark: Mark) -> list[Cell]:
    entries = [run.entries[place] for run in runs]
    numbers = [
        _accuracy_cell(entries, mark),
        Cell(_shown(_mean(entries, "label_only"))),
        Cell(_shown(_mean(entries, "length_only"))),
        Cell(f"{_mean(entries, 'n') or 0:.0f}"),
        Cell(str(len(entries))),
    ]
    sources = [Source(run.path, _shown(float(run.entries[place]["value"]))) for run in runs]
    linked = [replace(cell, sources=sources) for cell in numbers]
    return [Cell(TEST_SETS[place[0]]), Cell(place[1]), Cell(f"{kind} RM"), *linked]


def _mean(entries: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [float(entry[name]) for entry in entries if entry.get(name) is not None]
    return fmean(values) if values else None


def _shown(value: float | None) -> str:
    return MISSING if value is None else shown_value(value)


def _accuracy_cell(entries: Sequence[Mapping[str, Any]], mark: Mark) -> Cell:
    """Interval over pairs beside a single run, standard deviation over several."""
    value = _shown(_mean(entries, "value"))
    if len(entries) > 1:
        return Cell(value, "", mark, f" ± {shown_value(stdev(float(entry['value']) for entry in entries))}")
    return Cell(value, f"[{shown_value(float(entries[0]['low']))}, {shown_value(float(entries[0]['high']))}]", mark)
