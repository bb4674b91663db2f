"""Pairs from ranked samples: every untied pair (``ranked``), or only those with equal answers (``rationale``).

RLLR samples five answers from the SFT model and has them ranked (appendix C). Equal texts are ranked once and give no
pair; ties give none either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rewardlab.annotate.base import Annotator, Progress, RankingRequest, silent
from rewardlab.pairs.label_sensitive import Built
from rewardlab.tasks.task import parse_response, prompt_of
from rewardlab.types import Example, Label, Pair, PairKind


@dataclass(frozen=True, slots=True)
class RankedSamples:
    """The sampled answers to one prompt and their order.

    Attributes:
        example: The row.
        responses: All samples, repeated texts included.
        answers: What the parser read in each; None when malformed.
        places: Place of each sample, 1 the best; empty without a ranking.
        outcome: Class of the ranking; ``duplicate`` when all texts are the same, which asks no annotator.
        reason: Why there is no ranking.
        annotator, model: Who ranked.
    """

    example: Example
    responses: tuple[str, ...]
    answers: tuple[Label | None, ...]
    places: tuple[int, ...]
    outcome: str
    reason: str
    annotator: str
    model: str

    def to_json(self) -> dict[str, Any]:
        """One line of ``samples.jsonl``."""
        return {
            "task": self.example.task,
            "id": self.example.id,
            "responses": list(self.responses),
            "labels": list(self.answers),
            "places": list(self.places),
            "outcome": self.outcome,
            "reason": self.reason,
            "annotator": self.annotator,
            "model": self.model,
        }


def rank_samples(
    examples: Sequence[Example], responses: Sequence[Sequence[str]], annotator: Annotator, progress: Progress = silent
) -> list[RankedSamples]:
    """Have the samples of each row ranked; rows whose samples are all the same text are not asked about."""
    different = [tuple(dict.fromkeys(texts)) for texts in responses]
    asked = [row for row, texts in enumerate(different) if len(texts) > 1]
    requests = [RankingRequest(examples[row], different[row]) for row in asked]
    rankings = dict(zip(asked, annotator.rank_many(requests, progress), strict=True))
    ranked: list[RankedSamples] = []
    for row, (example, texts) in enumerate(zip(examples, responses, strict=True)):
        ranking = rankings.get(row)
        place = dict(zip(different[row], ranking.places, strict=False)) if ranking else {}
        ranked.append(
            RankedSamples(
                example=example,
                responses=tuple(texts),
                answers=tuple(parse_response(example, text).value for text in texts),
                places=tuple(place[text] for text in texts) if place else (),
                outcome=ranking.outcome if ranking else "duplicate",
                reason=ranking.annotation.reason if ranking else "all samples are the same text",
                annotator=annotator.name,
                model=annotator.model,
            )
        )
    return ranked


def pairs_from_ranking(samples: Sequence[RankedSamples], kind: PairKind) -> Built:
    """All untied pairs of different texts; for ``rationale`` only those whose answers are equal.

    Outcomes are counted per pair of samples (``written``, ``tied``, ``duplicate``, ``label_sensitive`` where the kind
    leaves those out), and once per row that has no ranking (``refused``, ``unparsable``, ...).
    """
    built = Built()
    for item in samples:
        if not item.places:
            built.skip(item.example.task, item.outcome)
            continue
        seen: set[tuple[str, str]] = set()
        for best, other in _ordered(item):
            outcome = _outcome(item, best, other, kind, seen)
            if outcome == "written":
                built.pairs.append(_pair(item, best, other, kind))
            else:
                built.skip(item.example.task, outcome)
    return built


def pair_kind(first: Label | None, second: Label | None) -> str:
    """In what two answers to one prompt differ: RLLR Fig. 2's two kinds, and those with a malformed answer."""
    if first is None or second is None:
        return "malformed"
    return "rationale_sensitive" if first == second else "label_sensitive"


def _ordered(item: RankedSamples) -> Iterator[tuple[int, int]]:
    """Every two samples, the better one first."""
    for left, right in combinations(range(len(item.responses)), 2):
        yield (left, right) if item.places[left] <= item.places[right] else (right, left)


def _outcome(item: RankedSamples, best: int, other: int, kind: PairKind, seen: set[tuple[str, str]]) -> str:
    texts = (item.responses[best], item.responses[other])
    if texts[0] == texts[1] or texts in seen:
        return "duplicate"
    if item.places[best] == item.places[other]:
        return "tied"
    found = pair_kind(item.answers[best], item.answers[other])
    if kind == "rationale" and found != "rationale_sensitive":
        return found
    seen.add(texts)
    return "written"


def _pair(item: RankedSamples, best: int, other: int, kind: PairKind) -> Pair:
    return Pair(
        task=item.example.task,
        id=item.example.id,
        kind=kind,
        format=item.example.format,
        prompt=prompt_of(item.example),
        chosen=item.responses[best],
        rejected=item.responses[other],
        chosen_label=item.answers[best],
        rejected_label=item.answers[other],
        gold_label=item.example.label,
        annotator=item.annotator,
        model=item.model,
    )
