"""The stage ``pairs``: preference pairs for training and held-out pairs of the same kind.

It writes ``pairs.jsonl``, ``held_out.jsonl``, ``manifest.json`` and, for ranked kinds, ``samples.jsonl`` and
``sampled.jsonl`` (see ``sampled.py``). Held-out pairs come from validation rows; none shares its prompt with a
training pair.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardlab.annotate.base import Annotator, Progress, silent
from rewardlab.annotate.wrong_labels import WrongLabels
from rewardlab.config import RunConfig
from rewardlab.errors import AnnotationError, InputError
from rewardlab.pairs.cleaning import clean
from rewardlab.pairs.label_sensitive import Built, argued_rows, bare_pairs, pairs_from_rationales
from rewardlab.pairs.lengths import length_report, warn_of_leaks
from rewardlab.pairs.rationale_sensitive import RankedSamples, pairs_from_ranking, rank_samples
from rewardlab.pairs.sampled import SampleAnswers, sampled_answers
from rewardlab.pairs.statistics import baselines, by_task, kind_shares
from rewardlab.runs import RunFolder, read_jsonl, write_json, write_jsonl
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import tasks
from rewardlab.types import Example, Pair, PairKind

logger = logging.getLogger(__name__)

PAIRS_FILE = "pairs.jsonl"
HELD_OUT_FILE = "held_out.jsonl"
SAMPLES_FILE = "samples.jsonl"
MANIFEST_FILE = "manifest.json"

COUNTED = ("written", "refused", "mismatched", "unparsable", "duplicate")
"""Outcomes that every manifest lists, zeros included; others follow when they occur."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The rows that pairs are made from: for training, and held out."""

    train: list[Example]
    held_out: list[Example]


@dataclass(slots=True)
class Parts:
    """What was built from the candidates.

    Attributes:
        train, held_out: The pairs, and what became of each candidate.
        samples: The ranked samples behind the pairs, training rows first; empty for label pairs.
    """

    train: Built
    held_out: Built
    samples: list[RankedSamples]


