"""What label and number reading share: a cleaned text, findings with a place, and the borders of words.

Text meets text in one form: composed (NFC), and for words folded (NFKC, no case), so that "Négatif" with one code
point for é, with two, and "NÉGATIF" are the same word. Every pattern here runs in linear time: no nested repeats.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from rewardlab.types import Label

NO_SPACES = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b\u3041-\u309f\u30a0-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"  # Chinese, Japanese
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"  # Korean: particles follow a word without a space
    "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"  # Thai to Burmese
)
"""Letters of scripts that put no spaces between words, as the inside of a character class."""
PRIVATE = "\ue000-\uf8ff"
SIGNS = "\ue000-\ue0ff"
BULLET = "\uf8ff"
"""Characters that stand for protected ones (:mod:`rewardlab.tasks.words`), as the inside of a character class: all of
them, those for signs, and the one for a dash in front of a number, which may be a bullet or a minus."""

_INVISIBLE = [
    *(0x00, 0xAD, 0x061C, 0x180E, 0xFEFF),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
]
_TABLE: dict[int, int | str | None] = {
    **dict.fromkeys(_INVISIBLE),
    **{wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, "‐‑‒–—−"), "-"),
    **dict.fromkeys(map(ord, "‘’ʼ´"), "'"),
    **dict.fromkeys(map(ord, '"“”„«»*`~#=:()[]{}<>|\\…「」『』【】〈〉《》〔〕'), " "),
    **dict.fromkeys(map(ord, "。｡।॥۔"), "."),
    **dict.fromkeys(map(ord, "、､،"), ","),
    ord("؟"): "?",
    ord("؛"): ";",
    ord("&"): " and ",
    ord("_"): " ",
}
_TABLE |= {wide: _TABLE.get(wide - 0xFEE0, wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)}
_VISIBLE = {**dict.fromkeys(_INVISIBLE), **{wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}}
_NO_WORDS = {
    **dict.fromkeys(map(ord, "№™®©℠"), " "),
    **dict.fromkeys(range(0xFDF0, 0xFDFE), " "),  # whole phrases in one sign, 18 times as long when they are spelt out
    **dict.fromkeys(map(ord, "İı"), "i"),
}
_JOINTS = re.compile(rf"-{{1,40}}(?!\.?\d)|(?<=[^\W{NO_SPACES}])-|/{{1,40}}(?!\d)|(?<!\d)/")
"""Hyphens and slashes, but for a sign in front of a number and the slash between two."""
UN = "un\u2010"
"""How a cleaned text has the prefix of "un-acceptable"; the article "un" is another word."""
_UN = re.compile(r"(?<!\w)un-(?=\w)")
_BLANKS = re.compile(r"[^\S\n]+")


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


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC): the one form in which labels are compared.

    >>> composed("ne\u0301gatif") == "n\u00e9gatif"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def fold(text: str) -> str:
    """The text without differences of case and of form: NFKC, case folded, the Turkish i's as one letter."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", text.translate(_NO_WORDS))
    return unicodedata.normalize("NFKC", plain.casefold())


def clean(text: str) -> str:
    """Lower case, without Markdown, brackets, double quotes and invisible characters; full-width forms narrowed."""
    return _BLANKS.sub(" ", composed(text).translate(_TABLE).lower())


def clean_words(text: str) -> str:
    """:func:`clean` folded, with hyphens and slashes read as spaces too, so that ``not-entailment`` is two words.

    A sign in front of a number stays, and so does a slash between two numbers.
    """
    folded = fold(text.translate(_TABLE))
    if "un-" in folded:
        folded = _UN.sub(UN + " ", folded)
    return _BLANKS.sub(" ", _JOINTS.sub(" ", folded)).strip()


@cache
def marks(*, of_spaced_scripts: bool = False) -> str:
    """Combining marks (vowel signs, accents) of the basic plane, as the inside of a character class."""
    codes = [code for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M")]
    if of_spaced_scripts:
        codes = [code for code in codes if not re.match(f"[{NO_SPACES}]", chr(code))]
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in _runs(codes))


def _runs(codes: list[int]) -> list[tuple[int, int]]:
    """Runs of following numbers as (first, last)."""
    runs: list[tuple[int, int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1] = (runs[-1][0], code)
        else:
            runs.append((code, code))
    return runs


def visible(text: str) -> str:
    """The text composed, without invisible characters, full-width forms narrowed; everything else as it was."""
    return text if text.isascii() and "\x00" not in text else composed(text).translate(_VISIBLE)


def before_word(first: str) -> str:
    """What a pattern asks of the place in front of a word that begins with ``first``.

    Nothing, where ``first`` is of a script without spaces or no letter; else that no letter touches it, unless that
    one is of a script without spaces: in ``答案是positive`` the label stands by itself.
    """
    if re.match(f"[{SIGNS}]", first):
        return rf"(?<![\w{SIGNS}])"
    return "" if re.match(rf"[{NO_SPACES}]|\W", first) else rf"(?<![^\W{NO_SPACES}])"


def after_word(last: str) -> str:
    """The same for the place behind a word that ends in ``last``."""
    if re.match(f"[{SIGNS}]", last):
        return rf"(?![\w{SIGNS}])"
    return "" if re.match(rf"[{NO_SPACES}]|\W", last) and not is_mark(last) else rf"(?![^\W{NO_SPACES}])"


def is_mark(character: str) -> bool:
    """True for a combining mark of a script with spaces: a part of the word it stands in, though no letter."""
    return bool(character) and re.match(f"[{marks(of_spaced_scripts=True)}]", character) is not None


_DASH = re.compile(r"(?:^|(?<=\n))[^\S\n]{0,3}[-\u2212\u2013][^\S\n]{1,3}(?=[*_`\"'(]{0,3}\.?[0-9])")


def dashes_marked(text: str) -> str:
    """The text with :data:`BULLET` for each dash that begins a line, with a space and a number behind it."""
    return _DASH.sub(BULLET + " ", text)
