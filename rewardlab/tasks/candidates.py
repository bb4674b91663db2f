"""Answers that are texts of their own row (``candidates = "entities"``), as ReCoRD's: names in a passage, any gold one.

A field of the row holds the candidates, gold labels are one or several of them, and both are written with `` | ``
between them. So a gold label is one text everywhere, and equal sets of gold answers are equal texts. An answer is one
candidate; when it is right, ``rewardlab.gold_answers`` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rewardlab.gold_answers import BETWEEN
from rewardlab.tasks.text import clean_words, composed
from rewardlab.tasks.words import EDGES
from rewardlab.types import AnswerFormat, Label


def joined(texts: Iterable[str]) -> str:
    """Candidates or gold answers as one text, repeats left out.

    >>> joined(["Rome", "Italy", "Rome"])
    'Rome | Italy'
    """
    return BETWEEN.join(dict.fromkeys(" ".join(text.split()) for text in texts))


def tellable(candidates: Iterable[str]) -> tuple[str, ...]:
    """The candidates that a reader of answers can tell apart: of those that read alike, the first.

    >>> tellable(["U.S.", "Rome", "rome", "!"])
    ('U.S.', 'Rome')
    """
    kept: dict[str, str] = {}
    for text in candidates:
        if key := " ".join(clean_words(composed(text)).replace(",", " ").split()).strip(EDGES):
            kept.setdefault(key, text)
    return tuple(kept.values())


@dataclass(frozen=True, slots=True)
class Candidates:
    """What an answer to one row can be: an :class:`rewardlab.tasks.answers.AnswerSpace`.

    Attributes:
        name: Of the task.
        labels: The candidates, no two of which read alike.
        languages: As the task has them.
    """

    name: str
    labels: tuple[str, ...]
    languages: tuple[str, ...] | None = None

    @property
    def numeric_range(self) -> None:
        """There are no numbers on a scale."""

    @property
    def is_numeric(self) -> bool:
        """False."""
        return False

    @property
    def is_ordinal(self) -> bool:
        """False."""
        return False

    @property
    def multi_label(self) -> bool:
        """False: one of the gold answers is enough."""
        return False

    @property
    def aliases(self) -> Mapping[AnswerFormat, Mapping[str, tuple[str, ...]]]:
        """None."""
        return {}

    @property
    def refused(self) -> tuple[str, ...]:
        """None."""
        return ()

    def word(self, label: Label, format: AnswerFormat) -> str:
        """The candidate itself."""
        return str(label)