def run_pairs(
    folder: RunFolder,
    config: RunConfig,
    kind: PairKind,
    splits: Mapping[str, Splits],
    rationales: Path | None = None,
    sample_answers: SampleAnswers | None = None,
    annotator: Annotator | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Make the pairs of one kind for all tasks.

    Args:
        folder: Where the files go; opened and finished by the caller.
        config: How many rows and samples, which format, which seed.
        kind: ``label``, ``ranked`` or ``rationale``.
        splits: Task name -> its rows.
        rationales: ``rationales.jsonl`` of the stage ``annotate``; needed for label pairs in the rationale format.
        sample_answers: Draws answers from the SFT model; needed for the other kinds.
        annotator: Ranks the samples; needed for the other kinds.
        progress: Told how far sampling and ranking are.
    Returns:
        The manifest.
    Raises:
        InputError: What the kind needs was not given.
        AnnotationError: Not a single training pair came out.
    """
    rows = _candidates(splits, config)
    if kind == "label":
        parts = _label_parts(rows, config, splits, rationales)
    else:
        parts = _ranked_parts(folder, rows, config, kind, sample_answers, annotator, progress)
    clean(parts.train, parts.held_out, balance_length=config.pairs.balance_length, seed=config.seed)
    manifest = _manifest(folder, config, kind, splits, parts, len(rows.train))
    write_jsonl(folder.path / PAIRS_FILE, (pair.to_json() for pair in parts.train.pairs))
    write_jsonl(folder.path / HELD_OUT_FILE, (pair.to_json() for pair in parts.held_out.pairs))
    write_json(folder.path / MANIFEST_FILE, manifest)
    _check_not_empty(kind, manifest)
    warn_of_leaks(kind, {name: found["lengths"] for name, found in manifest["tasks"].items()})
    if not parts.held_out.pairs:
        logger.warning("no held-out %s pairs: reward models cannot be judged on this kind", kind)
    return manifest


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a JSON Lines file as :func:`run_pairs` writes it; raises DataError that names file and line."""
    return [Pair(**row) for row in read_jsonl(path)]


def _candidates(splits: Mapping[str, Splits], config: RunConfig) -> Candidates:
    """The first rows of each part; ``pairs.limit`` bounds the held-out rows too."""
    return Candidates(
        [row for split in splits.values() for row in split.labelled[: config.pairs.limit]],
        [row for split in splits.values() for row in split.validation[: config.pairs.held_out][: config.pairs.limit]],
    )


def _label_parts(rows: Candidates, config: RunConfig, splits: Mapping[str, Splits], rationales: Path | None) -> Parts:
    if config.format != "rationale":
        draw = {
            name: WrongLabels(tasks.get(name), [row.label for row in split.labelled]) for name, split in splits.items()
        }
        return Parts(bare_pairs(rows.train, draw, config.seed), bare_pairs(rows.held_out, draw, config.seed), [])
    if rationales is None:
        raise InputError("label pairs in the rationale format need rationales; run `rewardlab annotate` first")
    written = list(read_jsonl(rationales))
    return Parts(
        pairs_from_rationales(rows.train, argued_rows(written, "labelled")),
        pairs_from_rationales(rows.held_out, argued_rows(written, "validation")),
        [],
    )


def _ranked_parts(
    folder: RunFolder,
    rows: Candidates,
    config: RunConfig,
    kind: PairKind,
    sample_answers: SampleAnswers | None,
    annotator: Annotator | None,
    progress: Progress,
) -> Parts:
    if sample_answers is None or annotator is None:
        raise InputError(f"{kind} pairs need answers sampled from an SFT model, and an annotator that ranks them")
    examples = [*rows.train, *rows.held_out]
    responses = sampled_answers(folder, examples, config.pairs.samples, sample_answers, progress)
    samples = rank_samples(examples, responses, annotator, progress)
    split = ["labelled"] * len(rows.train) + ["validation"] * len(rows.held_out)
    write_jsonl(
        folder.path / SAMPLES_FILE,
        ({**item.to_json(), "split": part} for item, part in zip(samples, split, strict=True)),
    )
    train, held_out = samples[: len(rows.train)], samples[len(rows.train) :]
    return Parts(pairs_from_ranking(train, kind), pairs_from_ranking(held_out, kind), samples)


def _manifest(
    folder: RunFolder, config: RunConfig, kind: PairKind, splits: Mapping[str, Splits], parts: Parts, train_rows: int
) -> dict[str, Any]:
    train, held_out = by_task(parts.train.pairs), by_task(parts.held_out.pairs)
    answers = {name: [item.answers for item in parts.samples if item.example.task == name] for name in splits}
    return {
        "kind": kind,
        "format": config.format,
        "fingerprint": folder.fingerprint,
        "annotators": sorted({f"{pair.annotator} {pair.model}".strip() for pair in parts.train.pairs}),
        "pairs": len(parts.train.pairs),
        "held_out_pairs": len(parts.held_out.pairs),
        "annotator_calls": sum(item.outcome != "duplicate" for item in parts.samples[:train_rows]),
        "held_out_calls": sum(item.outcome != "duplicate" for item in parts.samples[train_rows:]),
        "outcomes": _outcomes(parts.train),
        "held_out_outcomes": _outcomes(parts.held_out),
        "baselines": baselines(parts.train.pairs, parts.held_out.pairs),
        "distribution": {name: kind_shares(rows) for name, rows in answers.items() if rows},
        "tasks": {
            name: {
                "outcomes": _outcomes(parts.train, name),
                "held_out_outcomes": _outcomes(parts.held_out, name),
                "lengths": length_report(train.get(name, [])),
                "baselines": baselines(train.get(name, []), held_out.get(name, [])),
            }
            for name in splits
        },
        "source": {name: asdict(split.origin) for name, split in splits.items()},
    }


def _outcomes(built: Built, task: str | None = None) -> dict[str, int]:
    counts = Counter(outcome for name, outcome in built.outcomes if task in (None, name))
    return {name: counts[name] for name in [*COUNTED, *sorted(set(counts) - set(COUNTED))]}


def _check_not_empty(kind: PairKind, manifest: Mapping[str, Any]) -> None:
    if manifest["pairs"]:
        return
    found = ", ".join(f"{count} {name}" for name, count in manifest["outcomes"].items() if count) or "no labelled rows"
    names = ", ".join(manifest["tasks"])
    raise AnnotationError(
        f"pair-gen: not one {kind} pair for {names}: {found}; "
        "give more rows (pairs.limit, annotate.limit) or another annotator"
    )
