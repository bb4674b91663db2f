"""Which kinds of pairs an SFT model's samples make (RLLR figure 2), over the seeds of a suite.

A pair with an answer that could not be read is malformed: nobody knows whether its labels differ. The share of
rationale-sensitive pairs is one of the readable pairs, and the share of malformed ones stands beside it.

Rankings of other kinds, or by another annotator, are made of the same samples; those of one base model and seed are
counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from rewardlab.comparison.evaluations import model_name
from rewardlab.comparison.grid import Source
from rewardlab.comparison.numbers import interval_text, shown_value
from rewardlab.comparison.runs import LOGGED, LeftOut
from rewardlab.comparison.statistics import Estimate, SeedDraws, estimate, mean_of, row_draws
from rewardlab.comparison.table import AVERAGE
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import RewardlabError
from rewardlab.metrics import Floats
from rewardlab.pairs.files import SAMPLES_FILE
from rewardlab.pairs.statistics import kind_shares
from rewardlab.reports.blocks import Block, Sentences, Text, Told
from rewardlab.reports.plots import PAIR_KINDS, pair_kinds_picture

Shares = Mapping[str, Any]
Answers = Mapping[str, Sequence[Any]]
"""Id of a row -> what was read in each of its samples."""
Place = tuple[str, str]
"""Name of the base model, and a task or the average over its tasks."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """The kinds of pairs among the samples of one seed for one task.

    Attributes:
        path: Folder of pairs.
        seed: That sampled; the folder where it does not say.
        shares: Share of each kind, and ``n``, the number of pairs.
        answers: The samples, when they are stored.
    """

    path: Path
    seed: object
    shares: Shares
    answers: Answers


def pair_blocks(pair_runs: Iterable[Path], left_out: LeftOut = LOGGED) -> list[Block]:
    """The picture, and a sentence a task with its interval."""
    sampled = distributions(pair_runs, left_out)
    named = _names(sampled)
    sources = {place: [_source(each) for each in parts] for place, parts in sampled.items()}
    pooled = {place: _pooled([each.shares for each in parts]) for place, parts in sampled.items()}
    picture = pair_kinds_picture(
        {named[place]: shares for place, shares in pooled.items()},
        {named[place]: each for place, each in sources.items()},
    )
    if picture is None:
        return [Text("No pairs were sampled from an SFT model.")]
    known = rationale_sensitive(sampled)
    told = [Told(_told(named[place], known.get(place), shares), sources[place]) for place, shares in pooled.items()]
    averages = {place: malformed_share(sampled, place) for place in known if place[1] == AVERAGE}
    told += [
        Told(_told(named[place], known[place], {"malformed": share}), sources_of(sampled, place[0]))
        for place, share in averages.items()
    ]
    return [picture, Sentences(told)]


def distributions(pair_runs: Iterable[Path], left_out: LeftOut = LOGGED) -> dict[Place, list[Distribution]]:
    """(Base model, task) -> what was sampled in each seed; of several folders of one seed the one with most pairs."""
    sampled: dict[Place, dict[object, Distribution]] = {}
    for path in pair_runs:
        try:
            (model, seed), shares = _model_and_seed(path), _shares(path)
            answers = _answers(path) if shares else {}
            for task, shared in shares.items():
                by_seed = sampled.setdefault((model, task), {})
                if seed not in by_seed or shared["n"] > by_seed[seed].shares["n"]:
                    by_seed[seed] = Distribution(path, seed, shared, answers.get(task, {}))
        except (RewardlabError, KeyError, TypeError, ValueError, AttributeError) as error:
            left_out.add(f"{path}: left out of the pair distribution ({error})")
    return {place: list(by_seed.values()) for place, by_seed in sampled.items()}


def rationale_sensitive(sampled: Mapping[Place, Sequence[Distribution]]) -> dict[Place, Estimate]:
    """Share of rationale-sensitive pairs among the readable ones with its interval, also on average over the tasks of a
    model that have one.

    A task whose samples are not stored is left out, and one with a seed in which no pair could be read; tasks that were
    sampled in different seeds have no average.
    """
    stored = {place: _sorted(parts) for place, parts in sampled.items() if all(map(_is_known, parts))}
    drawn = {place: _draws(place[1], parts) for place, parts in stored.items()}
    estimates = {place: estimate(each, 0.0, 1.0) for place, each in drawn.items()}
    for model in dict.fromkeys(model for model, _ in drawn):
        tasks = [place for place in drawn if place[0] == model]
        if len(tasks) > 1 and len({tuple(part.seed for part in stored[place]) for place in tasks}) == 1:
            estimates[model, AVERAGE] = estimate(mean_of([drawn[place] for place in tasks]), 0.0, 1.0)
    return estimates


def malformed_share(sampled: Mapping[Place, Sequence[Distribution]], place: Place) -> float:
    """Share of pairs with an answer that could not be read, of all pairs of a task; of the average, mean over tasks."""
    model, task = place
    places = [each for each in sampled if each[0] == model and task in (AVERAGE, each[1])]
    return fmean(_pooled([part.shares for part in sampled[each]])["malformed"] for each in places)


def malformed_note(share: float) -> str:
    """What a share of rationale-sensitive pairs leaves out; empty where that is nothing as printed.

    >>> malformed_note(0.79), malformed_note(0.0001)
    ('79.0 % of all pairs are malformed', '')
    """
    return "" if shown_value(share) == "0.0" else f"{shown_value(share)} % of all pairs are malformed"


def sources_of(sampled: Mapping[Place, Sequence[Distribution]], model: str) -> list[Source]:
    """The folders of one base model's samples, task by task."""
    return [_source(each) for (base, _), parts in sampled.items() if base == model for each in parts]


