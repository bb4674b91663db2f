"""Labels as answers: the words of a task and format, found in a cleaned text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rewardlab.errors import ConfigError
from rewardlab.tasks.text import Finding, clean_words
from rewardlab.types import AnswerFormat

if TYPE_CHECKING:
    from rewardlab.tasks.task import Task

MAX_LABELS = 50
"""An answer that names labels more often than this is a loop, not an answer."""

EDGES = " .,;!?'"
"""Punctuation around a word that is no part of it."""
NUMERAL = re.compile(r"[0-9.]+")
"""Labels of this form on a numeric scale are read as numbers, not as words."""


class Vocabulary:
    """Every text that is read as a label in one task and format, and those that are refused.

    Args:
        readings: Cleaned text -> label; None marks a refused text.
    """

    def __init__(self, readings: Mapping[str, str | None]) -> None:
        self._readings = dict(readings)
        longest_first = sorted(self._readings, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
        self.has_no = "no" in self._readings

    @classmethod
    def of(cls, task: Task, format: AnswerFormat) -> Vocabulary:
        """The vocabulary of a task; raises ConfigError when one text stands for two labels."""
        readings: dict[str, str | None] = {}
        for text, label in _entries(task, format):
            cleaned = clean_words(text).strip(EDGES)
            if task.is_ordinal and NUMERAL.fullmatch(text):
                continue
            if not cleaned or readings.setdefault(cleaned, label) != label:
                clash = f"stands for both {readings.get(cleaned)!r} and {label!r}" if cleaned else "has no letters"
                raise ConfigError(f"task {task.name!r}, format {format}: the text {text!r} {clash}; rename one")
        return cls(readings)

    def __bool__(self) -> bool:
        return bool(self._readings)

    def clean(self, text: str) -> str:
        """The text as :meth:`find` reads it."""
        return clean_words(text)

    def find(self, text: str) -> list[Finding]:
        """Every label in a cleaned text, refused ones with ``value=None``."""
        findings: list[Finding] = []
        for match in self._pattern.finditer(text) if self._readings else ():
            label = self._readings[match[0]]
            note = "" if label is not None else f"{match[0]!r} is no label"
            findings.append(Finding(label, *match.span(), note))
            if len(findings) > MAX_LABELS:
                break
        return findings


def _entries(task: Task, format: AnswerFormat) -> Iterator[tuple[str, str | None]]:
    for label in task.labels:
        yield task.word(label, format), label
        for alias in task.aliases.get(format, {}).get(label, ()):
            yield alias, label
    taken = {clean_words(task.word(label, format)).strip(EDGES) for label in task.labels}
    for label in task.labels:
        if clean_words(label).strip(EDGES) not in taken:
            yield label, label
    for text in task.refused:
        yield text, None
