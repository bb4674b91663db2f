"""Labels as answers: the words of a task and format, found in a cleaned text."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence

from rewardlab.errors import ConfigError
from rewardlab.tasks.answers import AnswerSpace
from rewardlab.tasks.denials import denials
from rewardlab.tasks.numbers import minus_signs, without_dollars
from rewardlab.tasks.options import is_common_word, is_letter, marked_options
from rewardlab.tasks.text import (
    BULLET,
    NO_SPACES,
    Finding,
    after_word,
    before_word,
    clean_words,
    composed,
    dashes_marked,
    fold,
    is_mark,
    marks,
    visible,
)
from rewardlab.types import AnswerFormat

MAX_LABELS = 50
"""An answer that names labels more often than this is a loop, not an answer."""

EDGES = " .,;!?'"
"""Punctuation around a word that is no part of it."""
NUMERAL = re.compile(r"[-+\u2212]?(?:[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})")
"""Labels of this form are read as numbers, not as words."""

_NUMBER = (
    rf"(?<![^\W{NO_SPACES}])(?<![.,/$\u20ac\u00a3+-])(?<![^\W{NO_SPACES}][-+])(?P<number>[-+]?(?:[0-9]{{1,9}}(?:\.[0-9]{{1,9}})?"
    rf"|\.[0-9]{{1,9}}))(?![^\W{NO_SPACES}])(?![.,/:][0-9]|[%/])"
)
"""A number by itself: not ``1.5.2``, ``1/2``, ``1st``, ``v1``, ``10%``."""
_SIGNS = frozenset("+-#=<>^~@%$")
_INSIDE_WORDS = frozenset({"是", "有", *map(fold, ("네", "예", "응"))})
"""Labels of one character that other words end in or are followed by: "答案是否", "하네". They begin a word."""
_OPTION_MARKS = range(0xE100, 0xF000)
_SIGN_MARKS = range(0xE000, 0xE100)


class Vocabulary:
    """Every text that is read as a label in one task and format, and those that are refused.

    Args:
        entries: (text, label) in the order of precedence; a label of None marks a refused text.
        languages: Whose negations are read, see :mod:`rewardlab.tasks.languages`; None: all.
    Raises:
        ConfigError: One text stands for two labels, or a text has nothing that could be read.
    """

    def __init__(self, entries: Sequence[tuple[str, str | None]], languages: tuple[str, ...] | None = None) -> None:
        numerals: dict[str, str | None] = {}
        for text, label in entries:
            if NUMERAL.fullmatch(text) and numerals.setdefault(text, label) != label:
                raise ConfigError(f"the text {text!r} stands for both {numerals[text]!r} and {label!r}")
        worded = [(text, label) for text, label in entries if text not in numerals]
        self._numbers = {text: float(text.replace("\u2212", "-")) for text in numerals}
        self._is_signed = any(number < 0 for number in self._numbers.values())
        self._labels = numerals
        letters = [text for text, _ in worded if is_letter(text) or is_common_word(text)]
        self._options = list(zip(dict.fromkeys(letters), map(chr, _OPTION_MARKS), strict=False))
        self._signs: dict[int, str] = {}
        self._signs = _sign_marks([(text, clean_words(text).strip(EDGES), label) for text, label in worded])
        self._readings: dict[str, str | None] = {}
        self._with_commas: set[str] = set()
        for text, label in worded:
            self._add(text, label)
        self._pattern = self._compiled(has_numbers=bool(numerals))
        self._longer = sorted(self._readings, key=len, reverse=True)
        self._denials = denials(languages, frozenset(self._readings))
        self.has_no = "no" in self._readings

    @classmethod
    def of(cls, task: AnswerSpace, format: AnswerFormat) -> Vocabulary:
        """The vocabulary of a task; raises ConfigError when one text stands for two labels."""
        entries = [
            (text, label) for text, label in _entries(task, format) if not (task.is_ordinal and NUMERAL.fullmatch(text))
        ]
        try:
            return cls(entries, task.languages)
        except ConfigError as error:
            raise ConfigError(f"task {task.name!r}, format {format}: {error}; rename one") from error

    def __bool__(self) -> bool:
        return bool(self._readings or self._numbers)

    def clean(self, text: str) -> str:
        """The text as :meth:`find` reads it."""
        text = without_dollars(visible(text)) if self._numbers else visible(text)
        text = marked_options(text.translate(self._signs), self._options)
        if self._is_signed:
            text = dashes_marked(text)
        return minus_signs(clean_words(text)) if self._numbers else clean_words(text)

    def find(self, text: str) -> list[Finding]:
        """Every label in a cleaned text, refused ones with ``value=None``."""
        findings: list[Finding] = []
        for match in self._pattern.finditer(text) if self else ():
            finding = self._number(match) if match["number"] else self._word(match)
            if finding is not None:
                findings.append(finding)
            if len(findings) > MAX_LABELS:
                break
        return findings

    def denied(self, text: str, finding: Finding) -> str:
        """The words that negate or withdraw a finding of a cleaned text; empty when there are none."""
        return self._denials.of(text, finding)

    def _add(self, text: str, label: str | None) -> None:
        cleaned = self.clean(text).strip(EDGES)
        key = _key(cleaned)
        if "," in cleaned:
            self._with_commas.add(key)
        if not key:
            raise ConfigError(f"the text {text!r} has no letters")
        if self._readings.setdefault(key, label) != label:
            raise ConfigError(f"the text {text!r} stands for both {self._readings[key]!r} and {label!r}")

    def _key(self, text: str) -> str:
        return _key(self.clean(text).strip(EDGES))

    def _compiled(self, *, has_numbers: bool) -> re.Pattern[str]:
        words = [(before_word(key[0]), self._body(key), after_word(key[-1])) for key in _longest_first(self._readings)]
        if len({(before, after) for before, _, after in words}) == 1:
            parts = [f"{words[0][0]}(?:{'|'.join(body for _, body, _ in words)}){words[0][2]}"]
        else:
            parts = ["".join(word) for word in words]
        return re.compile("|".join([*parts, _NUMBER if has_numbers else "(?P<number>(?!))"]))

    def _body(self, key: str) -> str:
        """A label's words; a line may end between them, and a comma may stand where no label of its own begins."""
        words = key.split(" ")
        gaps = [
            r",?[ \n]{1,3}"
            if key in self._with_commas or " ".join(words[place:]) not in self._readings
            else r"[ \n]{1,3}"
            for place in range(1, len(words))
        ]
        return "".join(re.escape(word) + gap for word, gap in zip(words, [*gaps, ""], strict=True))

    def _number(self, match: re.Match[str]) -> Finding | None:
        """A number that is a label; others are no answer, and no reason to refuse one."""
        label = next((text for text in (match["number"], match["number"].lstrip("+")) if text in self._labels), None)
        if label is None:
            value = float(match["number"])
            label = next((text for text, number in self._numbers.items() if number == value), None)
        if label is None:
            return None
        if match.string[: match.start()].endswith(BULLET + " "):
            return Finding(None, *match.span(), f"{match[0]!r} behind a dash may be negative")
        return Finding(self._labels[label], *match.span(), "" if self._labels[label] else f"{label!r} is no label")

    def _word(self, match: re.Match[str]) -> Finding | None:
        text, key = match.string, _key(match[0])
        before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 1]
        if is_mark(after) or (is_mark(before) and match[0][0].isalpha()) or (after and re.match(f"[{marks()}]", after)):
            return None  # a part of another word, or another letter
        if key in _INSIDE_WORDS and before and re.match(f"[{NO_SPACES}]", before):
            return None  # a copula, or a syllable of another word
        label = self._readings[key]
        if label is not None and (whole := self._cut_off(key, text[match.end() :])):
            return Finding(None, *match.span(), f"the text ends inside {whole!r}")
        return Finding(label, *match.span(), "" if label is not None else f"{match[0]!r} is no label")

    def _cut_off(self, key: str, rest: str) -> str:
        """The longer label whose beginning the text ends in; empty when the text goes on, or has ended."""
        rest = rest[: len(self._longer[0]) + 1]
        if not rest.strip(EDGES):
            return ""
        tail = f"{key}{' ' if rest[0] in ' ,' or rest[0].isspace() else ''}{_key(rest)}"
        return next((longer for longer in self._longer if longer.startswith(tail) and longer != tail), "")


