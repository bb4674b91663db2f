"""The ``bundled`` annotator: what was written for the bundled rows, so that every real task can be tried offline.

Rows for which nothing was written are left to the ``template`` annotator, and every annotation says which of the two
it comes from. Scores on bundled rows compare with nothing, whoever annotated them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewardlab.annotate.base import (
    Annotation,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
    dense_places,
    request_key,
    silent,
)
from rewardlab.annotate.template import TemplateAnnotator
from rewardlab.annotate.written import WrittenRanking, has_written, written_row
from rewardlab.tasks.sources import Splits
from rewardlab.types import Example, Label

Sample = Callable[[Sequence[Example], int], list[list[str]]]
"""(rows, answers a row) -> responses of each row."""


class BundledAnnotator:
    """Looks answers up.

    Args:
        rows: Task name -> rows over which the template annotator weighs words, for rows without a written answer.
    """

    name = "bundled"
    model = "written for this project"

    def __init__(self, rows: Mapping[str, Sequence[Example]]) -> None:
        self._other = TemplateAnnotator(rows)

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """The written rationale of each request, else the template's."""
        texts = [_rationale(request) for request in requests]
        filled = iter(self._other.rationales([r for r, text in zip(requests, texts, strict=True) if text is None]))
        progress("rationales", len(texts), len(texts))
        return [
            next(filled) if text is None else self._annotation(text, request.example, request.label)
            for request, text in zip(requests, texts, strict=True)
        ]

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """The written order where all responses are written ones, else the template's."""
        places = [_places(request) for request in requests]
        filled = iter(self._other.rank_many([r for r, place in zip(requests, places, strict=True) if place is None]))
        progress("rankings", len(places), len(places))
        return [
            next(filled)
            if place is None
            else Ranking(place, self._annotation(str(place), request.example, list(request.responses)))
            for request, place in zip(requests, places, strict=True)
        ]

    def spent(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def _annotation(self, text: str, example: Example, asked: object) -> Annotation:
        key = request_key([self.name, self.model, example.task, example.id, asked])
        return Annotation(key, text, "answered", self.name, self.model)


def written_tasks(splits: Mapping[str, Splits]) -> frozenset[str]:
    """The tasks whose rows are the bundled ones and have something written for them."""
    return frozenset(name for name, split in splits.items() if split.origin.kind == "bundled" and has_written(name))


def written_wrong_label(example: Example) -> Label | None:
    """The wrong label that a rationale was written for; None where nothing was written."""
    row = written_row(example)
    return row.wrong if row else None


def written_answers_first(sample: Sample) -> Sample:
    """Draws answers as ``sample`` does, except for rows with a written ranking: they get its answers."""

    def draw(examples: Sequence[Example], count: int) -> list[list[str]]:
        written = [_ranking_of(example) for example in examples]
        bare = [example for example, found in zip(examples, written, strict=True) if found is None]
        drawn = iter(sample(bare, count) if bare else [])
        return [next(drawn) if found is None else list(found.answers[:count]) for found in written]

    return draw


def _rationale(request: RationaleRequest) -> str | None:
    row = written_row(request.example)
    return row.rationales.get(request.label) if row else None


def _places(request: RankingRequest) -> tuple[int, ...] | None:
    ranking = _ranking_of(request.example)
    if ranking is None or not set(request.responses) <= set(ranking.answers):
        return None
    place = dict(zip(ranking.answers, ranking.places, strict=True))
    return dense_places([-place[text] for text in request.responses])


def _ranking_of(example: Example) -> WrittenRanking | None:
    row = written_row(example) if example.format == "rationale" else None
    return row.ranking if row else None
