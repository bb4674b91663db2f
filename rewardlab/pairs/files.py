"""What a folder of pairs holds: training pairs, held-out pairs, and a manifest that counts and measures them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from rewardlab.disk import read_jsonl, write_json, write_jsonl
from rewardlab.errors import DataError, InputError
from rewardlab.pairs.label_sensitive import Built
from rewardlab.pairs.lengths import length_report, warn_of_leaks
from rewardlab.pairs.rationale_sensitive import pair_kind
from rewardlab.pairs.statistics import baselines, by_task
from rewardlab.types import AnswerFormat, Pair, PairKind

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

logger = logging.getLogger(__name__)

PAIRS_FILE = "pairs.jsonl"
HELD_OUT_FILE = "held_out.jsonl"
SAMPLES_FILE = "samples.jsonl"
MANIFEST_FILE = "manifest.json"

COUNTED = ("written", "refused", "mismatched", "unparsable", "duplicate")
"""Outcomes that every manifest lists, zeros included; others follow when they occur."""


def write_pairs(folder: Path, manifest: Mapping[str, Any], train: Built, held_out: Built) -> None:
    """Write the three files, then warn of what a reader of the manifest should not miss."""
    write_jsonl(folder / PAIRS_FILE, (pair.to_json() for pair in train.pairs))
    write_jsonl(folder / HELD_OUT_FILE, (pair.to_json() for pair in held_out.pairs))
    write_json(folder / MANIFEST_FILE, manifest)
    kind = manifest["kind"]
    warn_of_leaks(kind, {name: found["lengths"] for name, found in manifest["tasks"].items()})
    if not held_out.pairs:
        logger.warning("no held-out %s pairs: reward models cannot be judged on this kind", kind)


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a JSON Lines file as :func:`write_pairs` writes it; raises DataError that names file and line."""
    return [_pair(row, path, number) for number, row in enumerate(read_jsonl(path), 1)]


def _pair(row: Mapping[str, Any], path: Path, number: int) -> Pair:
    try:
        _row_model().model_validate(row)
    except ValidationError as error:
        found = ", ".join({each["loc"][0]: _problem(each) for each in error.errors()}.values())
        raise DataError(
            f"{path} row {number}: not a pair, found {found}; expected {', '.join(get_type_hints(Pair))}. "
            "For other preference data: `rewardlab pairs import`"
        ) from error
    return Pair(**row)


@cache
def _row_model() -> type[BaseModel]:
    """What a line must be: the fields of a pair, all of them, with values of their types."""
    kinds: dict[str, Any] = {name: (kind, ...) for name, kind in get_type_hints(Pair).items()}
    return create_model("PairRow", __config__=ConfigDict(extra="forbid", strict=True), **kinds)


def _problem(error: ErrorDetails) -> str:
    """What is wrong with one field."""
    name = error["loc"][0]
    if error["type"] == "missing":
        return f"no {name}"
    if error["type"] == "extra_forbidden":
        return f"{name!r}"
    return f"{name} = {error['input']!r:.60} ({error['msg'][:1].lower()}{error['msg'][1:]})"


def read_folder(folder: Path) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out pairs of a folder.

    Raises:
        InputError: The folder holds no pairs.
        DataError: A line is no pair.
    """
    if not (folder / PAIRS_FILE).is_file():
        raise InputError(
            f"{folder}: no {PAIRS_FILE}; expected a folder made by `rewardlab pair-gen` or `rewardlab pairs import`"
        )
    held_out = folder / HELD_OUT_FILE
    return read_pairs(folder / PAIRS_FILE), read_pairs(held_out) if held_out.is_file() else []


def describe(
    kind: PairKind, format: AnswerFormat, train: Built, held_out: Built, names: Iterable[str]
) -> dict[str, Any]:
    """The manifest's part that every folder of pairs has.

    Args:
        kind, format: Of all the pairs.
        train, held_out: The pairs, and what became of each candidate.
        names: The tasks, in the order to list them.
    """
    known, unseen = by_task(train.pairs), by_task(held_out.pairs)
    return {
        "kind": kind,
        "format": format,
        "annotators": sorted({f"{pair.annotator} {pair.model}".strip() for pair in train.pairs}),
        "pairs": len(train.pairs),
        "held_out_pairs": len(held_out.pairs),
        "outcomes": _outcomes(train),
        "held_out_outcomes": _outcomes(held_out),
        "baselines": baselines(train.pairs, held_out.pairs),
        "tasks": {
            name: {
                "outcomes": _outcomes(train, name),
                "held_out_outcomes": _outcomes(held_out, name),
                "kinds": kinds_of(known.get(name, [])),
                "held_out_kinds": kinds_of(unseen.get(name, [])),
                "lengths": length_report(known.get(name, [])),
                "baselines": baselines(known.get(name, []), unseen.get(name, [])),
            }
            for name in names
        },
    }


def kinds_of(pairs: Iterable[Pair]) -> dict[str, int]:
    """How many pairs differ in their answer, in the rationale alone, or hold an answer that cannot be read."""
    return dict(Counter(pair_kind(pair.chosen_label, pair.rejected_label) for pair in pairs))


def _outcomes(built: Built, task: str | None = None) -> dict[str, int]:
    counts = Counter(outcome for name, outcome in built.outcomes if task in (None, name))
    return {name: counts[name] for name in [*COUNTED, *sorted(set(counts) - set(COUNTED))]}
