"""The values every part of rewardlab hands to the next: frozen, plain, without torch.

``Example`` a row of a task, ``Answer`` what a parser read in a response, ``Score`` what a reward says of a
response, ``Pair`` two responses to one prompt. Behaviour lives elsewhere; tensors live in ``training``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable

Label = str | float
AnswerFormat = Literal["label", "rationale", "judgement", "confident"]
PairKind = Literal["label", "ranked", "rationale"]
Reading = Literal["lenient", "strict"]
Scorer = Callable[[Sequence["Example"], Sequence[str]], list[float]]
"""(examples, responses) -> one raw reward-model score each, logits."""

ANSWER_FORMATS: tuple[AnswerFormat, ...] = get_args(AnswerFormat)
WORDED_FORMATS: tuple[AnswerFormat, ...] = ("label", "rationale", "judgement")
"""Formats for which a task has prompts and words of its own; ``confident`` has the words of ``label``."""
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task.

    Attributes:
        task: Name of its task in the task registry; a batch may mix tasks.
        id: Unique within the task.
        fields: The texts that the prompt template names.
        label: Gold label: a string, a number for regression tasks, None when there is none.
        format: The answer format its prompt asks for.
        evidence: What the sandbox stores about the row (empty for real data).

    Example:
        >>> import rewardlab as rl
        >>> rl.Example("agnews", "1", {"text": "Late goal wins it."}, "Sports").label
        'Sports'
    """

    task: str
    id: str
    fields: Mapping[str, str]
    label: Label | None = None
    format: AnswerFormat = "rationale"
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a parser read in one response.

    Attributes:
        value: The lenient reading, a label of the task or a number in its range; None when malformed.
        strict: The reading under the exact format the prompt asked for; None when that is broken.
        rationale: The text in front of the answer; empty in formats without one.
        reason: Why ``value`` is None; empty otherwise.
        confidence: How sure the response says it is, 0 to 1; None where it does not say so.

    Example:
        >>> import rewardlab as rl
        >>> answer = rl.load_task("agnews").parse("It could be anything.", "rationale")
        >>> isinstance(answer, rl.Answer), answer.is_malformed
        (True, True)
    """

    value: Label | None
    strict: Label | None = None
    rationale: str = ""
    reason: str = ""
    confidence: float | None = None

    @property
    def is_malformed(self) -> bool:
        """True when no answer could be read."""
        return self.value is None

    def read(self, reading: Reading) -> Label | None:
        """The answer under one of the two readings."""
        return self.value if reading == "lenient" else self.strict


@dataclass(frozen=True, slots=True)
class Score:
    """What a reward says of one response.

    Attributes:
        score: The reward, or None when judging failed. A malformed response IS judged (it has its penalty).
        parts: Raw score of every named reward that was used, before weights and clipping.
        terms: Contribution of each additive term after clipping and weighting; they sum to ``score``.
        answer: What was read in the response, when the reward read it.
        reason: One line: why this score, or why there is none.
        cost_usd: What judging it cost, USD, whoever paid; None where it cost nothing or nobody knows.

    Example:
        >>> import rewardlab as rl
        >>> rl.Score(1.0, parts={"rule": 1.0}, terms={"rule": 1.0}).is_scored
        True
        >>> rl.Score(None, reason="the judge did not answer").is_scored
        False
    """

    score: float | None
    parts: Mapping[str, float | None] = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)
    answer: Answer | None = None
    reason: str = ""
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"a score is a finite number or None, not {self.score}")

    @property
    def is_scored(self) -> bool:
        """True when the response was judged."""
        return self.score is not None


@dataclass(frozen=True, slots=True)
class Pair:
    """A preferred and a rejected response to one prompt; one line of ``pairs.jsonl``.

    Attributes:
        task, id: The example it comes from.
        kind: ``label`` (right against wrong label), ``ranked`` (all untied pairs of ranked samples) or
            ``rationale`` (the same-label ones among the ranked).
        format: Answer format of both responses.
        prompt: Plain text of the prompt, without a model's chat template.
        chosen, rejected: The two responses.
        chosen_label, rejected_label: Their answers; None when malformed.
        gold_label: The example's label.
        annotator, model: Who wrote or ranked the responses.

    Example:
        >>> import rewardlab as rl
        >>> answers = {"chosen": "A match.", "rejected": "A bank.", "chosen_label": "Sports", "rejected_label": "World"}
        >>> asked = {"format": "rationale", "prompt": "Which topic?", "gold_label": "Sports"}
        >>> pair = rl.Pair("agnews", "1", "label", annotator="me", model="me", **asked, **answers)
        >>> pair.to_json()["chosen_label"]
        'Sports'
    """

    task: str
    id: str
    kind: PairKind
    format: AnswerFormat
    prompt: str
    chosen: str
    rejected: str
    chosen_label: Label | None
    rejected_label: Label | None
    gold_label: Label | None
    annotator: str
    model: str

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary, keys in declaration order."""
        return asdict(self)


@runtime_checkable
class Reward(Protocol):
    """A function from examples and responses to scores.

    Attributes:
        name: How tables and ledgers call it.
        needs_gold: True when it reads ``Example.label``.
    """

    name: str
    needs_gold: bool

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response; as many scores as responses, in their order."""
        ...
