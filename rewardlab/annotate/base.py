"""What is asked of an annotator, what comes back, and the base that all annotators share.

Every request ends in one outcome class; text that is not ``answered`` never becomes a value. Whether an answered
rationale is a refusal in disguise or argues for another label is decided in ``filter.py``.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

from rewardlab.config import RunConfig
from rewardlab.errors import AnnotationError, ConfigError
from rewardlab.types import Example, Label

if TYPE_CHECKING:
    from rewardlab.annotate.money import Purse

Ability = Literal["write", "rank", "judge", "grade"]
"""Write rationales, rank responses, say which of two answers is better in a way that claims can rest on, grade one
response by a rubric."""

Outcome = Literal["answered", "refused", "mismatched", "unparsable", "truncated", "filtered", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""``answered`` usable · ``refused`` the annotator declined · ``mismatched`` a rationale for another label ·
``unparsable`` nothing could be read in it · ``truncated`` cut at the token limit · ``filtered`` withheld by the
endpoint's content filter · ``failed`` no answer after all retries."""

Progress = Callable[[str, int, int], None]
"""(what is being done, done so far, total)."""
Sample = Callable[[Sequence[Example], int], list[list[str]]]
"""(rows, answers a row) -> responses of each row."""


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
class GradeRequest:
    """Asks for the grade of one response.

    Attributes:
        example: The row that it answers.
        response: The text.
        ask: Writes the request; ``example`` may be given with a text cut, where a model has no room for all of it.
        lowest, highest: The scale.
    """

    example: Example
    response: str
    ask: Callable[[Example], str]
    lowest: int
    highest: int


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


@dataclass(frozen=True, slots=True)
class Resources:
    """What an annotator is made from.

    Attributes:
        config: The run's configuration.
        journals: Folder of the journals, for answers that are worth keeping.
        rows: Task name -> its rows, over which words can be weighed.
        purse: What the command spends; None is what this annotator spends.
    """

    config: RunConfig
    journals: Path
    rows: Mapping[str, Sequence[Example]]
    purse: Purse | None = None

    def journal(self, annotator: type[Annotator]) -> Path:
        """File of an annotator's journal."""
        return self.journals / f"{annotator.name}.jsonl"


class Annotator:
    """Writes rationales, ranks responses, or both: the base of all annotators.

    A subclass has ``name``, ``summary`` and a ``rationales``, ``rank_many`` or ``grade_many`` of its own; what it can
    do is read off them. ``rewardlab.annotate.registry`` has the ones there are.

    Attributes:
        name: In configurations, journals and manifests.
        summary: One line for ``rewardlab annotators``.
        needs: What it needs to work, in words.
        model: Which model answers.
        settings: Those of ``[annotate]`` that its answers depend on; reports name them beside its verdicts.
        auto_reason: Why ``auto`` takes it where it can work; empty where ``auto`` never does.
        is_paid: Whether its answers cost money; a dry run then counts them.
        is_judge: Whether its verdicts tell good rationales, so that suites have claims judged by it.
        has_batches: Whether ``annotate.batch`` can be asked of it.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    needs: ClassVar[str] = "nothing"
    settings: ClassVar[tuple[str, ...]] = ()
    auto_reason: ClassVar[str] = ""
    is_paid: ClassVar[bool] = False
    is_judge: ClassVar[bool] = False
    has_batches: ClassVar[bool] = False
    model: str = "own code"

    @classmethod
    def build(cls, given: Resources) -> Self:
        """Make one; raises InputError where a key or a model is missing."""
        return cls()

    @classmethod
    def identity(cls, config: RunConfig, ability: Ability) -> dict[str, Any]:
        """What its answers to such requests depend on, JSON-ready, beside name, seed and code; enters fingerprints."""
        return config.annotate.model_dump(mode="json", include=set(cls.settings))

    @classmethod
    def check(cls, config: RunConfig, tasks: Collection[str], written: Collection[str]) -> None:
        """Refuse settings and tasks that it cannot work on; raises InputError.

        Args:
            config: The run's configuration.
            tasks: Names of the tasks to annotate.
            written: Those whose rows are from the bundled sample and have something written for them.
        """

    @classmethod
    def check_access(cls) -> None:
        """Raise InputError where a key is missing; not called for a plan that is only shown."""

    @classmethod
    def abilities(cls) -> list[Ability]:
        """What it can do."""
        own: dict[Ability, bool] = {
            "write": cls.rationales is not Annotator.rationales,
            "rank": cls.rank_many is not Annotator.rank_many,
            "judge": cls.is_judge,
            "grade": cls.grade_many is not Annotator.grade_many,
        }
        return [ability for ability, has in own.items() if has]

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """One annotation per request, in the order of the requests."""
        raise ConfigError(f"annotator {self.name} writes no rationales; `rewardlab annotators` lists those that do")

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """One ranking per request, in the order of the requests."""
        raise ConfigError(f"annotator {self.name} ranks nothing; `rewardlab annotators` lists those that do")

    def grade_many(self, requests: Sequence[GradeRequest], progress: Progress = silent) -> list[Annotation]:
        """One answer per request, in their order; the grade stands in its text, which the rubric reads.

        Sampling temperature and token limit are those of ``[rubric]``, in the place of the ones of ``[annotate]``.
        """
        raise ConfigError(f"annotator {self.name} grades nothing; `rewardlab annotators` lists those that do")

    def spent(self) -> dict[str, Any]:
        """What asking cost in this run, JSON-ready; empty where answers are free."""
        return {}

    def price_usd(self, answer: Annotation) -> float | None:
        """What one answer costs, whoever paid for it; None where that is not known or answers are free."""
        return None

    def remember(self, keys: Collection[str]) -> None:
        """Count what an interrupted run paid for the requests of these keys."""

    def wrong_label(self, example: Example) -> Label | None:
        """The wrong label of a row that it has a rationale for; None lets one be drawn."""
        return None

    def with_own_answers(self, sample: Sample) -> Sample:
        """What gives it answers to rank: ``sample``, or for some rows answers that it has an order of."""
        return sample

    def answered(self, text: str, example: Example, asked: Any) -> Annotation:
        """An answer about a row.

        Args:
            text: Its words.
            example: The row.
            asked: What was asked about it, JSON-ready: the label to argue for, the responses to rank.
        """
        key = request_key([self.name, self.model, example.task, example.id, asked])
        return Annotation(key, text, "answered", self.name, self.model)

    def ranked(self, request: RankingRequest, utilities: Sequence[float]) -> Ranking:
        """The order of responses by a number for each, the highest first; equal ones tie."""
        places = dense_places(utilities)
        return Ranking(places, self.answered(str(places), request.example, list(request.responses)))
