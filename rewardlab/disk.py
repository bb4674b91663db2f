"""Files on disk: text, JSON and JSON Lines that appear whole or not at all, and what a full disk looks like."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO

from rewardlab.errors import DataError, InputError
from rewardlab.reading import mended, parse_json

PART = ".part-"
"""Between a file's name and the number of the process that is writing it."""
FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""What the system says when a disk, or the user's share of it, is full."""
ROOM = 1 << 20
"""Bytes that a disk must take to count as not full: what failed has written all that it took, but for a block."""

_IS_READ_ONLY = ContextVar("is_read_only", default=False)


@contextmanager
def read_only() -> Iterator[None]:
    """Around a dry run: nothing inside may leave a file behind, in no folder and in no cache."""
    mark = _IS_READ_ONLY.set(True)
    try:
        yield
    finally:
        _IS_READ_ONLY.reset(mark)


def is_read_only() -> bool:
    """True inside :func:`read_only`: what is only remembered for speed is not stored then."""
    return _IS_READ_ONLY.get()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around writing a file that the user named: raises InputError that names it when that cannot be done."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def make_folder(path: Path) -> None:
    """Make the folder that a long command will write to at its end; raises InputError when no file can be put there."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path).close()


@contextmanager
def atomic_file(path: Path) -> Iterator[TextIO]:
    """A file to write text to; it appears under its name when the block ends well, or not at all.

    It is on the disk then, and so is its name: a loss of power leaves the old file or the new one, too.

    Raises:
        OSError: It cannot be written; a folder in its place is found at once, not after the work of the block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
        yield file


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where a library may write a file that is to appear under its name when it is whole and on the disk.

    What was written is removed when the block fails.
    """
    part = path.with_name(f"{path.name}{PART}{os.getpid()}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk, so that a file that was moved there outlives a loss of power."""
    with suppress(OSError):  # not every file system can
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` so that readers see the old file or the new one, never a part."""
    with atomic_file(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomic(path, _as_json(value, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with atomic_file(path) as file:
        file.writelines(_as_json(row) + "\n" for row in rows)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises DataError that names it."""
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a JSON file: {error}") from error


def read_jsonl(path: Path, *, may_be_cut: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file as it is read; raises DataError that names file and line.

    Args:
        path: The file.
        may_be_cut: Leave out a last line without a line break, which a killed process had begun to write.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and (line.endswith(b"\n") or not may_be_cut):
                    yield parse_object(line.decode("utf-8-sig" if number == 1 else "utf-8"), f"{path} line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a readable JSON Lines file in UTF-8: {error}") from error


def parse_object(line: str, place: str) -> dict[str, Any]:
    """The object that a line of JSON Lines holds; raises DataError that begins with ``place``."""
    try:
        row = parse_json(line)
    except ValueError as error:
        raise DataError(f"{place}: not JSON: {error}; expected one object a line") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: found {row!r:.40}, expected one JSON object a line")
    return row


def _as_json(value: Any, indent: int | None = None) -> str:
    """JSON in which halves of characters are mended: a reward's reason or an answer may be a text that was cut."""
    return mended(json.dumps(value, indent=indent, ensure_ascii=False, default=str))


def append_json(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line to a JSON Lines file, whole or not at all; raises OSError that names the file."""
    with path.open("ab", buffering=0) as file:
        size, rest = os.fstat(file.fileno()).st_size, f"{_as_json(row)}\n".encode()
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            os.truncate(file.fileno(), size)  # the next line must not begin behind half of this one
            raise OSError(error.errno, error.strerror, str(path)) from error


def is_disk_full(error: BaseException) -> bool:
    """True when an error, or what it came from, says that the disk or the user's share of it is full.

    Libraries that write by code of their own (safetensors, torch) raise their own errors, which quote the system's.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            return True
        if any(os.strerror(code) in str(seen) or f"os error {code}" in str(seen) for code in FULL):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def full_disk(folder: Path) -> OSError | None:
    """What the system says of the disk below a folder when it is full; None when there is room.

    For libraries whose error does not say it: torch, when it writes to a path.
    """
    try:
        with TemporaryFile(dir=folder, buffering=0) as file:
            rest = ROOM
            while rest > 0:
                rest -= file.write(bytes(rest))
    except OSError as error:
        return error if error.errno in FULL else None
    return None