def worded(format: AnswerFormat) -> AnswerFormat:
    """The format whose words and aliases are read in a format."""
    return "label" if format == "confident" else format


def _entries(task: AnswerSpace, format: AnswerFormat) -> Iterator[tuple[str, str | None]]:
    for label in task.labels:
        yield task.word(label, format), label
        for alias in task.aliases.get(worded(format), {}).get(label, ()):
            yield alias, label
    taken = {clean_words(task.word(label, format)).strip(EDGES) for label in task.labels}
    for label in task.labels:
        if clean_words(label).strip(EDGES) not in taken:
            yield label, label
    for text in task.refused:
        yield text, None


def _key(text: str) -> str:
    return " ".join(text.replace(",", " ").split())


def _longest_first(texts: Sequence[str] | dict[str, str | None]) -> list[str]:
    return sorted(texts, key=len, reverse=True)


def _sign_marks(entries: Sequence[tuple[str, str, str | None]]) -> dict[int, str]:
    """Marks for the characters that alone tell labels apart ("A+", "A-") or are a label ("+"); none elsewhere.

    Args:
        entries: (text, cleaned text, label).
    """
    labels_of: dict[str, set[str | None]] = {}
    for _, key, label in entries:
        labels_of.setdefault(key, set()).add(label)
    signs: list[str] = []
    for text, key, _ in entries:
        if not key:
            signs += [sign for sign in composed(text) if sign in string.punctuation]
        elif len(labels_of[key]) > 1:
            signs += [sign for sign in composed(text) if sign in _SIGNS]
    return dict(zip(map(ord, dict.fromkeys(signs)), map(chr, _SIGN_MARKS), strict=False))
