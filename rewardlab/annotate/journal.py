"""The journal: every answer that was paid for, one JSON line each, on disk before anyone uses it.

Lines are keyed by the content hash of their request, so the same question is never asked twice, in this run or the
next. The file is only ever appended to, by any number of processes; a last line torn by a crash is cut off when the
journal is opened. In memory are the keys alone. Keys and passwords of an endpoint have no place in a record.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from rewardlab.errors import RunFolderError

try:
    import fcntl
except ImportError:  # Windows: a journal is then for one process at a time
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


class Journal:
    """Answers by request key, backed by one append-only JSON Lines file.

    Args:
        path: The file; created with its folder by the first answer.
    Raises:
        RunFolderError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets: dict[str, int] = {}
        try:
            self._load()
        except OSError as error:
            raise RunFolderError(f"{path}: the journal cannot be read ({error.strerror}); check its rights") from error

    def __contains__(self, key: object) -> bool:
        return key in self._offsets

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of that request, or None when it was never answered."""
        if key not in self._offsets:
            return None
        with self.path.open("rb") as file:
            file.seek(self._offsets[key])
            record: dict[str, Any] = json.loads(file.readline())
        return record

    def append(self, key: str, record: Mapping[str, Any]) -> None:
        """Store one answer; when this returns, the answer is on disk. Safe to call from several threads."""
        with self.writer() as writer:
            writer.write(key, record)

    @contextmanager
    def writer(self) -> Iterator[JournalWriter]:
        """Open the file for many answers; on leaving, all of them are on disk."""
        writer = JournalWriter(self.path, self._offsets)
        try:
            yield writer
        finally:
            writer.close()

    def merge(self, other: Path) -> int:
        """Take over the answers of another journal that are not here yet; returns how many.

        Raises:
            RunFolderError: ``other`` is no readable file.
        """
        if not other.is_file():
            raise RunFolderError(f"{other}: no such journal; give a file such as runs/annotations/openai.jsonl")
        theirs, before = Journal(other), len(self)
        with self.writer() as writer:
            for key in theirs._offsets:
                if key not in self:
                    writer.write(key, theirs.get(key) or {})
        return len(self) - before

    def _load(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            for number, line in enumerate(iter(file.readline, b""), 1):
                if line.endswith(b"\n"):
                    self._read(line, number, file.tell() - len(line))
                else:
                    _cut(file, len(line))

    def _read(self, line: bytes, number: int, offset: int) -> None:
        if not line.strip():
            return
        try:
            self._offsets.setdefault(str(json.loads(line)["key"]), offset)
        except (ValueError, TypeError, KeyError):
            logger.warning("%s line %d: not a journal record; it is passed over", self.path, number)


class JournalWriter:
    """Appends lines to an open journal.

    A written line survives the death of this process at once, and that of the machine after the next :meth:`sync`.

    Args:
        path: The journal's file.
        offsets: Key -> where its line begins; kept up to date.
    """

    def __init__(self, path: Path, offsets: dict[str, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._offsets = offsets
        self._lock = threading.Lock()
        self._is_synced = True
        if fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_SH)  # nobody cuts off a line that we are about to finish
        if is_new:
            _sync_folder(path.parent)
        self._end_torn_line()

    def write(self, key: str, record: Mapping[str, Any]) -> None:
        """Append one answer; it is on disk after the next :meth:`sync`."""
        line = (json.dumps({"key": key, **record}, ensure_ascii=True) + "\n").encode()
        with self._lock:
            self._is_synced = False
            _write_all(self._file, line)
            self._offsets.setdefault(key, os.lseek(self._file, 0, os.SEEK_CUR) - len(line))

    def sync(self) -> None:
        """Wait until everything written so far is on disk."""
        if not self._is_synced:
            self._is_synced = True  # before the call: what is written during it needs another one
            os.fsync(self._file)

    def close(self) -> None:
        """Put everything on disk and let the file go."""
        try:
            self.sync()
        finally:
            os.close(self._file)

    def _end_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            _write_all(self._file, b"\n")


def _cut(file: BinaryIO, length: int) -> None:
    """Cut off a torn last line, unless another process is writing it."""
    with suppress(BlockingIOError):
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(file.tell() - length)
        logger.warning("%s: cut off %d bytes of a line that was not finished", file.name, length)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _sync_folder(folder: Path) -> None:
    """A new file's name, too, must be on disk."""
    with suppress(OSError):  # a folder cannot be opened everywhere
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
