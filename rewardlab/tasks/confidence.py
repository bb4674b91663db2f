"""Confidence that an answer states about itself: ``The answer is: positive (80 %)``, how it is written and read.

Read is a percentage from 0 to 100 with its sign or word, anywhere behind the answer mark: ``80%``, ``(80 %)``,
``confidence: 80 percent``, ``80 % sure``, ``80,5 %``. Two different ones, or one above 100, are none. A number without
a percent sign is none: it may be the answer.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from rewardlab.tasks.text import visible
from rewardlab.types import Example

SHOWN_CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""What SFT's answers, pairs and solved examples state, drawn evenly and whatever the row, so that a policy starts with
all of them and learns from its reward alone which one is due."""

_NUMBER = r"(?<![\w.,])(?P<number>\d{1,3}(?:[.,]\d{1,3})?)\s{0,3}(?:%|per\s?cent\b)"
_CONFIDENCE = re.compile(
    r"[\s,;–—-]{0,9}[(\[]?\s{0,3}(?:(?:with\s(?:a\s)?)?confidence(?:\s(?:of|is))?\s{0,3}[:=]?\s{0,3})?(?:i(?:'|\sa)m\s)?"
    + _NUMBER
    + r"(?:\s{0,3}(?:sure|certain|confident|confidence|probability|likely))?\s{0,3}[)\]]?",
    re.IGNORECASE,
)


class Stated(NamedTuple):
    """An answer without its confidence, and that; None where it states none, or no single one."""

    answer: str
    confidence: float | None


def confidence_text(confidence: float) -> str:
    """How a response prints a confidence.

    >>> confidence_text(0.8)
    '(80 %)'
    """
    return f"({round(100 * confidence)} %)"


def stated(text: str) -> Stated:
    """Cut the confidence out of what stands behind an answer mark. Never raises.

    >>> stated("positive (80 %)")
    Stated(answer='positive', confidence=0.8)
    >>> stated("4 out of 5, 62.5% sure.")
    Stated(answer='4 out of 5.', confidence=0.625)
    >>> stated("positive").confidence is None
    True
    """
    text = visible(text)
    numbers = {float(found["number"].replace(",", ".")) for found in _CONFIDENCE.finditer(text)}
    rest = _CONFIDENCE.sub("", text)
    if len(numbers) != 1 or (number := numbers.pop()) > 100:
        return Stated(rest, None)
    return Stated(rest, number / 100)


def shown_confidence(example: Example) -> float:
    """The confidence that training texts of a row state; the same in every run."""
    drawn = zlib.crc32(f"confidence {example.task} {example.id}".encode())
    return SHOWN_CONFIDENCES[drawn % len(SHOWN_CONFIDENCES)]
