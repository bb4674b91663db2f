"""Comparisons by a judge as run folders: written by ``rewardlab judge``, read back for reports and claims.

Anybody may add a folder beside those of a suite. Counted together are only comparisons of one judge (annotator, its
settings, most items of a column) between the same two methods; one of two seeds belongs to neither and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rewardlab.annotate.registry import annotators
from rewardlab.comparison.evaluations import EvalRun
from rewardlab.comparison.runs import LOGGED, LeftOut
from rewardlab.comparison.statistics import Estimate, estimate, mean_of, row_draws
from rewardlab.comparison.table import Row
from rewardlab.disk import read_json, read_jsonl, write_jsonl
from rewardlab.errors import DataError, InputError, RewardlabError
from rewardlab.judge.contests import Contest, Verdict
from rewardlab.runs import RunFolder, check_outputs

Side = Literal["a", "tie", "b"]

ORDERS, ONE_ORDER = "orders", "one"
"""Part of an identity, absent where both orders were asked: each item was judged in a drawn order."""
CODE = "annotator_code"
"""Part of an identity: hash of the code of a judge from another package."""
STAGE = "judge"
VERDICTS_FILE = "verdicts.jsonl"
OTHER_SIDE: Mapping[Side, Side] = {"a": "b", "tie": "tie", "b": "a"}
NET: Mapping[str, float] = {"a": 1.0, "tie": 0.0, "b": -1.0}
"""Worth of a verdict in wins minus losses, from the side called a."""


@dataclass(frozen=True, eq=False)
class JudgedRun:
    """One folder of verdicts on two evaluations of one seed.

    Attributes:
        a, b: The evaluations.
        decoding: What was read.
        judge: By whom, with the settings that could change a verdict and the most items of a column, as printed.
        items: Column and id, in the order of ``verdicts``.
        verdicts: What became of them.
    """

    path: Path
    a: EvalRun
    b: EvalRun
    decoding: str
    judge: str
    items: Sequence[tuple[str, str]]
    verdicts: Sequence[Verdict]

    @property
    def seed(self) -> int:
        """Of the training on both sides."""
        return self.a.seed

    @property
    def columns(self) -> list[str]:
        """Columns with a verdict, in order of appearance."""
        judged = zip(self.items, self.verdicts, strict=True)
        return list(dict.fromkeys(column for (column, _), verdict in judged if verdict.winner is not None))

    def turned(self) -> JudgedRun:
        """The same, seen from the other side."""
        verdicts = [replace(each, winner=OTHER_SIDE[each.winner]) if each.winner else each for each in self.verdicts]
        return replace(self, a=self.b, b=self.a, verdicts=verdicts)

    def is_between(self, one: Row, other: Row, decoding: str) -> bool:
        """True when these two methods were judged, in either order."""
        return self.decoding == decoding and {self.a.key, self.b.key} == {one.key, other.key}

    def values(self, worth: Mapping[str, float], column: str) -> dict[str, float]:
        """Item of a column -> what its verdict is worth; items without a verdict are absent."""
        return {
            id: worth[verdict.winner]
            for (where, id), verdict in zip(self.items, self.verdicts, strict=True)
            if verdict.winner is not None and where == column
        }


def judged_estimate(runs: Sequence[JudgedRun], worth: Mapping[str, float], columns: Sequence[str]) -> Estimate:
    """Mean worth of the verdicts of one comparison, over seeds and items; of several columns, the mean of theirs.

    Raises:
        InputError: A column without any verdict, or no seed that was judged in all of them.
    """
    known = {column: _by_seed(runs, worth, column) for column in columns}
    if empty := [column for column, by_seed in known.items() if not by_seed]:
        raise InputError(f"nothing was judged in {empty[0]}")
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in known.values())))
    if not seeds:
        raise InputError(f"no seed was judged in all of {', '.join(columns)}")
    drawn = []
    for column, by_seed in known.items():
        rows = tuple(sorted(set().union(*(by_seed[seed] for seed in seeds))))  # all seeds on the same resamples of them
        values = np.array([[by_seed[seed].get(row, 0.0) for row in rows] for seed in seeds])
        is_judged = np.array([[float(row in by_seed[seed]) for row in rows] for seed in seeds])
        drawn.append(row_draws(f"judge {column}", rows, values, is_judged))
    lowest, highest = min(worth.values()), max(worth.values())
    return estimate(replace(mean_of(drawn), is_paired=lowest < 0), lowest, highest)


def net_estimate(runs: Sequence[JudgedRun], winner: Row, columns: Sequence[str]) -> Estimate:
    """Items that ``winner`` won less items it lost, whichever side it stood on; a share, mean over columns."""
    turned = [run if run.a.key == winner.key else run.turned() for run in runs]
    return judged_estimate(turned, NET, columns)


def of_one_judge(runs: Sequence[JudgedRun], left_out: LeftOut = LOGGED) -> list[JudgedRun]:
    """The comparisons of the judge who saw the most seeds, and of those the most items; others are left out.

    Raises:
        InputError: Two judges saw as much.
    """
    by_judge: dict[str, list[JudgedRun]] = {}
    for run in runs:
        by_judge.setdefault(run.judge, []).append(run)
    seen = {judge: (len({run.seed for run in each}), judged_items(each)) for judge, each in by_judge.items()}
    first, *others = sorted(seen, key=lambda judge: seen[judge], reverse=True)
    if others and seen[others[0]] == seen[first]:
        raise InputError(f"{first} and {others[0]} judged as many seeds and items; keep the folders of one judge")
    for judge in others:
        left_out.add(f"left out of the verdicts of {first}: {by_judge[judge][0].path} by {judge}")
    return by_judge[first]


def judged_items(runs: Sequence[JudgedRun]) -> int:
    """How many verdicts there are."""
    return sum(verdict.winner is not None for run in runs for verdict in run.verdicts)


def store_verdicts(
    folder: RunFolder, sides: tuple[EvalRun, EvalRun], contests: Sequence[Contest], verdicts: Sequence[Verdict]
) -> None:
    """Write a folder of verdicts; its identity names decoding and annotator."""
    folder.open()
    rows = [
        {"column": c.column, "id": c.example.id, "same_answer": c.same_answer, **asdict(v)}
        for c, v in zip(contests, verdicts, strict=True)
    ]
    write_jsonl(folder.path / VERDICTS_FILE, rows)
    a, b = ({"method": run.key.method, "eval": run.path.name} for run in sides)
    about = {"a": a, "b": b, "seed": sides[0].seed}
    told = {name: folder.identity[name] for name in ("decoding", "annotator")}
    folder.finish({**about, **told, "items": len(rows)})


def load_judged(runs: Iterable[EvalRun], left_out: LeftOut = LOGGED) -> list[JudgedRun]:
    """The folders of verdicts beside these evaluations that are about two of them.

    One that cannot be read, or that compares two seeds, is left out.
    """
    known = {run.path.name: run for run in runs}
    roots = dict.fromkeys(run.path.parent.parent for run in known.values())
    folders = [file.parent for root in roots for file in sorted(root.glob(f"{STAGE}/*/result.json"))]
    return [judged for folder in folders if (judged := _loaded(folder, known, left_out)) is not None]


def _by_seed(runs: Sequence[JudgedRun], worth: Mapping[str, float], column: str) -> dict[int, dict[str, float]]:
    """Seed -> item -> worth in one column; seeds without a verdict are absent."""
    by_seed: dict[int, dict[str, float]] = {}
    for run in runs:
        if values := run.values(worth, column):
            by_seed.setdefault(run.seed, {}).update(values)
    return by_seed


def _loaded(path: Path, known: Mapping[str, EvalRun], left_out: LeftOut) -> JudgedRun | None:
    """A folder of verdicts; None where it is not about two known evaluations of one seed, or cannot be read."""
    try:
        result = read_json(path / "result.json")
        a, b = (known.get(str(result[side]["eval"])) for side in ("a", "b"))
        if a is None or b is None:
            return None
        check_outputs(path, [VERDICTS_FILE])
        identity, rows = read_json(path / "config.json")["identity"], list(read_jsonl(path / VERDICTS_FILE))
        if len(rows) != int(result["items"]):
            raise DataError(f"{VERDICTS_FILE} has {len(rows)} verdicts, result.json says {result['items']}")
        items = [(str(row["column"]), str(row["id"])) for row in rows]
        verdicts = [Verdict(row["winner"], row["orders_agree"], row["reason"]) for row in rows]
        judged = JudgedRun(path, a, b, str(identity["decoding"]), _judge_text(identity), items, verdicts)
    except (RewardlabError, KeyError, TypeError, AttributeError) as error:
        left_out.add(f"{path}: left out, not a finished comparison by a judge ({error})")
        return None
    if a.seed != b.seed:
        left_out.add(f"{path}: left out, seed {a.seed} was judged against seed {b.seed}")
        return None
    return judged


def _judge_text(identity: Mapping[str, Any]) -> str:
    """Annotator, what its verdicts depend on, and what was not asked: the other order, items over a limit."""
    name, asked, limit = str(identity["annotator"]), identity["annotate"], identity["limit"]
    keys = annotators.get(name).settings if name in annotators.every() else ()
    known = {**identity, **asked}
    settings = [f"{key.replace('_', ' ')} {known[key]}" for key in keys if known.get(key)]
    settings += [
        f"{key.replace('_', ' ')} {identity[key]}" for key in ("endpoint", "prompt", CODE) if identity.get(key)
    ]
    named = f"{name} ({', '.join(settings)})" if settings else name
    orders = ", one order" if identity.get(ORDERS) == ONE_ORDER else ""
    return f"{named}{orders}" if limit is None else f"{named}{orders}, at most {limit} items a column"
