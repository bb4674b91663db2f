"""What a reader of answers must know of a task: its labels or numbers, and the words for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rewardlab.types import AnswerFormat, Label


class AnswerSpace(Protocol):
    """What an answer to a task can be; a ``Task`` is one, and whoever reads answers needs no more of it."""

    @property
    def name(self) -> str:
        """Of the task."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels; empty for numbers."""

    @property
    def numeric_range(self) -> tuple[float, float] | None:
        """Lowest and highest number; None without numbers."""

    @property
    def is_numeric(self) -> bool:
        """True when answers are numbers and no labels."""

    @property
    def is_ordinal(self) -> bool:
        """True when answers lie on a scale, printed as numbers or as labels such as stars."""

    @property
    def multi_label(self) -> bool:
        """True when an answer is a set of labels."""

    @property
    def languages(self) -> tuple[str, ...] | None:
        """Codes of the languages whose negations and answer marks are read; None for all that are known."""

    @property
    def aliases(self) -> Mapping[AnswerFormat, Mapping[str, tuple[str, ...]]]:
        """Format -> label -> other texts that are read as it."""

    @property
    def refused(self) -> tuple[str, ...]:
        """Texts that look like a label and are none."""

    def word(self, label: Label, format: AnswerFormat) -> str:
        """How a label is written in a format."""
