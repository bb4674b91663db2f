"""Whether the words around a label deny it: "not positive", "positive is wrong", "nicht toxisch", "不是正面".

The words are those of :mod:`rewardlab.tasks.languages`, in the clause of the label alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from rewardlab.tasks.languages import LANGUAGES, Language, split_words
from rewardlab.tasks.text import Finding, fold, marks

LOOK_BACK = 60
"""Characters in front of a finding in which a negation counts."""
LOOK_AHEAD = 40
"""Characters behind a finding in which a withdrawal ("positive is wrong") counts."""
REACH = 3
"""Words that may stand between a negation and the label."""
LONGEST = 4
"""Words of the longest phrase."""

Phrase = tuple[str, ...]

_CLAUSE_ENDS = ".;!?\n"
_CONTRACTED = re.compile(r"[a-z]{1,8}n't")


@dataclass(frozen=True, slots=True)
class _Withdrawal:
    """One language's way to deny a label that stands in front.

    Attributes:
        verbs: What the denial needs in front of itself, at once behind the label; empty where it needs none.
        denied: The denials.
        reach: Words that may stand between.
    """

    verbs: set[Phrase]
    denied: set[Phrase]
    reach: int

    def found(self, words: list[str]) -> str:
        """The words behind the label up to the denial; empty when there is none."""
        first = max((length for length in (1, 2) if tuple(words[:length]) in self.verbs), default=0)
        if self.verbs and not first:
            return ""
        for start in range(first, min(first + self.reach + 1, len(words))):
            for end in range(start + 1, min(start + LONGEST, len(words)) + 1):
                if tuple(words[start:end]) in self.denied:
                    return " ".join(words[:end])
        return ""


class Denials:
    """The negations of some languages.

    Args:
        languages: ISO 639-1 codes; None: all, without the words that count only where a task names the language.
        answers: Folded words that are answers of the task and deny nothing.
    """

    def __init__(self, languages: tuple[str, ...] | None, answers: frozenset[str]) -> None:
        rows = {code: LANGUAGES[code] for code in (LANGUAGES if languages is None else languages)}
        is_named = languages is not None
        self._word = re.compile(rf"[\w'\u2010{marks()}]+")
        self._loose = _phrases(LANGUAGES["en"].far, answers) if "en" in rows else set()
        self._far = {phrase for row in rows.values() for phrase in _column(row.far, row, is_named, answers)}
        self._near = {phrase for row in rows.values() for phrase in _column(row.near, row, is_named, answers)}
        self._withdrawals = [
            _Withdrawal(_phrases(row.verbs, answers), _phrases(row.denials, answers), 0 if code == "en" else REACH)
            for code, row in rows.items()
            if row.denials
        ]
        self._denied = {phrase[0] for withdrawal in self._withdrawals for phrase in withdrawal.denied}
        self._denying = {phrase[0] for phrase in self._far | self._near}
        self._before = [re.compile(row.before) for row in rows.values() if row.before]
        self._after = [re.compile(rf"[ ,]?{row.after}") for row in rows.values() if row.after]

    def of(self, text: str, finding: Finding) -> str:
        """The words that deny a finding in the cleaned text it stands in; empty when there are none."""
        reach = max(0, finding.start - LOOK_BACK)
        begin = max(reach, *(text.rfind(mark, reach, finding.start) + 1 for mark in _CLAUSE_ENDS))
        front, behind = text[begin : finding.start], text[finding.end : finding.end + LOOK_AHEAD]
        return self._in_front(front) or self._behind(_clause(behind))

    def _in_front(self, front: str) -> str:
        words: list[str] = [word.strip("'") for word in self._word.findall(front)]
        if self._denying.isdisjoint(words) and "n't" not in front:
            words = []  # most texts are through here
        if self._loose and (found := _find(words, self._loose, REACH, contracted=True)):
            return found  # English crosses commas: "not, I think, positive"
        *_, last = front.rpartition(",")
        words = words[max(0, len(words) - len(self._word.findall(last))) :] if words else words
        found = _find(words, self._far, REACH) or _find(words, self._near, 0)
        if found or front.isascii():
            return found
        denied = (pattern.search(front.rstrip()) for pattern in self._before)
        return next((match[0] for match in denied if match), "")

    def _behind(self, behind: str) -> str:
        words: list[str] = [word.strip("'") for word in self._word.findall(behind)]
        for withdrawal in self._withdrawals if not self._denied.isdisjoint(words) else ():
            if found := withdrawal.found(words):
                return found
        if self._loose and words[:1] and _CONTRACTED.fullmatch(words[0]):
            return words[0]
        if behind.isascii():
            return ""
        denied = (pattern.match(behind) for pattern in self._after)
        return next((match[0].strip() for match in denied if match), "")


@lru_cache(maxsize=256)
def denials(languages: tuple[str, ...] | None, answers: frozenset[str]) -> Denials:
    """The negations of some languages, built once."""
    return Denials(languages, answers)


def _find(words: list[str], phrases: set[Phrase], reach: int, *, contracted: bool = False) -> str:
    """The words from the first phrase on that at most ``reach`` words separate from the end."""
    for start in range(max(0, len(words) - reach - LONGEST), len(words)):
        for end in range(max(start + 1, len(words) - reach), min(start + LONGEST, len(words)) + 1):
            is_short_form = contracted and end == start + 1 and _CONTRACTED.fullmatch(words[start])
            if is_short_form or tuple(words[start:end]) in phrases:
                return " ".join(words[start:])
    return ""


def _clause(text: str) -> str:
    return re.split(r"[,.;!?\n]", text, maxsplit=1)[0]


def _column(words: str, row: Language, is_named: bool, answers: frozenset[str]) -> set[Phrase]:
    dropped = set() if is_named else _phrases(row.named_only, frozenset())
    return _phrases(words, answers) - dropped


def _phrases(words: str, answers: Iterable[str]) -> set[Phrase]:
    return {tuple(word.split()) for word in map(fold, split_words(words)) if word not in answers}
