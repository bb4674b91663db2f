"""TOML and JSON that somebody else wrote, with bounds that Python's readers lack; texts without half characters.

Whatever is wrong with a text comes back as one ``ValueError`` of one line: a number of thousands of digits, values
nested too deeply, half of a surrogate pair. The callers say which file it was.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from datetime import date, time
from itertools import islice
from typing import Any

MAX_DEPTH = 32
"""Levels of tables and lists in a TOML file."""
MAX_KEY_PARTS = 100
"""Parts of a dotted key."""
MAX_DIGITS = 308
"""Digits of a whole number in JSON: more than a float holds."""
WHOLE_NUMBER_BITS = 64
"""Of TOML's whole numbers (toml.io, version 1.0.0), and of every setting."""
MAX_TOLD = 10
"""Problems of one file that a message spells out; the rest are counted."""

_HALF = re.compile("[\ud800-\udfff]")
_LONG_KEY = re.compile(
    rf"""(?:\.[ \t]*(?:[\w-]{{1,1000}}|"[^"\n]{{0,1000}}"|'[^'\n]{{0,1000}}')[ \t]*){{{MAX_KEY_PARTS},}}"""
)
"""A dotted key of too many parts; the standard library's reader takes minutes for 20 000 of them."""


class HalfCharacterError(ValueError):
    """A text holds one half of a surrogate pair."""


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: It is no TOML, nests more than :data:`MAX_DEPTH` deep, or has a whole number of more than 64 bits.
            Text that is no TOML raises the subclass ``tomllib.TOMLDecodeError``.
    """
    deep = f"nested more than {MAX_DEPTH} deep"
    if (long := _LONG_KEY.search(text)) is not None:
        raise ValueError(
            f"line {text.count(chr(10), 0, long.start()) + 1}: a dotted key of more than {MAX_KEY_PARTS} parts"
        )
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise ValueError(deep) from error
    except ValueError as error:  # what int() says of more than 4 300 digits
        raise ValueError(_too_long(WHOLE_NUMBER_BITS)) from error
    _check(values, deep)
    return values


def parse_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: It is no JSON, nests more deeply than Python can, has a whole number of more than
            :data:`MAX_DIGITS` digits, or (:class:`HalfCharacterError`) a text with half of a surrogate pair, which no
            file could take.
    """
    try:
        value = _DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text or (not text.isascii() and half_character(text)):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeEncodeError as error:
        raise HalfCharacterError(
            f"{error.object[error.start]!r} is half of a character, as a cut text ends in"
        ) from error
    return value


def half_character(text: str) -> str | None:
    """The first half of a surrogate pair in a text, which no file and no terminal can take; None where it is whole.

    >>> half_character("cut \\ud83d"), half_character("whole 😀")
    ('\\ud83d', None)
    """
    found = _HALF.search(text)
    return found[0] if found else None


def mended(text: str) -> str:
    """A text in which U+FFFD stands for each half of a surrogate pair; two halves that fit become their character.

    >>> mended("cut \\ud83d"), mended("\\ud83d\\ude00")
    ('cut �', '😀')
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if half_character(text) else text


def strange_value(value: object) -> str | None:
    """Why no file or device could take what stands in a value, however deep; None where all can be taken.

    >>> strange_value({"since": [date(2024, 7, 26)]}), strange_value(date(2024, 7, 26))
    ('expected a text in place of a date or time: write it in quotes', None)
    """
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, date | time) and each is not value:
            return "expected a text in place of a date or time: write it in quotes"
        if isinstance(each, dict | list | tuple):
            waiting.extend(each.values() if isinstance(each, dict) else each)
        elif isinstance(each, float) and not abs(each) < float("inf"):
            return "expected a finite number"
        elif isinstance(each, int) and each.bit_length() >= WHOLE_NUMBER_BITS:
            return f"expected a number of fewer than {WHOLE_NUMBER_BITS} bits"
    return None


def told(problems: Iterable[str], count: int) -> str:
    """Problems of one file as one line: the first :data:`MAX_TOLD`, and how many more there are.

    Args:
        problems: In order; those that are not told are not asked for.
        count: How many there are in all.
    """
    more = [f"and {count - MAX_TOLD} more problems"] if count > MAX_TOLD else []
    return "; ".join([*islice(problems, MAX_TOLD), *more])


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, expected at most {MAX_DIGITS}")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_whole)


def _too_long(bits: int) -> str:
    return f"a whole number of more than {bits} bits"


def _check(values: dict[str, Any], deep: str) -> None:
    """Raise ValueError for what :func:`parse_toml` refuses, without recursion."""
    waiting: list[tuple[Any, int]] = [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(deep)
        if isinstance(value, int) and value.bit_length() > WHOLE_NUMBER_BITS:
            raise ValueError(_too_long(WHOLE_NUMBER_BITS))
        if isinstance(value, dict | list):
            waiting.extend((each, depth + 1) for each in (value.values() if isinstance(value, dict) else value))
