"""What is asked of an annotator, what comes back, and the protocol all annotators share.

Every request ends in one outcome class; text that is not ``answered`` never becomes a value. Whether an answered
rationale is a refusal in disguise or argues for another label is decided in ``filter.py``.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from rewardlab.errors import AnnotationError
from rewardlab.types import Example, Label

Outcome = Literal["answered", "refused", "mismatched", "unparsable", "truncated", "filtered", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""``answered`` usable · ``refused`` the annotator declined · ``mismatched`` a rationale for another label ·
``unparsable`` nothing could be read in it · ``truncated`` cut at the token limit · ``filtered`` withheld by the
endpoint's content filter · ``failed`` no answer after all retries."""

Progress = Callable[[str, int, int], None]
"""(what is being done, done so far, total)."""


def silent(what: str, done: int, total: int) -> None:
    """The progress report of somebody who does not look."""


@dataclass(frozen=True, slots=True)
class RationaleRequest:
    """Asks for a text that argues for ``label``, right or wrong."""

    example: Example
    label: Label


@dataclass(frozen=True, slots=True)
class RankingRequest:
    """Asks for the order of two or more different responses to one prompt, the best first."""

    example: Example
    responses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """What came back for one request.

    Attributes:
        key: Content hash of the request; the same question has the same key.
        text: The annotator's words; may be empty unless ``outcome`` is ``answered``.
        outcome: Its class, see :data:`OUTCOMES`.
        reason: Why it is not ``answered``; one line.
        annotator, model: Who wrote it.
        prompt_tokens, response_tokens: What the endpoint counted; None when nothing was counted.
        from_journal: True when it was answered in an earlier run.
        good: The filter's probability that it is a good rationale for the label asked for; None before the filter.
    """

    key: str
    text: str
    outcome: Outcome
    annotator: str
    model: str
    reason: str = ""
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    from_journal: bool = False
    good: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The order of the responses of one request.

    Attributes:
        places: Place of each response, 1 the best; ties share a place. Empty unless the outcome is ``answered``.
        annotation: The answer it was read from.
    """

    places: tuple[int, ...]
    annotation: Annotation

    @property
    def outcome(self) -> Outcome:
        """Class of the request."""
        return self.annotation.outcome


class Annotator(Protocol):
    """Writes rationales and ranks responses.

    Attributes:
        name: ``openai``, ``local``, ``bundled``, ``template`` or ``sandbox``.
        model: Which model answers.
    """

    name: str
    model: str

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """One annotation per request, in the order of the requests."""
        ...

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """One ranking per request, in the order of the requests."""
        ...

    def spent(self) -> dict[str, Any]:
        """What asking cost in this run, JSON-ready; empty where answers are free."""
        ...


class BatchPending(AnnotationError):
    """Nothing is wrong: a batch was submitted, or asked about, and the stage goes on another time."""

    exit_code = 0


def request_key(request: Any) -> str:
    """Content hash (32 hexadecimal digits) of a JSON-ready request: annotator, model, messages, sampling settings."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def seeded(*parts: Any) -> random.Random:
    """A random generator that depends on ``parts`` alone, the same in every process."""
    return random.Random(int(request_key([str(part) for part in parts]), 16))


def dense_places(utilities: Sequence[float]) -> tuple[int, ...]:
    """Places of responses by utility, the highest first; equal utilities tie.

    >>> dense_places([0.5, 2.0, 0.5])
    (2, 1, 2)
    """
    order = {utility: place for place, utility in enumerate(sorted(set(utilities), reverse=True), 1)}
    return tuple(order[utility] for utility in utilities)
