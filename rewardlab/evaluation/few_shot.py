"""Few-shot prompts: solved examples in front of the question (PPO-NLU uses five).

A demonstration looks exactly as the model will see its own question: prompt, blank line, response.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rewardlab.errors import DataError
from rewardlab.tasks.confidence import shown_confidence
from rewardlab.tasks.task import ANSWER_MARK, OPENINGS, Task
from rewardlab.types import Example

SEPARATOR = "\n\n"
"""Between prompt and response, and between one demonstration and the next."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A labelled example, and the rationale it is shown with (empty: the bare answer)."""

    example: Example
    rationale: str = ""


def chain_of_thought(task: Task) -> str:
    """What asks for reasoning behind a prompt, and for the answer in the form that the format ``rationale`` reads.

    Source:
        Kojima et al. 2022 (zero-shot) has the first sentence; the second names our answer mark.
    """
    low, high = task.numeric_range or (0.0, 0.0)
    words = [f'"{task.word(label, "rationale")}"' for label in task.labels]
    wanted = " or ".join(words) if words else f"a number from {low:g} to {high:g}"
    if task.candidates:
        wanted = "one of the answers that are listed"
    mark = f"{ANSWER_MARK.strip()} ..."
    return f'\nLet\'s think step by step. End with the line "{mark}" and, in place of the dots, {wanted}.'


def few_shot_prompt(task: Task, example: Example, demonstrations: Sequence[Demonstration], asking: str = "") -> str:
    """The prompt of ``example`` with demonstrations in front, all in the example's own answer format.

    Args:
        task: The task of all of them.
        example: The question; its label is not read.
        demonstrations: In the order they are shown; none gives the zero-shot prompt.
        asking: Stands behind each of the prompts.
    Raises:
        DataError: A demonstration has no label.
    """
    shown = [
        _solved(task, replace(shot, example=replace(shot.example, format=example.format)), asking)
        for shot in demonstrations
    ]
    return SEPARATOR.join([*shown, f"{task.prompt(example)}{asking}"])


def choose_demonstrations(
    task: Task, pool: Sequence[Demonstration], shots: int, seed: int, exclude: frozenset[str] = frozenset()
) -> list[Demonstration]:
    """Draw ``shots`` demonstrations, as many of each label as fits, in a seeded order.

    Args:
        task: Their task; numeric golds are balanced over fifths of its range.
        pool: Labelled candidates.
        shots: How many.
        seed: Same seed and pool, same choice.
        exclude: Ids that must not be shown, such as the question's own.
    Raises:
        DataError: The pool has fewer usable rows than ``shots``.
    """
    usable = [shot for shot in pool if shot.example.label is not None and shot.example.id not in exclude]
    if len(usable) < shots:
        raise DataError(
            f"task {task.name}: {len(usable)} labelled rows, {shots} shots asked; lower --shots or add rows"
        )
    rng = random.Random(f"{task.name}/{seed}")
    rng.shuffle(usable)
    chosen = _balanced(task, usable)[:shots]
    rng.shuffle(chosen)
    return chosen


def _balanced(task: Task, shots: Sequence[Demonstration]) -> list[Demonstration]:
    """The same demonstrations, taking turns between labels; which label begins is left to their order."""
    turns: dict[object, int] = {}
    keyed = []
    for shot in shots:
        stratum = _stratum(task, shot.example)
        turns[stratum] = turns.get(stratum, 0) + 1
        keyed.append((turns[stratum], shot))
    return [shot for _, shot in sorted(keyed, key=lambda item: item[0])]


def _stratum(task: Task, example: Example) -> object:
    """What demonstrations are balanced over: the label, or the fifth of a numeric range."""
    if not task.is_numeric or task.numeric_range is None or example.label is None:
        return example.label
    low, high = task.numeric_range
    return min(4, int(5 * (float(example.label) - low) / (high - low)))


def _solved(task: Task, shot: Demonstration, asking: str) -> str:
    """Prompt and response of one demonstration."""
    example = shot.example
    if example.label is None:
        raise DataError(f"task {task.name}: row {example.id} has no label; demonstrations need one")
    response = OPENINGS[example.format] + task.response(
        example.label, example.format, shot.rationale, shown_confidence(example)
    )
    return f"{task.prompt(example)}{asking}{SEPARATOR}{response.lstrip()}"