def _names(named_places: Iterable[Place]) -> dict[Place, str]:
    """What each task, and each model's average, is called: with the model where there are several."""
    places = list(named_places)
    models = list(dict.fromkeys(model for model, _ in places))
    whole = [*((place, place[1]) for place in places), *(((model, AVERAGE), "average over tasks") for model in models)]
    return {place: f"{name} ({place[0]})" if len(models) > 1 else name for place, name in whole}


def _sorted(parts: Iterable[Distribution]) -> list[Distribution]:
    """By seed, so that the seeds of two tasks stand side by side."""
    return sorted(parts, key=lambda part: str(part.seed))


def _draws(task: str, parts: Sequence[Distribution]) -> SeedDraws:
    """Per seed, the share among all rows and among resamples of them; the rows are those of all seeds."""
    rows = tuple(sorted({row for part in parts for row in part.answers}))
    counted = [_counted(part.answers, rows) for part in parts]
    hits, pairs = (np.stack([each[part] for each in counted]) for part in (0, 1))
    return row_draws(task, rows, hits, pairs)


def _counted(answers: Answers, rows: Sequence[str]) -> tuple[Floats, Floats]:
    """Rationale-sensitive pairs, and readable pairs, of each row. Shape (rows,) each."""
    none = {"n": 0.0, "rationale_sensitive": 0.0, "malformed": 0.0}
    shares = [kind_shares([answers.get(row, ())]) or none for row in rows]
    pairs = np.array([float(each["n"]) for each in shares])
    hits, unread = (pairs * np.array([each[kind] for each in shares]) for kind in ("rationale_sensitive", "malformed"))
    return hits, pairs - unread


def _is_known(part: Distribution) -> bool:
    """True when its samples are stored and some pair of them could be read."""
    return bool(part.answers) and part.shares["malformed"] < 1


def _model_and_seed(path: Path) -> tuple[str, object]:
    """The base model and the seed that sampled; a folder that does not say counts as a seed of its own."""
    file = path / "config.json"
    stored = read_json(file) if file.exists() else {}
    return model_name(stored), stored.get("config", {}).get("seed", path)


def _shares(path: Path) -> dict[str, Shares]:
    """Task -> share of each kind and ``n``; empty for pairs that were imported, or chosen by a reward."""
    manifest = read_json(path / "manifest.json")
    stored = manifest.get("distribution", {}) if manifest["kind"] else {}
    return {task: {name: float(shares[name]) for name in (*PAIR_KINDS, "n")} for task, shares in stored.items()}


def _answers(path: Path) -> dict[str, dict[str, Sequence[Any]]]:
    answers: dict[str, dict[str, Sequence[Any]]] = {}
    if (path / SAMPLES_FILE).exists():
        for row in read_jsonl(path / SAMPLES_FILE):
            answers.setdefault(row["task"], {})[row["id"]] = row["labels"]
    return answers


def _pooled(parts: Sequence[Shares]) -> dict[str, float]:
    total = sum(float(part["n"]) for part in parts)
    pooled = {kind: sum(float(part[kind]) * float(part["n"]) for part in parts) / total for kind in PAIR_KINDS}
    return {**pooled, "n": total}


def _source(distribution: Distribution) -> Source:
    return Source(distribution.path, shown_value(float(distribution.shares["rationale_sensitive"])))


def _told(where: str, size: Estimate | None, pooled: Mapping[str, float]) -> str:
    """One line; ``pooled`` has the share of malformed pairs, and of a task the other kinds and the number of pairs."""
    unread = malformed_note(pooled["malformed"])
    kind = "readable pairs" if unread else "pairs"
    readable = (1 - pooled["malformed"]) * pooled["n"] if "n" in pooled else None
    of = "" if readable is None else f" of {readable:.0f} {kind}"
    if readable == 0:
        return f"{where}: {unread}"
    share = pooled["rationale_sensitive"] / (1 - pooled["malformed"]) if size is None else size.value
    interval = "" if size is None else f" {interval_text(size)}"
    seeds = "" if size is None else f"{size.seeds} seed{'s' if size.seeds > 1 else ''}, interval over {size.basis}"
    more = "; ".join(part for part in (unread, seeds) if part)
    return f"{where}: {shown_value(share)} %{interval} rationale-sensitive{of}" + (f" ({more})" if more else "")
