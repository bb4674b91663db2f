"""Names and texts of others, made harmless where they are printed: terminal, Markdown, spreadsheets.

A name may hold whatever a file or an argument can hold: escape sequences that move the cursor, marks that turn the
direction of reading, line breaks, markup, a spreadsheet's formula. HTML is escaped by its template, LaTeX in
``comparison/latex.py``.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that steer a terminal or a reader's eye and show nothing themselves."""
_JOINERS = frozenset("\u200c\u200d\ufe0f")
"""They shape letters and emoji, and turn nothing around."""
_TAG = re.compile(r"<(?!br>)(?=[A-Za-z/!?])")
"""The beginning of HTML; a line break in a table's cell is our own, and is harmless."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection")."""


def printable(text: str, keep: str = "") -> str:
    """A name on one line: control characters, directions and line breaks as the escapes that Python prints.

    Args:
        text: The name.
        keep: Characters that stay, such as line breaks in a longer text.

    >>> print(printable("red \\x1b[31m, turned \\u202e, two\\nlines"))
    red \\x1b[31m, turned \\u202e, two\\nlines
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(each) if _is_unseen(each) and each not in keep else each for each in text)


def printable_lines(text: str) -> str:
    """A text of several lines for the terminal, as :func:`printable` shows names."""
    return printable(text, keep="\n\t")


def markdown_text(text: str) -> str:
    """A sentence in which a name's HTML and links are shown and not made: ``<b>``, ``[text](address)``."""
    return _TAG.sub("&lt;", text).replace("](", "]\\(")


def markdown_cell(text: str) -> str:
    """A name in a Markdown table."""
    return markdown_text(printable(text)).replace("|", "\\|").replace("`", "\\`")


def markdown_code(text: str) -> str:
    """A code span, also of a text with backticks; in tables too.

    >>> print(markdown_code("a"), markdown_code("a`b"))
    `a` `` a`b ``
    """
    shown = printable(text).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}{shown}{fence}" if fence == "`" else f"{fence} {shown} {fence}"


def markdown_address(path: str) -> str:
    """A relative path between the angle brackets of a link, which it cannot leave.

    >>> markdown_address("runs/a>b c")
    'runs/a%3Eb c'
    """
    return "".join(quote(each) if each in "<>\\" or _is_unseen(each) else each for each in path)


def csv_cell(value: object) -> object:
    """A cell of a CSV file: a text that a spreadsheet would run gets an apostrophe in front; numbers stay numbers.

    >>> csv_cell("=1+1"), csv_cell("-0.5"), csv_cell(-0.5)
    ("'=1+1", '-0.5', -0.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value) else value


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN and character not in _JOINERS


def _shown(character: str) -> str:
    return repr(character)[1:-1] if not character.isprintable() else character


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII) is not None
