"""The stage ``pairs``: preference pairs for training and held-out pairs of the same kind.

It writes ``pairs.jsonl``, ``held_out.jsonl``, ``manifest.json`` and, for ranked kinds, ``samples.jsonl`` and
``sampled.jsonl`` (see ``sampled.py``). Held-out pairs come from validation rows; none shares its prompt with a
training pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardlab.annotate.base import Annotator, Progress, silent
from rewardlab.annotate.completion import check_failed
from rewardlab.annotate.wrong_labels import WrongLabels
from rewardlab.config import RunConfig
from rewardlab.disk import read_jsonl, write_jsonl
from rewardlab.errors import AnnotationError, InputError
from rewardlab.pairs.bias import turn
from rewardlab.pairs.cleaning import clean
from rewardlab.pairs.files import SAMPLES_FILE, describe, write_pairs
from rewardlab.pairs.label_sensitive import Built, argued_rows, bare_pairs, pairs_from_rationales
from rewardlab.pairs.rationale_sensitive import RankedSamples, pairs_from_ranking, rank_samples
from rewardlab.pairs.sampled import SampleAnswers, sampled_answers
from rewardlab.pairs.statistics import kind_shares
from rewardlab.runs import RunFolder
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import tasks
from rewardlab.types import Example, PairKind


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
        AnnotationError: Not a single training pair came out, though they were asked for.
    """
    rows = candidates(splits, config)
    if kind == "label":
        parts = _label_parts(rows, config, splits, rationales)
    else:
        parts = _ranked_parts(folder, rows, config, kind, sample_answers, annotator, progress)
    clean(parts.train, parts.held_out, balance_length=config.pairs.balance_length, seed=config.seed)
    if config.pairs.bias is not None:
        turn(parts.train, config.pairs.bias)
    manifest = _manifest(folder, config, kind, splits, parts, len(rows.train))
    manifest["spent"] = annotator.spent() if annotator and parts.samples else {}
    write_pairs(folder.path, manifest, parts.train, parts.held_out)
    _check_failed(parts.samples, config)
    if not config.pairs.only_held_out:
        _check_not_empty(kind, manifest)
    return manifest


def candidates(splits: Mapping[str, Splits], config: RunConfig) -> Candidates:
    """The rows that pairs are made from: the first rows of each part; ``pairs.limit`` bounds the held-out rows too."""
    labelled = [] if config.pairs.only_held_out else splits.values()
    return Candidates(
        [row for split in labelled for row in split.labelled[: config.pairs.limit]],
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
    answers = {name: [item.answers for item in parts.samples if item.example.task == name] for name in splits}
    return {
        **describe(kind, config.format, parts.train, parts.held_out, splits),
        "fingerprint": folder.fingerprint,
        "annotator_calls": sum(item.outcome != "duplicate" for item in parts.samples[:train_rows]),
        "held_out_calls": sum(item.outcome != "duplicate" for item in parts.samples[train_rows:]),
        "distribution": {name: kind_shares(rows) for name, rows in answers.items() if rows},
        "source": {name: asdict(split.origin) for name, split in splits.items()},
    }


def _check_failed(samples: Sequence[RankedSamples], config: RunConfig) -> None:
    asked = [(item.outcome, item.reason) for item in samples if item.outcome != "duplicate"]
    check_failed(asked, config.annotate.max_failed)


def _check_not_empty(kind: PairKind, manifest: Mapping[str, Any]) -> None:
    if manifest["pairs"]:
        return
    found = ", ".join(f"{count} {name}" for name, count in manifest["outcomes"].items() if count) or "no labelled rows"
    names = ", ".join(manifest["tasks"])
    raise AnnotationError(
        f"pair-gen: not one {kind} pair for {names}: {found}; "
        "give more rows (pairs.limit, annotate.limit) or another annotator"
    )
