"""From test examples and a generator to predictions and measured columns. Models stay outside."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from rewardlab.calibration import CALIBRATIONS, COVERAGES, accuracy_at
from rewardlab.errors import DataError
from rewardlab.intervals import bootstrap_interval, calibration_interval, item_seed, mean_interval
from rewardlab.tasks.task import Task, parse_response, prompt_of, tasks
from rewardlab.types import Example, Label

Decoding = Literal["sampled", "greedy"]
DECODINGS: tuple[Decoding, ...] = ("sampled", "greedy")
"""Sampled at temperature 1, and the most probable token at every step."""


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """One response; ``finished`` is False when its token budget cut it."""

    text: str
    finished: bool


Generate = Callable[[Sequence[Example], Decoding], Sequence[GeneratedText]]
Guess = Callable[[Example, Decoding], Label]
"""What counts as the answer to an example whose response cannot be read."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of ``predictions.jsonl``.

    Attributes:
        column: Column of the table, such as ``mnli-mm``; ``task`` is its task.
        answer, strict: The lenient and the strict reading; None when malformed. Under ``eval.unreadable = random`` the
            answer to a malformed response is a guess; it stays malformed.
        is_correct: The lenient answer equals gold (numbers: to the printed digit).
        quality: Rationale quality in [0, 1]; None where the task does not know it.
        finished: The response ended by itself.
        confidence: How sure the response says it is, 0 to 1; None in formats that do not ask.
        group: Name of what the row is measured together with; None where it stands alone.
    """

    column: str
    task: str
    id: str
    decoding: Decoding
    prompt: str
    response: str
    answer: Label | None
    strict: Label | None
    gold: Label
    is_correct: bool
    is_malformed: bool
    quality: float | None
    finished: bool
    confidence: float | None = None
    group: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary, keys in declaration order; ``confidence`` and ``group`` where there is one."""
        return {
            key: value for key, value in asdict(self).items() if key not in ("confidence", "group") or value is not None
        }


class Evaluation(NamedTuple):
    """Predictions, and what was measured on them: column -> decoding -> cell."""

    rows: list[Prediction]
    columns: dict[str, dict[str, dict[str, Any]]]


def evaluate(
    examples_by_column: Mapping[str, Sequence[Example]],
    generate: Generate,
    *,
    bootstrap: int = 1000,
    prompt: Callable[[Example], str] = prompt_of,
    decodings: Sequence[Decoding] = DECODINGS,
    guess: Guess | None = None,
) -> Evaluation:
    """Ask every example, by default under both decodings, read the answers and measure them.

    Args:
        examples_by_column: Column of the table -> its labelled test examples, all of one task.
        generate: (examples, decoding) -> one text an example, in their order.
        bootstrap: Resamples over test items for the 95 % intervals.
        prompt: The text that ``generate`` asks, for the record; few-shot evaluation hands in its own.
        decodings: How each example is answered.
        guess: Answers in place of responses that cannot be read; default: these are malformed and nothing else.
    Raises:
        DataError: A column has no examples, an example no gold label, or ``generate`` lost a response.
    """
    rows: list[Prediction] = []
    columns: dict[str, dict[str, dict[str, Any]]] = {}
    for column, examples in examples_by_column.items():
        _check(column, examples)
        columns[column] = {}
        for decoding in decodings:
            predictions = _predict(column, examples, decoding, generate, prompt, guess)
            columns[column][decoding] = measure_cell(predictions, bootstrap=bootstrap)
            rows += predictions
    return Evaluation(rows, columns)


def measure_cell(predictions: Sequence[Prediction], *, bootstrap: int = 1000) -> dict[str, Any]:
    """Metrics with intervals, malformed shares and rationale quality of one column under one decoding.

    The intervals are those that a comparison of one seed prints: the same resamples of the same items.
    """
    predictions = sorted(predictions, key=lambda row: row.id)
    task = tasks.get(predictions[0].task)
    gold, answers = [row.gold for row in predictions], [row.answer for row in predictions]
    seed = item_seed(predictions[0].column, tuple(row.id for row in predictions), tuple(gold))
    groups = None if task.group is None else tuple(str(row.group) for row in predictions)
    qualities = [row.quality for row in predictions if row.quality is not None]
    return {
        "n": len(predictions),
        "metrics": {
            name: bootstrap_interval(name, gold, answers, task, resamples=bootstrap, seed=seed, groups=groups).to_json()
            for name in task.metrics
        },
        "malformed": _share([row.is_malformed for row in predictions]),
        "strict_malformed": _share([row.strict is None for row in predictions]),
        "unfinished": _share([not row.finished for row in predictions]),
        "quality": mean_interval(qualities, resamples=bootstrap, seed=seed).to_json() if qualities else None,
        "labels": list(task.labels),
        "numeric_range": task.numeric_range,
        **({"multi_label": True} if task.multi_label else {}),
        **({"candidates": task.candidates} if task.candidates else {}),
        **_calibration(predictions, bootstrap, seed, is_grouped=groups is not None),
    }


