"""Report cards of several seeds: how well each reward model ranks the pairs it was judged on, and paired differences.

A card is the folder of a stage ``card``. Cards of one method and base model differ in their seed, or in the tasks of
one seed, which then count together; two methods are compared where both judged the very same pairs. Intervals are
those of ``statistics.py``: over seeds and over the rows that pairs come from, which seeds share although the answers to
them differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rewardlab.comparison.evaluations import data_seed_of, model_name
from rewardlab.comparison.paired import Corrected, holm
from rewardlab.comparison.runs import LOGGED, LeftOut
from rewardlab.comparison.statistics import RESAMPLES, Estimate, SeedDraws, estimate, mean_of, row_draws
from rewardlab.comparison.table import AVERAGE
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import RewardlabError
from rewardlab.metrics import Floats
from rewardlab.reward_models.measures import BEST_FILE, JUDGED_FILE, wins
from rewardlab.reward_models.table import TEST_SETS, Place

Key = TypeVar("Key", str, Place)
BASELINES = ("label_only", "length_only")
BEST_OF_FOUR = "best_of_4"
"""In the place of a set of pairs in ``table.csv``: best-of-4 accuracy, whose chance is 0.25."""


@dataclass(frozen=True, eq=False)
class JudgedPairs:
    """One reward model on one task's pairs of a set. P pairs.

    Attributes:
        rows: Id of the row behind each pair.
        pairs: Hash of each pair's texts.
        won: 1, 0.5 or 0 for a pair ranked right, equal, wrong. Shape (P,).
        baselines: Name -> accuracy of a scorer that sees almost nothing; None where it could not be fitted.
    """

    rows: tuple[str, ...]
    pairs: tuple[str, ...]
    won: Floats
    baselines: Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class CardRun:
    """One card.

    Attributes:
        path: Its folder; of the tasks of one seed together, the first one's.
        method, model, kind, seed: What was judged; ``model`` is the base model's name.
        judged_on: Task -> fingerprints of the pairs it was judged on, by name.
        tests: (set, task) -> what became of the pairs.
        best: Task -> rows with one right and three wrong answers, and how often the right one scored highest; ``pairs``
            are hashes of the answers.
        data_seed: That drew its labelled rows and pairs; None where the folder does not store it.
    """

    path: Path
    method: str
    model: str
    kind: str
    seed: int
    judged_on: Mapping[str, Mapping[str, str]]
    tests: Mapping[Place, JudgedPairs]
    best: Mapping[str, JudgedPairs] = field(default_factory=dict)
    data_seed: int | None = None

    def together(self, other: CardRun, left_out: LeftOut) -> CardRun:
        """This and the same method's card on other tasks, of the same seed."""
        for test_set, task in self.tests.keys() & other.tests.keys():
            told = f"{self.method}, seed {self.seed}, {test_set} of {task}"
            left_out.add(f"{told}: judged in {self.path} and {other.path}; the second is used")
        judged_on = {**self.judged_on, **other.judged_on}
        return replace(self, judged_on=judged_on, tests={**self.tests, **other.tests}, best={**self.best, **other.best})


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of one reward model minus another's; ``estimate`` is None when ``reason`` says why.

    Attributes:
        p_holm: Corrected over ``family`` differences, as the interval is.
    """

    better: str
    than: str
    test_set: str
    column: str
    estimate: Estimate | None
    reason: str = ""
    p_holm: float = 1.0
    family: int = 1


class Cards:
    """All cards of a report, methods in order of appearance.

    Args:
        runs: The cards.
        resamples: Bootstrap resamples of rows.
        left_out: Takes a line for pairs that were judged twice.
    """

    def __init__(self, runs: Sequence[CardRun], resamples: int = RESAMPLES, left_out: LeftOut = LOGGED) -> None:
        self.runs = runs
        self._resamples = resamples
        self._left_out = left_out

    @cached_property
    def names(self) -> dict[tuple[str, str], str]:
        """(method, base model) -> what it is called: the method, and the model where there are several."""
        keys = dict.fromkeys((run.method, run.model) for run in self.runs)
        has_models = len({model for _, model in keys}) > 1
        return {(method, model): f"{method} ({model})" if has_models else method for method, model in keys}

    @cached_property
    def methods(self) -> dict[str, dict[int, CardRun]]:
        """Name -> seed -> its card, or the cards of its tasks together."""
        found: dict[str, dict[int, CardRun]] = {}
        for run in self.runs:
            by_seed = found.setdefault(self._name(run), {})
            by_seed[run.seed] = by_seed[run.seed].together(run, self._left_out) if run.seed in by_seed else run
        return {name: dict(sorted(by_seed.items())) for name, by_seed in found.items()}

    def folders(self, name: str) -> list[CardRun]:
        """The cards behind a name, by seed."""
        return sorted((run for run in self.runs if self._name(run) == name), key=lambda run: run.seed)

    @cached_property
    def sets(self) -> list[str]:
        """Test sets of at least one card, in the order of :data:`~rewardlab.reward_models.table.TEST_SETS`."""
        present = {place[0] for run in self.runs for place in run.tests}
        return [name for name in TEST_SETS if name in present]

    @cached_property
    def columns(self) -> list[str]:
        """Tasks in order of appearance, and the average over them when there are several."""
        tasks = list(dict.fromkeys(place[1] for run in self.runs for place in run.tests))
        return [*tasks, AVERAGE] if len(tasks) > 1 else tasks

    def accuracy(self, method: str, test_set: str, column: str) -> Estimate | None:
        """Share of pairs ranked right; None where not all seeds have pairs of the set in that column."""
        drawn = self._column_draws(list(self.methods[method].values()), test_set, column)
        return None if drawn is None else estimate(drawn, 0.0, 1.0)

    def best_of_four(self, method: str, column: str) -> Estimate | None:
        """Share of rows whose right answer scores highest of four; None where not all seeds have such rows there."""
        runs = list(self.methods[method].values())
        names = [name for name in self.columns if name != AVERAGE] if column == AVERAGE else [column]
        if any(name not in run.best for run in runs for name in names):
            return None
        drawn = [
            self._drawn(f"best of 4 {name}", self._best_rows[name], [run.best[name] for run in runs]) for name in names
        ]
        return estimate(mean_of(drawn), 0.0, 1.0)

    def best_count(self, method: str) -> float:
        """Rows with one right and three wrong answers, mean over seeds, all tasks together."""
        runs = self.methods[method].values()
        return sum(len(test.rows) for run in runs for test in run.best.values()) / len(runs)

    def difference(self, better: str, than: str, test_set: str, column: str) -> Difference:
        """One paired difference, over the seeds that both have."""
        sides = [self.methods[name] for name in (better, than)]
        seeds = [seed for seed in sides[0] if seed in sides[1]]
        told = (better, than, test_set, column)
        if not seeds:
            return Difference(*told, None, "they share no seed")
        runs = [[side[seed] for seed in seeds] for side in sides]
        drawn = [self._column_draws(each, test_set, column) for each in runs]
        if drawn[0] is None or drawn[1] is None:
            return Difference(*told, None, "one of them was not judged on such pairs")
        if any(
            self._pairs(a, test_set, column) != self._pairs(b, test_set, column) for a, b in zip(*runs, strict=True)
        ):
            return Difference(*told, None, "they were judged on different pairs")
        return Difference(*told, estimate(drawn[0].minus(drawn[1]), -1.0, 1.0))

    def rivals(self) -> list[tuple[str, str]]:
        """Methods to compare: a label RM with every other kind, where they were judged on the same folders of pairs."""
        firsts = {name: next(iter(by_seed.values())) for name, by_seed in self.methods.items()}
        return [
            (label, other)
            for label, first in firsts.items()
            for other, second in firsts.items()
            if first.kind == "label" != second.kind and first.model == second.model and self._same_folders(label, other)
        ]

    def baseline(self, method: str, test_set: str, name: str) -> float | None:
        """Mean accuracy of a scorer that sees almost nothing, over seeds and tasks; None without one."""
        tests = [t for run in self.methods[method].values() for place, t in run.tests.items() if place[0] == test_set]
        values = [value for test in tests if (value := test.baselines.get(name)) is not None]
        return float(np.mean(values)) if values else None

    def pair_count(self, method: str, test_set: str) -> float:
        """Pairs of a set, mean over seeds, all tasks together."""
        runs = self.methods[method].values()
        return sum(len(t.pairs) for run in runs for place, t in run.tests.items() if place[0] == test_set) / len(runs)

    def _same_folders(self, a: str, b: str) -> bool:
        left, right = self.methods[a], self.methods[b]
        both = [(left[seed].judged_on, right[seed].judged_on) for seed in left if seed in right]
        common = [(one[task], other[task]) for one, other in both for task in one if task in other]
        return bool(common) and all(one == other for one, other in common)

    def _name(self, run: CardRun) -> str:
        return self.names[run.method, run.model]

    def _column_draws(self, runs: Sequence[CardRun], test_set: str, column: str) -> SeedDraws | None:
        """Of one task, or the mean over all tasks."""
        names = [name for name in self.columns if name != AVERAGE] if column == AVERAGE else [column]
        if any((test_set, name) not in run.tests for run in runs for name in names):
            return None
        return mean_of([self._draws(runs, (test_set, name)) for name in names])

    def _draws(self, runs: Sequence[CardRun], place: Place) -> SeedDraws:
        return self._drawn(" ".join(place), self._rows[place], [run.tests[place] for run in runs])

    def _drawn(self, title: str, rows: tuple[str, ...], tests: Sequence[JudgedPairs]) -> SeedDraws:
        counted = [_counted(test, rows) for test in tests]
        won, held = (np.stack([each[part] for each in counted]) for part in (0, 1))
        return row_draws(title, rows, won, held, self._resamples)

    @cached_property
    def _rows(self) -> dict[Place, tuple[str, ...]]:
        """(set, task) -> all rows behind its pairs, of all cards, so that one resample draws the same in each."""
        return _rows_of([run.tests for run in self.runs])

    @cached_property
    def _best_rows(self) -> dict[str, tuple[str, ...]]:
        """Task -> all its rows that have four answers in some card."""
        return _rows_of([run.best for run in self.runs])

    def _pairs(self, run: CardRun, test_set: str, column: str) -> list[tuple[str, ...]]:
        places = [(test_set, name) for name in self.columns] if column == AVERAGE else [(test_set, column)]
        return [tuple(sorted(run.tests[place].pairs)) for place in places if place in run.tests]


NO_CARDS = Cards(())


def load_cards(paths: Iterable[Path], left_out: LeftOut = LOGGED) -> Cards:
    """Read cards; one that cannot be read is left out."""
    runs = []
    for path in paths:
        try:
            runs.append(_load(path))
        except (RewardlabError, KeyError, TypeError, AttributeError) as error:
            left_out.add(f"{path}: left out, not a finished report card ({error})")
    return Cards(runs, left_out=left_out)


def _rows_of(judged: Iterable[Mapping[Key, JudgedPairs]]) -> dict[Key, tuple[str, ...]]:
    """Key -> the rows that stand under it in any of these."""
    rows: dict[Key, set[str]] = {}
    for each in judged:
        for key, test in each.items():
            rows.setdefault(key, set()).update(test.rows)
    return {key: tuple(sorted(found)) for key, found in rows.items()}


def card_rows(cards: Cards) -> Iterator[dict[str, Any]]:
    """Lines of ``table.csv``: one a method, set and column; values are not multiplied by 100."""
    for method, by_seed in cards.methods.items():
        for test_set in cards.sets:
            known = {name: cards.baseline(method, test_set, name) for name in BASELINES}
            about = {"method": method, "kind": next(iter(by_seed.values())).kind, "test_set": test_set}
            for column in cards.columns:
                if (accuracy := cards.accuracy(method, test_set, column)) is not None:
                    yield {**about, "column": column, **_numbers(accuracy), **known}
        for column in cards.columns:
            if (best := cards.best_of_four(method, column)) is not None:
                kind = next(iter(by_seed.values())).kind
                about = {"method": method, "kind": kind, "test_set": BEST_OF_FOUR, "column": column}
                yield {**about, **_numbers(best), **dict.fromkeys(BASELINES)}


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The same differences, their p-values and intervals corrected over all of them (Holm)."""
    p_values = [each.estimate.p_value() for each in differences if each.estimate is not None]
    steps = iter(holm(p_values))
    return [each if each.estimate is None else _at(each, next(steps), len(p_values)) for each in differences]


