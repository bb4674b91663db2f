"""Reads rankings such as ``5>3>2>4>1`` or ``2>1=5>3=4`` in an annotator's text.

========================================= ==========================================================
``Ranking: 5>3>2>4>1``                    read; only what follows the LAST ``Ranking:`` counts
``### Ranking`` and the order below     read; thoughts are cut (``rewardlab.tasks.thoughts``)
``Ranking: 2 ≻ 1 = 3``  ``[2] > [1]=3``   read: spaces, brackets, quotes, Markdown, ≻, ＞ and ＝
``Answer 3 > Answer 1 = Answer 2``        read
``3>1=2`` alone, without ``Ranking:``     read
a number missing, repeated, out of range  unparsable
no order at all                           unparsable
========================================= ==========================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewardlab.tasks.thoughts import spoken

_MARK = re.compile(
    r"ranking[\s*_`]{0,5}[:\uff1a]|^[^\w\n]{0,9}(?:(?:my|the) )?(?:final )?ranking[*_`# \t]{0,9}$",
    re.IGNORECASE | re.MULTILINE,
)
_WRAP = r"[\[\](){}\"'*_`\s]{0,4}"
_ITEM = rf"{_WRAP}(?:answer{_WRAP})?[0-9]{{1,3}}{_WRAP}"
_ORDER = re.compile(rf"{_ITEM}(?:[>=\u227b\uff1e\uff1d]{_ITEM}){{1,60}}", re.IGNORECASE)
_STEP = re.compile(r"[0-9]+|[>=\u227b\uff1e\uff1d]")
_TIES = "=\uff1d"


@dataclass(frozen=True, slots=True)
class ParsedRanking:
    """What was read.

    Attributes:
        places: Place of each response, 1 the best, ties share a place; empty when nothing could be read.
        reason: Why ``places`` is empty; one line.
    """

    places: tuple[int, ...]
    reason: str = ""


def parse_ranking(text: str, count: int) -> ParsedRanking:
    """Read the order of ``count`` responses. Never raises, and takes time linear in the text.

    >>> parse_ranking("Both are fine. Ranking: 2>1=3", 3).places
    (2, 1, 2)
    """
    found = _order_part(spoken(text))
    if found is None:
        return ParsedRanking((), "no ranking such as 2>1=3 in the text")
    groups = _groups(found)
    numbers = [number for group in groups for number in group]
    if sorted(numbers) != list(range(1, count + 1)):
        return ParsedRanking((), f"the ranking names {numbers}, expected each of 1 to {count} once")
    place = {number: rank for rank, group in enumerate(groups, 1) for number in group}
    return ParsedRanking(tuple(place[number] for number in range(1, count + 1)))


def _order_part(text: str) -> str | None:
    marks = list(_MARK.finditer(text))
    if marks:
        found = _ORDER.search(text, marks[-1].end())
        return found[0] if found else None
    whole = text.strip().rstrip(".")
    return whole if len(whole) < 1000 and _ORDER.fullmatch(whole) else None


def _groups(order: str) -> list[list[int]]:
    """Tied numbers together, the best group first."""
    groups: list[list[int]] = [[]]
    for step in _STEP.findall(order):
        if step.isdigit():
            groups[-1].append(int(step))
        elif step not in _TIES:
            groups.append([])
    return groups
