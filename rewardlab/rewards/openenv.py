"""OpenEnv's rubrics as rewards: objects that are called as ``rubric(action, observation)`` and give one number.

They are known by what they have, ``forward`` and ``named_rubrics``, so that OpenEnv need not be installed. An answer is
an episode of one step: its action is the response, its observation the prompt, and the episode is done.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from rewardlab.code_identity import names_read
from rewardlab.errors import ConfigError, TrainingError
from rewardlab.rewards.background import wait_for
from rewardlab.rewards.functions import FunctionReward, Judgement, as_score
from rewardlab.tasks.task import OPENINGS, prompt_of
from rewardlab.types import Example, Label, Score

PASSING = frozenset({"last_score", "_forward_hooks", "_forward_pre_hooks", "_rubric_children"})
"""Attributes of a rubric that say nothing of what it gives, or that stand in it under their own names too."""


@runtime_checkable
class OpenEnvRubric(Protocol):
    """What a rubric of OpenEnv has.

    Source:
        OpenEnv, RFC 004; ``openenv.core.rubrics.Rubric`` of openenv-core 0.3.
    """

    def __call__(self, action: Any, observation: Any) -> Any:
        """One number, or an awaitable of one."""
        ...

    def forward(self, action: Any, observation: Any) -> Any:
        """What its author wrote."""
        ...

    def named_rubrics(self, prefix: str = "") -> Iterator[tuple[str, OpenEnvRubric]]:
        """All rubrics inside it, by their dotted names."""
        ...


class Action(str):
    """A response as an action: its text, which actions call by different names.

    >>> action = Action("The answer is: Sports")
    >>> action.message == action.content == action.text == f"{action}"
    True
    """

    @property
    def text(self) -> str:
        """The text."""
        return str(self)

    message = content = response = text


class Observation(str):
    """What the response answers: the prompt's text, the row that it was made of, and the end of the episode.

    Attributes:
        fields: The task's fields.
        task, id: The row.
        done: Always True: there is one step.
        reward: Always None: it is what is asked for.
        metadata: ``fields``, ``task`` and ``id``, as OpenEnv's observations have further facts.
    """

    fields: Mapping[str, str]
    task: str
    id: str
    metadata: Mapping[str, Any]
    done = True
    reward = None

    def __new__(cls, example: Example, name: str, *, knows_gold: bool) -> Observation:
        """Of a row; ``name`` is the reward's, for what is said where it reads a label it must not."""
        made = super().__new__(cls, prompt_of(example) + OPENINGS[example.format])
        made.fields, made.task, made.id = example.fields, example.task, example.id
        made.metadata = {"task": example.task, "id": example.id, **example.fields}
        made._gold, made._name = example.label, None if knows_gold else name
        return made

    _gold: Label | None
    _name: str | None

    @property
    def text(self) -> str:
        """The prompt."""
        return str(self)

    prompt = text

    @property
    def label(self) -> Label | None:
        """The gold label, for rubrics that say that they read it."""
        if self._name is not None:
            raise TrainingError(
                f"reward {self._name!r} reads the gold label and does not say so; give the rubric an attribute "
                "needs_gold = True, or register it with needs_gold=True"
            )
        return self._gold


class OpenEnvReward(FunctionReward):
    """A rubric as a reward; made by :func:`from_openenv`.

    Those that are asynchronous are asked for a whole batch at once. Of others, what the rubrics inside gave stands in
    the score's reason.
    """

    def __init__(self, name: str, rubric: OpenEnvRubric, *, needs_gold: bool) -> None:
        super().__init__(name, lambda examples, responses: [], needs_gold=needs_gold)
        self._rubric = rubric

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response; see :class:`rewardlab.types.Reward`."""
        given: list[Any] = []
        reasons: list[str] = []
        for example, response in zip(examples, responses, strict=True):
            if callable(reset := getattr(self._rubric, "reset", None)):
                reset()
            seen = Observation(example, self.name, knows_gold=self.needs_gold)
            given.append(self._rubric(Action(response), seen))
            reasons.append("" if inspect.isawaitable(given[-1]) else self._inside())
        if any(map(inspect.isawaitable, given)):
            given = wait_for(_all(given))
        return [_with_reason(as_score(self.name, value), reason) for value, reason in zip(given, reasons, strict=True)]

    def _inside(self) -> str:
        """What the rubrics inside gave to the response before."""
        last = [(name, getattr(child, "last_score", None)) for name, child in self._rubric.named_rubrics()]
        return ", ".join(f"{name} {value:g}" for name, value in last if isinstance(value, int | float))


def is_openenv(value: object) -> bool:
    """True for a rubric of OpenEnv, the object and not its class."""
    return isinstance(value, OpenEnvRubric) and not isinstance(value, type)


def from_openenv(name: str, rubric: OpenEnvRubric, *, needs_gold: bool | None = None) -> OpenEnvReward:
    """Use a rubric of OpenEnv as a reward.

    Args:
        name: How tables and ledgers call it.
        rubric: The object.
        needs_gold: Whether it reads ``observation.label``. None: what its attribute ``needs_gold`` says, else whether
            the code of it, or of a rubric inside it, names ``label``.
    Raises:
        ConfigError: It is a class: an object is expected.
    """
    if not is_openenv(rubric):
        raise ConfigError(f"reward {name!r}: found {rubric!r:.60}, expected a rubric of OpenEnv, the object itself")
    if needs_gold is None:
        said = getattr(rubric, "needs_gold", None)
        needs_gold = any("label" in names_read(type(each)) for each in _whole(rubric)) if said is None else bool(said)
    return OpenEnvReward(name, rubric, needs_gold=needs_gold)


def code_of(rubric: OpenEnvRubric) -> object:
    """What a rubric is, for its hash: its class, its plain attributes and the rubrics inside it.

    The scores that it gave before do not count, so that its hash is the same after it was asked.
    """
    inside = {id(each) for each in _whole(rubric)}
    own = {
        name: value
        for name, value in vars(rubric).items()
        if name not in PASSING and name != "reward_entry" and not _holds(value, inside)
    }
    return type(rubric), own, [(name, code_of(child)) for name, child in rubric.named_rubrics() if "." not in name]


def _holds(value: object, inside: set[int]) -> bool:
    """True for a rubric inside, and for a list or table of them."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    return any(id(each) in inside for each in items)


def _whole(rubric: OpenEnvRubric) -> Iterator[OpenEnvRubric]:
    yield rubric
    yield from (child for _, child in rubric.named_rubrics())


async def _all(given: Sequence[Judgement | Awaitable[Judgement]]) -> list[Judgement]:
    """The numbers, those that are awaited side by side."""

    async def one(value: Judgement | Awaitable[Judgement]) -> Judgement:
        return await value if inspect.isawaitable(value) else value

    return list(await asyncio.gather(*map(one, given)))


def _with_reason(score: Score, reason: str) -> Score:
    return replace(score, reason=reason) if reason and not score.reason else score
