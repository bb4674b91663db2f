"""Pairs of a model's own answers: to each row the best against the worst by a reward."""

from __future__ import annotations

from collections.abc import Sequence

from rewardlab.pairs.label_sensitive import Built
from rewardlab.tasks.task import parse_response, prompt_of
from rewardlab.types import Example, Pair, Score

ANNOTATOR = "reward"
"""Named as annotator of such pairs, beside the reward's expression."""
Answers = Sequence[tuple[str, Score]]
"""Each answer to a row, and what the reward says of it."""


def best_against_worst(examples: Sequence[Example], answered: Sequence[Answers], reward: str) -> Built:
    """One pair a row; of equal scores the first answer counts.

    A row gives none where fewer than two answers have a score (``unscored``) or all scores are equal (``tied``).

    Args:
        examples: The rows.
        answered: The answers to each.
        reward: The reward's expression.
    """
    built = Built()
    for example, answers in zip(examples, answered, strict=True):
        scored = [(text, score.score) for text, score in answers if score.score is not None]
        if len(scored) < 2:
            built.skip(example.task, "unscored")
            continue
        best, worst = max(scored, key=lambda one: one[1]), min(scored, key=lambda one: one[1])
        if best[1] == worst[1]:
            built.skip(example.task, "tied")
        else:
            built.pairs.append(_pair(example, best[0], worst[0], reward))
    return built


def _pair(example: Example, chosen: str, rejected: str, reward: str) -> Pair:
    return Pair(
        task=example.task,
        id=example.id,
        kind="ranked",
        format=example.format,
        prompt=prompt_of(example),
        chosen=chosen,
        rejected=rejected,
        chosen_label=parse_response(example, chosen).value,
        rejected_label=parse_response(example, rejected).value,
        gold_label=example.label,
        annotator=ANNOTATOR,
        model=reward,
    )
