"""Comparisons by a judge as run folders: written by ``rewardlab judge``, read back for reports and claims."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rewardlab.errors import InputError, RewardlabError
from rewardlab.evaluation.judge import Contest, Verdict
from rewardlab.intervals import item_seed, resample_counts
from rewardlab.reports.blocks import Block, Table, Text
from rewardlab.reports.charts import OTHER, Bar, Panel, Picture
from rewardlab.reports.collect import EvalRun
from rewardlab.reports.differences import points, points_interval
from rewardlab.reports.render import Cell, Grid, Heading, Source, interval_text
from rewardlab.reports.statistics import RESAMPLES, Estimate, SeedDraws, estimate, within
from rewardlab.reports.table import AVERAGE, Row, shown_value
from rewardlab.runs import RunFolder, read_json, read_jsonl, write_jsonl

logger = logging.getLogger(__name__)

Side = Literal["a", "tie", "b"]

STAGE = "judge"
VERDICTS_FILE = "verdicts.jsonl"
OTHER_SIDE: Mapping[Side, Side] = {"a": "b", "tie": "tie", "b": "a"}
NET: Mapping[str, float] = {"a": 1.0, "tie": 0.0, "b": -1.0}
"""Worth of a verdict in wins minus losses, from the side called a."""
PARTS: Mapping[str, tuple[Mapping[str, float], int]] = {
    "win": ({"a": 1.0, "tie": 0.0, "b": 0.0}, 0),
    "tie": ({"a": 0.0, "tie": 1.0, "b": 0.0}, OTHER),
    "lose": ({"a": 0.0, "tie": 0.0, "b": 1.0}, 1),
}
"""Part of a bar -> worth of a verdict in it, and its colour."""


@dataclass(frozen=True, eq=False)
class JudgedRun:
    """One folder of verdicts.

    Attributes:
        a, b: Method and evaluation folder's name of each side.
        decoding, annotator: What was read, and by whom.
        seed: Of a's training.
        items: Column and id, in the order of ``verdicts``.
        verdicts: What became of them.
    """

    path: Path
    a: tuple[str, str]
    b: tuple[str, str]
    decoding: str
    annotator: str
    seed: int
    items: Sequence[tuple[str, str]]
    verdicts: Sequence[Verdict]

    def turned(self) -> JudgedRun:
        """The same, seen from the other side."""
        verdicts = [replace(each, winner=OTHER_SIDE[each.winner]) if each.winner else each for each in self.verdicts]
        return replace(self, a=self.b, b=self.a, verdicts=verdicts)

    def is_between(self, one: Row, other: Row, decoding: str) -> bool:
        """True when these two methods were judged, in either order."""
        names = [{run.path.name for run in row.runs} for row in (one, other)]
        forward = self.a[1] in names[0] and self.b[1] in names[1]
        return self.decoding == decoding and (forward or (self.a[1] in names[1] and self.b[1] in names[0]))

    def values(self, worth: Mapping[str, float], column: str = AVERAGE) -> dict[str, float]:
        """Item -> what its verdict is worth; items without a verdict or of another column are absent."""
        return {
            f"{where}/{id}": worth[verdict.winner]
            for (where, id), verdict in zip(self.items, self.verdicts, strict=True)
            if verdict.winner is not None and column in (AVERAGE, where)
        }


def judged_estimate(runs: Sequence[JudgedRun], worth: Mapping[str, float], column: str = AVERAGE) -> Estimate:
    """Mean worth of the verdicts of one comparison, over seeds and items; raises InputError when one has none."""
    by_seed: dict[int, dict[str, float]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, {}).update(run.values(worth, column))
    drawn = [_draws(values, column) for _, values in sorted(by_seed.items())]
    return estimate(SeedDraws(np.concatenate([d.values for d in drawn]), np.concatenate([d.draws for d in drawn])))


def net_estimate(runs: Sequence[JudgedRun], winner: Row, column: str = AVERAGE) -> Estimate:
    """Items that ``winner`` won less items it lost, whichever side it stood on; a share."""
    names = {run.path.name for run in winner.runs}
    turned = [run if run.a[1] in names else run.turned() for run in runs]
    return judged_estimate(turned, NET, column)


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


def load_judged(paths: Iterable[Path]) -> list[JudgedRun]:
    """Read folders of verdicts; one that cannot be read is named in the log and left out."""
    found = []
    for path in paths:
        try:
            found.append(_load(path))
        except (RewardlabError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: left out, not a finished comparison by a judge (%s)", path, error)
    return found


def judged_folders(runs: Iterable[EvalRun]) -> list[Path]:
    """Folders of verdicts beside these evaluations that are about two of them."""
    evals = list(runs)
    names = {run.path.name for run in evals}
    roots = dict.fromkeys(run.path.parent.parent for run in evals)
    found = [file.parent for root in roots for file in sorted(root.glob(f"{STAGE}/*/result.json"))]
    return [folder for folder in found if _evaluations(folder) <= names]


def judged_blocks(found: Sequence[JudgedRun]) -> list[Block]:
    """Win, tie and lose of each two methods, over seeds: bars (RLLR figure 4) and a table."""
    pairs = _by_pair(found)
    sizes = {
        pair: {name: judged_estimate(runs, worth) for name, worth in (*_worths(), ("net", NET))}
        for pair, runs in pairs.items()
    }
    rivals = dict.fromkeys((b, decoding) for _, b, decoding in pairs)
    panels = [
        Panel(f"against {rival[0]}, {rival[1]} decoding", bars, "share of items, %; right: win minus lose")
        for rival in rivals
        if (bars := [_bar(pair, sizes[pair], runs) for pair, runs in pairs.items() if pair[1:] == rival])
    ]
    picture = Picture("judged", "Wins, ties and losses before a judge", panels, _legend())
    headings = [Heading(title, is_number=title not in TEXTS) for title in TITLES]
    lines = [_line(pair, sizes[pair], runs) for pair, runs in pairs.items()]
    note = "Both orders are asked; an item whose two verdicts differ is a tie. Shares times 100 with 95 % intervals."
    return [picture, Table(Grid(headings, lines)), Text(note)]


TEXTS = ("method", "against", "decoding", "judge")
TITLES = ("method", "against", "decoding", "win", "tie", "lose", "win minus lose", "items", "seeds", "judge")
Pair = tuple[str, str, str]
"""Method a, method b, decoding."""


def _worths() -> list[tuple[str, Mapping[str, float]]]:
    return [(name, worth) for name, (worth, _) in PARTS.items()]


def _legend() -> list[tuple[str, int]]:
    return [(name, colour) for name, (_, colour) in PARTS.items()]


def _bar(pair: Pair, sizes: Mapping[str, Estimate], runs: Sequence[JudgedRun]) -> Bar:
    parts = [(sizes[name].value, colour) for name, (_, colour) in PARTS.items()]
    return Bar(pair[0], parts, points(sizes["net"].value), sources=_sources(runs))


def _line(pair: Pair, sizes: Mapping[str, Estimate], runs: Sequence[JudgedRun]) -> list[Cell]:
    shares = [_share_cell(sizes[name], runs) for name in PARTS]
    net = Cell(points(sizes["net"].value), points_interval(sizes["net"]), sources=_sources(runs))
    judges = ", ".join(dict.fromkeys(run.annotator for run in runs))
    items = sum(len(run.values(NET)) for run in runs)
    return [*map(Cell, pair), *shares, net, Cell(str(items)), Cell(str(len({run.seed for run in runs}))), Cell(judges)]


def _share_cell(found: Estimate, runs: Sequence[JudgedRun]) -> Cell:
    return Cell(shown_value(found.value), interval_text(within(found)), sources=_sources(runs))


def _by_pair(found: Sequence[JudgedRun]) -> dict[Pair, list[JudgedRun]]:
    """The folders of each two methods, those without any verdict left out."""
    grouped: dict[Pair, list[JudgedRun]] = {}
    for run in found:
        if run.values(NET):
            grouped.setdefault((run.a[0], run.b[0], run.decoding), []).append(run)
    return grouped


def _draws(values: Mapping[str, float], column: str) -> SeedDraws:
    """Mean over one seed's items, and on resamples of them; items by id."""
    if not values:
        raise InputError(f"nothing was judged in {column}")
    ids = tuple(sorted(values))
    counts = resample_counts(len(ids), RESAMPLES, item_seed(f"judge {column}", ids, ()))
    numbers = np.array([values[id] for id in ids])
    return SeedDraws(numbers.mean(keepdims=True), (counts @ numbers / len(ids))[None, :])


def _sources(runs: Sequence[JudgedRun]) -> list[Source]:
    return [Source(run.path) for run in runs]


def _evaluations(folder: Path) -> set[str]:
    """Names of the two evaluation folders that a folder of verdicts is about; a name of none when it cannot be read."""
    try:
        result = read_json(folder / "result.json")
        return {str(result[side]["eval"]) for side in ("a", "b")}
    except (RewardlabError, KeyError, TypeError):
        return {""}


def _load(path: Path) -> JudgedRun:
    result, rows = read_json(path / "result.json"), list(read_jsonl(path / VERDICTS_FILE))
    a, b = ((str(result[side]["method"]), str(result[side]["eval"])) for side in ("a", "b"))
    return JudgedRun(
        path,
        a,
        b,
        str(result["decoding"]),
        str(result["annotator"]),
        int(result["seed"]),
        [(str(row["column"]), str(row["id"])) for row in rows],
        [Verdict(row["winner"], row["orders_agree"], row["reason"]) for row in rows],
    )
