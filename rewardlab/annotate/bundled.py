"""The ``bundled`` annotator: what was written for the bundled rows, so that every real task can be tried offline.

Rows for which nothing was written are left to the ``template`` annotator, and every annotation says which of the two
it comes from. Scores on bundled rows compare with nothing, whoever annotated them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from rewardlab.annotate.access import KEY_VARIABLE
from rewardlab.annotate.base import (
    Ability,
    Annotation,
    Annotator,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
    Resources,
    Sample,
    silent,
)
from rewardlab.annotate.template import TemplateAnnotator
from rewardlab.annotate.written import WrittenRanking, has_written, written_row, written_version
from rewardlab.config import RunConfig
from rewardlab.errors import InputError
from rewardlab.tasks.sources import Splits
from rewardlab.types import Example, Label


class BundledAnnotator(Annotator):
    """Looks answers up.

    Args:
        rows: Task name -> rows over which the template annotator weighs words, for rows without a written answer.
    """

    name = "bundled"
    summary = "what was written for rows of the bundled samples; the template for others"
    needs = "rows of RLLR's tasks from the bundled samples (--source bundled)"
    auto_reason = f"no {KEY_VARIABLE}; rationales were written for rows of the bundled sample"
    model = "written for this project"

    def __init__(self, rows: Mapping[str, Sequence[Example]]) -> None:
        self._other = TemplateAnnotator(rows)

    @classmethod
    def build(cls, given: Resources) -> Self:
        """The template weighs words over the rows of each task."""
        return cls(given.rows)

    @classmethod
    def identity(cls, config: RunConfig, ability: Ability) -> dict[str, Any]:
        """All that was written, as a hash."""
        return {} if ability == "judge" else {"written": written_version()}

    @classmethod
    def check(cls, config: RunConfig, tasks: Collection[str], written: Collection[str]) -> None:
        """Refuse tasks for whose rows nothing was written."""
        if bare := [name for name in tasks if name not in written]:
            raise InputError(
                f"--annotator bundled: nothing was written for the rows of {', '.join(bare)}; "
                "add --source bundled for a task of RLLR, or choose openai, local or template"
            )

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """The written rationale of each request, else the template's."""
        texts = [_rationale(request) for request in requests]
        filled = iter(self._other.rationales([r for r, text in zip(requests, texts, strict=True) if text is None]))
        progress("rationales", len(texts), len(texts))
        return [
            next(filled) if text is None else self.answered(text, request.example, request.label)
            for request, text in zip(requests, texts, strict=True)
        ]

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """The written order where all responses are written ones, else the template's."""
        known = [_utilities(request) for request in requests]
        filled = iter(self._other.rank_many([r for r, found in zip(requests, known, strict=True) if found is None]))
        progress("rankings", len(known), len(known))
        return [
            next(filled) if utilities is None else self.ranked(request, utilities)
            for request, utilities in zip(requests, known, strict=True)
        ]

    def wrong_label(self, example: Example) -> Label | None:
        """The wrong label that a rationale was written for; None where nothing was written."""
        row = written_row(example)
        return row.wrong if row else None

    def with_own_answers(self, sample: Sample) -> Sample:
        """Draws answers as ``sample`` does, except for rows with a written ranking: they get its answers."""

        def draw(examples: Sequence[Example], count: int) -> list[list[str]]:
            written = [_ranking_of(example) for example in examples]
            bare = [example for example, found in zip(examples, written, strict=True) if found is None]
            drawn = iter(sample(bare, count) if bare else [])
            return [next(drawn) if found is None else list(found.answers[:count]) for found in written]

        return draw


def written_tasks(splits: Mapping[str, Splits]) -> frozenset[str]:
    """The tasks whose rows are the bundled ones and have something written for them."""
    return frozenset(name for name, split in splits.items() if split.origin.kind == "bundled" and has_written(name))


def _rationale(request: RationaleRequest) -> str | None:
    row = written_row(request.example)
    return row.rationales.get(request.label) if row else None


def _utilities(request: RankingRequest) -> list[float] | None:
    ranking = _ranking_of(request.example)
    if ranking is None or not set(request.responses) <= set(ranking.answers):
        return None
    place = dict(zip(ranking.answers, ranking.places, strict=True))
    return [-place[text] for text in request.responses]


def _ranking_of(example: Example) -> WrittenRanking | None:
    row = written_row(example) if example.format == "rationale" else None
    return row.ranking if row else None
