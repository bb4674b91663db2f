"""Stored responses under another expression, without a model: every raw part is read from where it was stored.

A part is the raw score of one named reward, as a ledger (``ledger.py``) or another library's log holds it. Parts that
were not stored are computed here where text and gold label are enough for them (``rule``, ``length``); what needs a
model or the task's fields is told as missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, DataError
from rewardlab.rewards.balanced import label_shares
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.expression import RESERVED
from rewardlab.rewards.moving import MULTIPLIER, Moment
from rewardlab.rewards.plan import ExpressionReward, RewardPlan, plan_reward
from rewardlab.rewards.registry import RewardEntry, find_reward, rewards
from rewardlab.tasks.places import is_known
from rewardlab.types import Example, Label, Reward, Score

PARTS = "parts"
"""Key of ``Example.evidence`` under which a stored response carries its raw scores."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response of a log.

    Attributes:
        step: Training step that it was sampled in.
        example: Task, id and gold label as far as the log has them; no fields.
        response: The text.
        parts: Raw score of each named reward; None: it could not judge.
        score: What the policy was trained on, before normalisation and KL; None: not scored.
        correct: 1 right, 0 wrong, or a share in between; None without gold label, and for numbers.
        error: Distance to the gold number; None for labels, and where no number could be read.
        answer: What a parser read in it.
        sample: Which sample of its prompt it is.
    """

    step: int
    example: Example
    response: str
    parts: Mapping[str, float | None]
    score: float | None
    correct: float | None = None
    error: float | None = None
    answer: Label | None = None
    sample: int = 0

    @property
    def prompt(self) -> tuple[str, str]:
        """What identifies its prompt."""
        return self.example.task, self.example.id


@dataclass(frozen=True, slots=True)
class Rescored:
    """What an expression makes of stored responses.

    Attributes:
        scores: One each, in their order.
        lam: Lambda on the raw scale; None when the expression has none.
        computed: Parts that no response had stored and that were computed from texts and gold labels.
    """

    scores: Sequence[Score]
    lam: float | None
    computed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MissingPart:
    """A raw part that an expression needs and that is not stored.

    Attributes:
        name: In the expression.
        entry: The reward of that name.
    """

    name: str
    entry: RewardEntry


class MissingPartsError(ConfigError):
    """Raw parts are missing; ``parts`` names them."""

    def __init__(self, expression: str, parts: Sequence[MissingPart], stored: Sequence[str]) -> None:
        names = ", ".join(part.name for part in parts)
        have = ", ".join(stored) or "none"
        super().__init__(f"reward {expression!r} needs the raw scores of {names}; stored are {have}")
        self.parts = tuple(parts)


def rescore(
    rows: Sequence[StoredResponse],
    config: RewardConfig,
    sft_scores: Mapping[str, Sequence[float]] | None = None,
    fresh: Sequence[str] = (),
) -> Rescored:
    """Evaluate an expression on stored responses; its own expression gives a ledger's own scores bit by bit.

    The responses of one step are scored together: those of equal task and id among them are a group.

    Args:
        rows: The responses, those of a step together.
        config: Expression, lambda, second reward model of ``mixed``, and the reading of rules that are computed.
        sft_scores: Stored scores of reward models on SFT samples, for quantiles and z-scores.
        fresh: Stored parts to compute anew all the same.
    Raises:
        MissingPartsError: A part is neither stored nor can be computed.
        DataError: Some rows have a part and others have not.
        ExpressionError, ConfigError: As :func:`rewardlab.rewards.plan.plan_reward`.
    """
    stored = stored_parts(rows)
    with lent_parts(rows):
        plan = plan_reward(config)
        shares = label_shares(row.example for row in rows) if plan.needs_shares else {}
        context = RewardContext(sft_scores=sft_scores or {}, reading=config.reading, label_shares=shares)
        parts = dict(_parts(plan, [name for name in stored if name not in fresh], rows, context))
        reward = ExpressionReward(plan, parts, context)
        last = max((row.step for row in rows), default=1)
        scores = [score for step in _by_step(rows) for score in _scored(reward.at(_moment(step[0], last)), step)]
    computed = tuple(name for name, part in parts.items() if not isinstance(part, _Stored))
    return Rescored(scores, reward.lam, computed)


@contextmanager
def lent_parts(rows: Sequence[StoredResponse]) -> Iterator[None]:
    """Inside the block expressions can name parts that only the rows know, such as columns of another library."""
    with rewards.lent({name: _entry(name) for name in stored_parts(rows) if name not in RESERVED}):
        yield


def stored_parts(rows: Sequence[StoredResponse]) -> list[str]:
    """Names of the parts that the rows have.

    Raises:
        DataError: Some rows have one and others have not.
    """
    counts: dict[str, int] = {}
    for row in rows:
        for name in row.parts:
            counts[name] = counts.get(name, 0) + 1
    for name, count in counts.items():
        if count < len(rows):
            raise DataError(f"part {name!r} stands in {count} of {len(rows)} rows; expected it in all of them")
    return list(counts)


class _Stored:
    """A reward that reads its score from what the example carries."""

    needs_gold = False

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        values = [example.evidence[PARTS][self.name] for example in examples]
        return [Score(value, {self.name: value}, reason="" if value is not None else "not scored") for value in values]


def _parts(
    plan: RewardPlan, stored: Sequence[str], rows: Sequence[StoredResponse], context: RewardContext
) -> Iterator[tuple[str, Reward]]:
    """The rewards that an expression asks: stored ones, and those that texts and gold labels are enough for."""
    if MULTIPLIER in plan.moving and MULTIPLIER not in stored:
        raise ConfigError(
            f"reward {plan.expression!r} has a multiplier, which moves while a policy is trained, and the responses "
            "have none stored; give --lambda a number"
        )
    entries = {name: find_reward(name) for name in plan.names}
    missing = [
        MissingPart(name, entry)
        for name, entry in entries.items()
        if name not in stored and not _can_be_computed(entry, rows)
    ]
    if missing:
        raise MissingPartsError(plan.expression, missing, stored)
    for name, entry in entries.items():
        yield name, _Stored(name) if name in stored else entry.build(context)


def _can_be_computed(entry: RewardEntry, rows: Sequence[StoredResponse]) -> bool:
    if entry.pair_kind is not None or entry.needs_prompt or entry.columns:
        return False
    return not entry.needs_gold or all(row.example.label is not None and is_known(row.example.task) for row in rows)


def _entry(name: str) -> RewardEntry:
    """What an expression's name stands for that only the rows know."""
    return RewardEntry(name, lambda context: _Stored(name), "stored scores", needs_prompt=False)


def _moment(row: StoredResponse, last: int) -> Moment:
    """Where in training a response was scored: as stored, or by its step among ``last``."""
    stored = {name: value for name in ("progress", MULTIPLIER) if (value := row.parts.get(name)) is not None}
    known = {"progress": (row.step - 1) / max(1, last), MULTIPLIER: 1.0, **stored}
    return Moment(row.step, known["progress"], known[MULTIPLIER])


def _by_step(rows: Sequence[StoredResponse]) -> Iterator[list[StoredResponse]]:
    return (list(step) for _, step in groupby(rows, key=lambda row: row.step))


def _scored(reward: Reward, rows: Sequence[StoredResponse]) -> list[Score]:
    examples = [replace(row.example, evidence={**row.example.evidence, PARTS: row.parts}) for row in rows]
    return reward(examples, [row.response for row in rows])
