"""The ``sandbox`` annotator: the sandbox's oracle behind the protocol all annotators share.

What the oracle knows about its own refusals and mismatches is not passed on; the filter has to find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.sandbox import OracleAnnotator


class SandboxAnnotator:
    """Asks the oracle.

    Args:
        oracle: The sandbox's annotator, with its rates and its weight of correctness.
    """

    name = "sandbox"

    def __init__(self, oracle: OracleAnnotator) -> None:
        self.oracle = oracle
        self.model = f"oracle(w={oracle.weight:g})"

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """One text per request: a rationale, a refusal, or a rationale for another label."""
        texts = [self.oracle.rationale(request.example, request.label).text for request in requests]
        progress("rationales", len(texts), len(texts))
        return [self._annotation(text, r.example, r.label) for text, r in zip(texts, requests, strict=True)]

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """One ranking per request, by the oracle's utilities."""
        places = [dense_places(self.oracle.utilities(r.example, r.responses)) for r in requests]
        progress("rankings", len(places), len(places))
        return [
            Ranking(place, self._annotation(str(place), r.example, list(r.responses)))
            for place, r in zip(places, requests, strict=True)
        ]

    def spent(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def _annotation(self, text: str, example: Example, asked: Any) -> Annotation:
        key = request_key([self.name, self.model, self.oracle.seed, example.task, example.id, asked])
        return Annotation(key, text, "answered", self.name, self.model)
