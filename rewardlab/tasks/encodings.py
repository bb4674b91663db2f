"""Text files in the encodings that other programs write, opened as text."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

from rewardlab.errors import DataError

_UTF_16, _UTF_32 = "utf-16", "utf-32"
ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: _UTF_32,  # begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: _UTF_32,
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
}
"""Byte order mark -> encoding, the first that a file begins with."""


def open_text(path: Path) -> io.TextIOWrapper:
    """Text of a file in UTF-8, or in the encoding of its byte order mark (spreadsheets' "Unicode text" is UTF-16).

    Line ends come as they are.

    Raises:
        DataError: It is UTF-16 or UTF-32 without a byte order mark.
    """
    with path.open("rb") as file:
        start = file.read(4)
    encoding = next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in start:
        raise DataError(f"{path}: a byte 0 at its beginning, as in UTF-16 without a byte order mark; save it as UTF-8")
    return path.open(encoding=encoding, newline="")


def wrong_byte(path: Path) -> str:
    """`` line N: ...`` of the first byte that is no UTF-8; the file is read again, line by line."""
    with path.open("rb") as file:
        start = file.read(4)
        if any(start.startswith(mark) for mark, name in ENCODINGS.items() if name in (_UTF_16, _UTF_32)):
            return ": not in the encoding that its first bytes announce"
        file.seek(0)
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                return f" line {number}: the byte 0x{line[error.start]:02x} is no UTF-8"
    return ": no UTF-8"
