"""What label and number reading share: a cleaned text, findings with a place, and the negation check.

Every pattern here runs in linear time: no nested repeats, and look-back windows are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewardlab.types import Label

LOOK_BACK = 60
"""Characters in front of a finding in which a negation counts."""
LOOK_AHEAD = 40
"""Characters behind a finding in which a withdrawal ("positive is wrong") counts."""

_INVISIBLE = [0x00, 0xAD, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF]
_TABLE: dict[int, int | str | None] = {
    **dict.fromkeys(_INVISIBLE),
    **{wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, "‐‑‒–—−"), "-"),
    **dict.fromkeys(map(ord, "‘’ʼ´"), "'"),
    **dict.fromkeys(map(ord, '"“”„«»*`~#=:()[]{}<>|\\'), " "),
    ord("&"): " and ",
    ord("_"): " ",
}
_ALSO_SPACES = str.maketrans("-/", "  ")
_BLANKS = re.compile(r"[^\S\n]+")
_CLAUSE_ENDS = ".;!?\n"
_FAR = re.compile(
    r"(?<!\w)(?:not|never|neither|nor|hardly|barely|scarcely|cannot|[a-z]{1,8}n't"
    r"|isnt|arent|wasnt|dont|doesnt|didnt|cant|wont)(?:\W+\w+){0,3}\W*$"
)
_NEAR = re.compile(
    r"(?<!\w)(?:(?P<no>no)|non|un|far from|anything but|opposite of|rather than|instead of|other than"
    r"|less than|more than|no longer)\W*$"
)
_WITHDRAWN = re.compile(r"\W{0,3}(?:(?:is|was|seems|would be) (?:not|wrong|incorrect|false)|isn't|wasn't)\b")


@dataclass(frozen=True, slots=True)
class Finding:
    """One label or number found in a cleaned text.

    Attributes:
        value: The label or number; None for a text that counts as malformed.
        start, end: Where it stands in the cleaned text.
        note: Why ``value`` is None.
    """

    value: Label | None
    start: int
    end: int
    note: str = ""


def clean(text: str) -> str:
    """Lower case, without Markdown, brackets, double quotes and invisible characters; full-width forms narrowed."""
    return _BLANKS.sub(" ", text.translate(_TABLE).lower())


def clean_words(text: str) -> str:
    """:func:`clean`, with hyphens and slashes read as spaces too, so that ``not-entailment`` is two words."""
    return _BLANKS.sub(" ", clean(text).translate(_ALSO_SPACES)).strip()


def negation(text: str, finding: Finding, *, no_negates: bool = True) -> str:
    """The words that negate or withdraw a finding, empty when there are none.

    Args:
        text: The cleaned text the finding stands in.
        finding: What was found there.
        no_negates: False where "no" is an answer of its own.
    """
    reach = max(0, finding.start - LOOK_BACK)
    begin = max(reach, *(text.rfind(mark, reach, finding.start) + 1 for mark in _CLAUSE_ENDS))
    near = _NEAR.search(text, begin, finding.start)
    if near and near["no"] and not no_negates:
        near = None
    after = _WITHDRAWN.match(text, finding.end, finding.end + LOOK_AHEAD)
    found = _FAR.search(text, begin, finding.start) or near or after
    return found[0].strip() if found else ""