def _calibration(predictions: Sequence[Prediction], bootstrap: int, seed: int, *, is_grouped: bool) -> dict[str, Any]:
    """What stated confidences are worth, over the answers that state one; nothing where none does."""
    stated = [row for row in predictions if row.confidence is not None and row.answer is not None]
    if not stated:
        return {}
    confidence = np.array([row.confidence for row in stated], dtype=np.float64)
    right = np.array([row.is_correct for row in stated], dtype=np.float64)
    drawn: dict[str, Any] = {"resamples": bootstrap, "seed": seed}
    if is_grouped:
        drawn["groups"] = tuple(str(row.group) for row in stated)
    return {
        "confidence": {
            "stated": len(stated) / len(predictions),
            **{name: calibration_interval(name, confidence, right, **drawn).to_json() for name in CALIBRATIONS},
            **{f"accuracy_at_{round(100 * c)}": accuracy_at(c, confidence, right) for c in COVERAGES},
        }
    }


def random_answer(seed: int, example: Example, decoding: Decoding) -> Label:
    """A label of the task, all equally likely, or a number anywhere on its scale; the same in every run of a seed.

    Source:
        PPO-NLU's published ``inference.py`` counts such a draw where a response holds no answer.
    """
    task = tasks.get(example.task)
    draw = random.Random(f"guess {seed} {decoding} {example.task} {example.id}")
    if task.numeric_range is not None:
        return draw.uniform(*task.numeric_range)
    return draw.choice(task.options(example))


def _predict(
    column: str,
    examples: Sequence[Example],
    decoding: Decoding,
    generate: Generate,
    prompt: Callable[[Example], str],
    guess: Guess | None,
) -> list[Prediction]:
    generated = generate(examples, decoding)
    if len(generated) != len(examples):
        raise DataError(f"{column}: {len(examples)} examples, {len(generated)} responses; expected one each")
    return [
        _read(column, example, decoding, prompt(example), text, guess)
        for example, text in zip(examples, generated, strict=True)
    ]


def _read(
    column: str, example: Example, decoding: Decoding, prompt: str, generated: GeneratedText, guess: Guess | None
) -> Prediction:
    task = tasks.get(example.task)
    answer = parse_response(example, generated.text)
    value = guess(example, decoding) if guess is not None and answer.value is None else answer.value
    assert example.label is not None, "checked before anything was generated"
    return Prediction(
        column=column,
        task=example.task,
        id=example.id,
        decoding=decoding,
        prompt=prompt,
        response=generated.text,
        answer=value,
        strict=answer.strict,
        gold=example.label,
        is_correct=task.is_right(value, example.label),
        is_malformed=answer.is_malformed,
        quality=_quality(task, example, generated.text),
        finished=generated.finished,
        confidence=answer.confidence,
        group=None if task.group is None else task.group(example.fields),
    )


def _quality(task: Task, example: Example, response: str) -> float | None:
    """Rationale quality where the task measures it and the format has a rationale."""
    return task.quality(example, response) if task.quality and example.format == "rationale" else None


def _check(column: str, examples: Sequence[Example]) -> None:
    if not examples:
        raise DataError(f"{column}: there are no test examples; check the task's test split and data.test")
    bare = [example.id for example in examples if example.label is None]
    if bare:
        raise DataError(f"{column}: row {bare[0]} and {len(bare) - 1} more have no gold label; evaluation needs one")
    named = sorted({example.task for example in examples})
    if len(named) > 1:
        raise DataError(f"{column}: holds examples of {', '.join(named)}; expected one task a column")


def _share(facts: Sequence[bool]) -> float:
    return sum(facts) / len(facts)
