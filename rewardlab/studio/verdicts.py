"""Verdicts on pairs: which are looked at, what people said of them, and how far they agree.

They go to the journal of ``rewardlab annotate review`` and are read from it; an edit is better words for the chosen
response. Nothing that trains reads them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rewardlab.annotate.base import request_key
from rewardlab.annotate.review import (
    Review,
    ReviewerAgreement,
    ReviewItem,
    between_reviewers,
    every_review,
    store_review,
)
from rewardlab.errors import InputError
from rewardlab.studio.index import StudioRun
from rewardlab.studio.tables import Tables, scan_lines

PAIR_FILES = ("pairs.jsonl", "held_out.jsonl")
"""What a stage of pairs trains on, and what it is measured on."""


@dataclass(frozen=True, slots=True)
class PairRow:
    """A pair with what was said of it.

    Attributes:
        row: Its number in the file, from 0.
        pair: As stored.
        key: Of its verdicts: a hash of task, row, kind and both texts.
        reviews: The latest verdict of each reviewer.
    """

    row: int
    pair: Mapping[str, Any]
    key: str
    reviews: Sequence[Review]


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What was said of the pairs of one file.

    Attributes:
        pairs: In the file.
        judged: With at least one verdict.
        decisions: Decision -> verdicts.
        kept: Share of verdicts that keep the preference, an edit among them; None without verdicts.
        agreement: Between reviewers.
    """

    pairs: int
    judged: int
    decisions: Mapping[str, int]
    kept: float | None
    agreement: ReviewerAgreement


class Pairs:
    """The pairs of one run and their verdicts.

    Args:
        run: A run of pairs.
        file: One of :data:`PAIR_FILES`.
        tables: Reads the file.
        journal: Folder of the verdicts.
    Raises:
        InputError: The run has no such file.
    """

    def __init__(self, run: StudioRun, file: str, tables: Tables, journal: Path) -> None:
        frame = tables.rows(run.path / file, _with_keys) if file in PAIR_FILES else None
        if frame is None or not {"chosen", "rejected"} <= set(frame.columns):
            raise InputError(f"{run.key}: no pairs in {file}; expected a run of stage pairs")
        self.frame = frame
        self.journal = journal
        self._given: dict[str, list[Review]] = {}
        for review in every_review(journal):
            self._given.setdefault(review.key, []).append(review)

    def at(self, row: int) -> PairRow:
        """One pair; raises InputError for a number that the file does not have."""
        if not 0 <= row < self.frame.height:
            raise InputError(f"pair {row}: the file has {self.frame.height} pairs, numbered from 0")
        pair = self.frame.row(row, named=True)
        return PairRow(row, pair, pair["key"], self._given.get(pair["key"], ()))

    def counts(self) -> PairCounts:
        """What was said so far."""
        reviews = [
            review for key in self.frame["key"].unique(maintain_order=True) for review in self._given.get(key, ())
        ]
        decisions = {name: sum(review.decision == name for review in reviews) for name in ("accept", "reject", "edit")}
        kept = (decisions["accept"] + decisions["edit"]) / len(reviews) if reviews else None
        judged = len({review.key for review in reviews})
        return PairCounts(self.frame.height, judged, decisions, kept, between_reviewers(reviews))

    def unjudged(self, reviewer: str, after: int, seed: int = 0) -> int:
        """The next pair without a verdict of that reviewer, in an order that is drawn once; ``after`` when all have.

        The order is random because a file is sorted by task and row, and a sample of its beginning is none of the file.
        """
        order, keys = list(range(self.frame.height)), self.frame["key"].to_list()
        random.Random(seed).shuffle(order)
        start = order.index(after) + 1 if 0 <= after < len(order) else 0
        for row in (*order[start:], *order[:start]):
            given = self._given.get(keys[row], ())
            if not any(review.reviewer == reviewer for review in given):
                return row
        return after

    def store(self, row: int, decision: str, edited: str, reviewer: str) -> None:
        """Append a verdict to the journal.

        Raises:
            InputError: No such pair.
            DataError: No such decision, or an edit without a text.
        """
        found = self.at(row)
        review = Review(found.key, decision, edited, reviewer)  # type: ignore[arg-type]  # it checks the decision
        store_review(self.journal, review_item(found.pair), review)


def _with_keys(content: bytes) -> pl.DataFrame:
    frame = scan_lines(content)
    if not {"chosen", "rejected"} <= set(frame.columns):
        return frame
    return frame.with_columns(key=pl.Series([pair_key(pair) for pair in frame.iter_rows(named=True)]))


def pair_key(pair: Mapping[str, Any]) -> str:
    """Key of a pair's verdicts: other texts are another pair."""
    return request_key([pair.get(name) for name in ("task", "id", "kind", "chosen", "rejected")])[:16]


def review_item(pair: Mapping[str, Any]) -> ReviewItem:
    """A pair as an item of the journal."""
    return ReviewItem(
        key=pair_key(pair),
        task=str(pair.get("task") or ""),
        id=str(pair.get("id") or ""),
        label=str(pair.get("chosen_label") or ""),
        prompt=str(pair.get("prompt") or ""),
        text=str(pair["chosen"]),
        kept=True,
        good=None,
        rejected=str(pair["rejected"]),
    )