def _at(difference: Difference, step: Corrected, family: int) -> Difference:
    widened = None if difference.estimate is None else difference.estimate.at(step.level)
    return replace(difference, estimate=widened, p_holm=step.p, family=family)


def difference_rows(differences: Iterable[Difference]) -> Iterator[dict[str, Any]]:
    """Lines of ``differences.csv``, of what could be compared."""
    for each in differences:
        if each.estimate is not None:
            about = {"method": each.better, "baseline": each.than, "test_set": each.test_set, "column": each.column}
            yield {**about, **_numbers(each.estimate), "p_holm": each.p_holm, "family": each.family}


def _numbers(size: Estimate) -> dict[str, Any]:
    numbers = {"value": size.value, "low": size.low, "high": size.high, "sd": size.sd}
    return {**numbers, "seeds": size.seeds, "interval_over": size.basis}


def _counted(test: JudgedPairs, rows: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Pairs ranked right, and pairs, of each row. Shape (rows,) each."""
    number = {row: place for place, row in enumerate(rows)}
    places = np.array([number[row] for row in test.rows])
    won, held = (np.bincount(places, weights, minlength=len(rows)) for weights in (test.won, None))
    return won.astype(np.float64), held.astype(np.float64)


def _load(path: Path) -> CardRun:
    result, config = read_json(path / "result.json"), read_json(path / "config.json")
    marks = {name: mark for name, mark in config["identity"]["inputs"].items() if name != "model"}
    lines_by_place: dict[Place, list[Mapping[str, Any]]] = {}
    for line in read_jsonl(path / JUDGED_FILE):
        lines_by_place.setdefault((line["set"], line["task"]), []).append(line)
    return CardRun(
        path,
        str(result["method"]),
        model_name(config),
        str(result["kind"]),
        int(result["seed"]),
        {task: marks for _, task in lines_by_place},
        {place: _test(lines, result["sets"][place[0]]["tasks"][place[1]]) for place, lines in lines_by_place.items()},
        _best(path / BEST_FILE),
        data_seed_of(config),
    )


def _best(path: Path) -> dict[str, JudgedPairs]:
    """By task; empty for a card from before there was such a file."""
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for line in read_jsonl(path) if path.exists() else ():
        by_task.setdefault(line["task"], []).append(line)
    return {
        task: JudgedPairs(
            tuple(line["id"] for line in lines),
            tuple(line["answers"] for line in lines),
            np.array([float(line["won"]) for line in lines]),
            dict.fromkeys(BASELINES),
        )
        for task, lines in by_task.items()
    }


def _test(lines: Sequence[Mapping[str, Any]], stored: Mapping[str, Any]) -> JudgedPairs:
    return JudgedPairs(
        tuple(line["id"] for line in lines),
        tuple(line["pair"] for line in lines),
        wins(np.array([float(line["margin"]) for line in lines])),
        {name: stored[name] for name in BASELINES},
    )
