"""Numbers as answers: how they are printed, and which ones are read in a response.

The table of what is read and what is refused stands in :mod:`rewardlab.tasks.parsing`.
"""

from __future__ import annotations

import re

from rewardlab.tasks.text import BULLET, NO_SPACES, Finding, clean, dashes_marked, visible

MAX_NUMBERS = 50
"""Numbers after this many are not looked at: the answer is malformed long before."""

_UNIT = re.compile(r"(?<=[0-9])(?:[- ]?(?:stars?|points?)\b|[★⭐])")
_OUT_OF = re.compile(
    r"(?<=[0-9])(?: ?/ ?| ?(?:out of|of) ?| (?:von|sur|sobre|de|em|di|su|van|uit|af|av|z|из|із) )(?=[0-9])"
)
"""Between a number and the end of its scale, in a dozen languages: "4 von 5", "4 sur 5"."""
_CHUNK = re.compile(r"(?<!\S)[^\s0-9]*[0-9]\S*")
_NUMBER = re.compile(
    r"(?P<value>[-+]?(?:[0-9]{1,6}(?:\.[0-9]{0,17})?|\.[0-9]{1,17}))(?:/(?P<scale>[0-9]{1,6}(?:\.[0-9]{1,6})?))?"
)
_PLAIN = re.compile(r"-?[0-9]{1,6}(?:\.[0-9]{1,17})?")
_MINUS = re.compile(r"(?<!\w)(?:minus|moins|menos|meno|минус) ?(?=\.?[0-9])|(?:マイナス|负|負) ?(?=\.?[0-9])")
_IN_DOLLARS = re.compile(r"\$\$?\s?([-+\u2212\u2013]?[0-9.]{1,20}(?:/[0-9]{1,6})?)\s?\$\$?")
_WITHOUT_SPACES = re.compile(rf"[{NO_SPACES}]+")


def format_number(value: float) -> str:
    """Print a number as the data sets do: at least one decimal, at most three, no trailing zeros beyond that.

    Example:
        >>> [format_number(number) for number in (3.8, 4.75, 5, 2.11111111, -0.0)]
        ['3.8', '4.75', '5.0', '2.111', '0.0']
    """
    whole, decimals = f"{round(float(value), 3) + 0.0:.3f}".split(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}"


def clean_numbers(text: str) -> str:
    """The text as :func:`find_numbers` reads it: ``4 out of 5`` and ``4 / 5`` become ``4/5``, ``4-star`` ``4``.

    Scripts without spaces are set apart (``评分是4分``), and ``minus 2`` becomes ``-2``.
    """
    narrowed = minus_signs(clean(dashes_marked(without_dollars(visible(text)))))
    return _OUT_OF.sub("/", _UNIT.sub("", _WITHOUT_SPACES.sub(r" \g<0> ", narrowed)))


def without_dollars(text: str) -> str:
    """The text with numbers that LaTeX sets as formulas in plain; a sum of dollars stays one.

    >>> without_dollars("it is $-1$, not $5")
    'it is -1, not $5'
    """
    return _IN_DOLLARS.sub(r"\1", text) if "$" in text else text


def minus_signs(text: str) -> str:
    """A cleaned text with a sign for each word that means one.

    >>> minus_signs("a score of minus 2")
    'a score of -2'
    """
    return _MINUS.sub("-", text)


def find_numbers(text: str, lowest: float, highest: float) -> list[Finding]:
    """Every number in a text from :func:`clean_numbers`; refused ones have ``value=None`` and say why."""
    findings: list[Finding] = []
    for chunk in _CHUNK.finditer(text):
        findings.append(_read(chunk, lowest, highest))
        if len(findings) > MAX_NUMBERS:
            break
    return findings


def plain_number(text: str, lowest: float, highest: float) -> float | None:
    """The strict reading: digits with an optional decimal point, a minus where the scale has one, and nothing else."""
    if not _PLAIN.fullmatch(text) or (text.startswith("-") and lowest >= 0):
        return None
    number = float(text) + 0.0
    return number if lowest <= number <= highest else None


def _read(chunk: re.Match[str], lowest: float, highest: float) -> Finding:
    start, end = chunk.span()
    match = _NUMBER.fullmatch(chunk[0].strip(",;!?'").rstrip(".,;!?'"))
    if match is None:
        return Finding(None, start, end, f"{chunk[0][:40]!r} is not read as a number")
    if match["scale"] and float(match["scale"]) != highest:
        return Finding(None, start, end, f"{match[0]!r} is on another scale than {lowest:g}-{highest:g}")
    number = float(match["value"]) + 0.0
    if lowest < 0 and chunk.string[:start].endswith(BULLET + " "):
        return Finding(None, start, end, f"{match[0]!r} behind a dash may be negative")
    if not lowest <= number <= highest:
        return Finding(None, start, end, f"{match[0]!r} is outside {lowest:g}-{highest:g}")
    return Finding(number, start, end)
