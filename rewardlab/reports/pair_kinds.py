"""Which kinds of pairs an SFT model's samples make (RLLR figure 2), over the seeds of a suite.

Rankings of other kinds, or by another annotator, are made of the same samples; those of one seed are counted once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardlab.errors import RewardlabError
from rewardlab.intervals import item_seed, resample_counts
from rewardlab.metrics import Floats
from rewardlab.pairs.files import SAMPLES_FILE
from rewardlab.pairs.statistics import kind_shares
from rewardlab.reports.blocks import Block, Sentences, Text, Told
from rewardlab.reports.plots import PAIR_KINDS, pair_kinds_picture
from rewardlab.reports.render import Source, interval_text
from rewardlab.reports.statistics import RESAMPLES, Estimate, SeedDraws, estimate, mean_of, within
from rewardlab.reports.table import AVERAGE, shown_value
from rewardlab.runs import read_json, read_jsonl

logger = logging.getLogger(__name__)

Shares = Mapping[str, Any]
Answers = Mapping[str, Sequence[Any]]
"""Id of a row -> what was read in each of its samples."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """The kinds of pairs among the samples of one seed for one task.

    Attributes:
        path: Folder of pairs.
        shares: Share of each kind, and ``n``, the number of pairs.
        answers: The samples, when they are stored.
    """

    path: Path
    shares: Shares
    answers: Answers


def pair_blocks(pair_runs: Iterable[Path]) -> list[Block]:
    """The picture, and a sentence a task with its interval."""
    found = distributions(pair_runs)
    sources = {task: [_source(each) for each in parts] for task, parts in found.items()}
    pooled = {task: _pooled([each.shares for each in parts]) for task, parts in found.items()}
    picture = pair_kinds_picture(pooled, sources)
    if picture is None:
        return [Text("No pairs were sampled from an SFT model.")]
    known = rationale_sensitive(found)
    told = [
        Told(_with_interval(task, known[task], shares) if task in known else _without(task, shares), sources[task])
        for task, shares in pooled.items()
    ]
    if AVERAGE in known:
        told.append(Told(_with_interval(f"{AVERAGE} over tasks", known[AVERAGE]), _every(sources)))
    return [picture, Sentences(told)]


def distributions(pair_runs: Iterable[Path]) -> dict[str, list[Distribution]]:
    """Task -> what was sampled in each seed; of several folders of one seed the one with the most pairs."""
    found: dict[str, dict[object, Distribution]] = {}
    for path in pair_runs:
        try:
            seed, shares = _seed(path), read_json(path / "manifest.json")["distribution"]
            answers = _answers(path) if shares else {}
            for task, shared in shares.items():
                by_seed = found.setdefault(task, {})
                if seed not in by_seed or shared["n"] > by_seed[seed].shares["n"]:
                    by_seed[seed] = Distribution(path, shared, answers.get(task, {}))
        except (RewardlabError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: left out of the pair distribution (%s)", path, error)
    return {task: list(by_seed.values()) for task, by_seed in found.items()}


def rationale_sensitive(found: Mapping[str, Sequence[Distribution]]) -> dict[str, Estimate]:
    """Task -> share of rationale-sensitive pairs with its interval, and the average over tasks that have one.

    A task whose samples are not stored is left out.
    """
    drawn = {task: _draws(task, parts) for task, parts in found.items() if all(part.answers for part in parts)}
    seeds = {len(each.values) for each in drawn.values()}
    estimates = {task: estimate(each) for task, each in drawn.items()}
    if len(drawn) > 1 and len(seeds) == 1:
        estimates[AVERAGE] = estimate(mean_of(list(drawn.values())))
    return estimates


def _draws(task: str, parts: Sequence[Distribution]) -> SeedDraws:
    """Per seed, the share among all rows and among resamples of them; the rows are those of all seeds."""
    rows = tuple(sorted({row for part in parts for row in part.answers}))
    counts = resample_counts(len(rows), RESAMPLES, item_seed(task, rows, ()))
    counted = [_counted(part.answers, rows) for part in parts]
    values = np.array([float(hits.sum() / pairs.sum()) for hits, pairs in counted])
    return SeedDraws(values, np.stack([(counts @ hits) / np.maximum(counts @ pairs, 1) for hits, pairs in counted]))


def _counted(answers: Answers, rows: Sequence[str]) -> tuple[Floats, Floats]:
    """Rationale-sensitive pairs, and pairs, of each row. Shape (rows,) each."""
    shares = [kind_shares([answers.get(row, ())]) or {"n": 0.0, "rationale_sensitive": 0.0} for row in rows]
    pairs = np.array([float(found["n"]) for found in shares])
    return pairs * np.array([found["rationale_sensitive"] for found in shares]), pairs


def _seed(path: Path) -> object:
    """The seed that sampled; a folder that does not say counts as one of its own."""
    file = path / "config.json"
    config = read_json(file).get("config", {}) if file.exists() else {}
    return config.get("seed", path)


def _answers(path: Path) -> dict[str, dict[str, Sequence[Any]]]:
    found: dict[str, dict[str, Sequence[Any]]] = {}
    if (path / SAMPLES_FILE).exists():
        for row in read_jsonl(path / SAMPLES_FILE):
            found.setdefault(row["task"], {})[row["id"]] = row["labels"]
    return found


def _pooled(parts: Sequence[Shares]) -> dict[str, float]:
    total = sum(float(part["n"]) for part in parts)
    pooled = {kind: sum(float(part[kind]) * float(part["n"]) for part in parts) / total for kind in PAIR_KINDS}
    return {**pooled, "n": total}


def _source(found: Distribution) -> Source:
    return Source(found.path, shown_value(float(found.shares["rationale_sensitive"])))


def _every(sources: Mapping[str, Sequence[Source]]) -> list[Source]:
    return [source for each in sources.values() for source in each]


def _without(where: str, pooled: Mapping[str, float]) -> str:
    return f"{where}: {shown_value(pooled['rationale_sensitive'])} % rationale-sensitive of {pooled['n']:.0f} pairs"


def _with_interval(where: str, found: Estimate, pooled: Mapping[str, float] | None = None) -> str:
    interval = interval_text(within(found))
    of = f" of {pooled['n']:.0f} pairs" if pooled else ""
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}, interval over {found.basis}"
    return f"{where}: {shown_value(found.value)} % {interval} rationale-sensitive{of} ({seeds})"
