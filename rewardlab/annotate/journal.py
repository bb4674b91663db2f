"""The journal: every answer that was paid for, one JSON line each, on disk before anyone uses it.

Lines are keyed by the content hash of their request, so the same question is never asked twice, in this run or the
next. The file is only ever appended to, by any number of processes. Reading changes nothing; who comes to write first
ends the last line if a crash left it without its newline, or cuts it off if the crash tore it. In memory are the keys
alone. Keys and passwords of an endpoint have no place in a record.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rewardlab.disk import is_disk_full
from rewardlab.errors import AnnotationError, RewardlabError, RunFolderError

try:
    import fcntl
except ImportError:  # Windows: a journal is then for one process at a time
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

BLOCK = 1 << 16
"""Bytes read at once in search of the last newline."""


class Journal:
    """Answers by request key, backed by one append-only JSON Lines file.

    Args:
        path: The file; created with its folder by the first answer, and only read until then.
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
        """Open the file for many answers; on leaving, all of them are on disk.

        Raises:
            RunFolderError: The file cannot be opened.
            AnnotationError: An answer cannot be written (RunFolderError where the disk is full); raised by the writer's
            methods.
        """
        writer = JournalWriter(self.path, self._offsets)
        try:
            yield writer
        finally:
            writer.close()

    def merge(self, other: Path) -> int:
        """Take over the answers of another journal that are not here yet; returns how many. ``other`` is only read.

        Raises:
            RunFolderError: ``other`` is no readable file, or holds records that no annotator answered; nothing is
                taken over then.
        """
        if not other.is_file():
            raise RunFolderError(f"{other}: no such journal; give a file such as runs/annotations/openai.jsonl")
        theirs = Journal(other)
        new = [key for key in theirs if key not in self]
        theirs.check_answers(new)
        with self.writer() as writer:
            for key in new:
                writer.write(key, theirs.get(key) or {})
        return len(new)

    def check_answers(self, keys: Iterable[str]) -> None:
        """Raise RunFolderError when one of these records does not say which annotator answered."""
        for key in keys:
            record = self.get(key) or {}
            if not all(isinstance(record.get(name), str) for name in ("annotator", "model")):
                raise RunFolderError(
                    f"{self.path}: the record {key!r} is no annotator's answer: it names no annotator and "
                    "model; give a file such as runs/annotations/openai.jsonl"
                )

    def _load(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(iter(file.readline, b""), 1):
                self._read(line, number, file.tell() - len(line))

    def _read(self, line: bytes, number: int, offset: int) -> None:
        if not line.strip():
            return
        key = _key_of(line)
        if key is not None:
            self._offsets.setdefault(key, offset)
        elif line.endswith(b"\n"):
            logger.warning("%s line %d: not a journal record; it is passed over", self.path, number)
        else:
            logger.warning("%s line %d: not finished; it is passed over", self.path, number)


class JournalWriter:
    """Appends lines to an open journal.

    A written line survives the death of this process at once, and that of the machine after the next :meth:`sync`.

    Args:
        path: The journal's file.
        offsets: Key -> where its line begins; kept up to date.
    """

    def __init__(self, path: Path, offsets: dict[str, int]) -> None:
        self._path = path
        self._offsets = offsets
        self._lock = threading.Lock()
        self._is_synced = True
        self._is_torn = False
        with self._told(RunFolderError):
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            if is_new:
                _sync_folder(path.parent)
        with self._told(AnnotationError):
            self._share()

    def write(self, key: str, record: Mapping[str, Any]) -> None:
        """Append one answer; it is on disk after the next :meth:`sync`."""
        line = (json.dumps({"key": key, **record}, ensure_ascii=True) + "\n").encode()
        with self._lock, self._told(AnnotationError):
            self._is_synced = False
            begin, self._is_torn = b"\n" if self._is_torn else b"", True  # until the line is whole
            _write_all(self._file, begin + line)
            self._is_torn = False
            self._offsets.setdefault(key, os.lseek(self._file, 0, os.SEEK_CUR) - len(line))

    def sync(self) -> None:
        """Wait until everything written so far is on disk."""
        if not self._is_synced:
            self._is_synced = True  # before the call: what is written during it needs another one
            with self._told(AnnotationError):
                os.fsync(self._file)

    def close(self) -> None:
        """Put everything on disk and let the file go."""
        try:
            self.sync()
        finally:
            os.close(self._file)

    @contextmanager
    def _told(self, kind: type[RewardlabError]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise (RunFolderError if is_disk_full(error) else kind)(
                f"{self._path}: the journal cannot be written ({error.strerror}); answers in it are safe. Look at the "
                "disk and its rights; the same command asks the rest"
            ) from error

    def _share(self) -> None:
        """Mend the last line unless another process is writing, under a lock."""
        if fcntl is None:
            self._mend()
            return
        with suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._mend()
        fcntl.flock(self._file, fcntl.LOCK_SH)
        self._is_torn = bool(self._last_line())

    def _mend(self) -> None:
        """End a whole last line that lacks its newline alone: it was paid for. Cut off a torn one."""
        line = self._last_line()
        if _key_of(line) is not None:
            _write_all(self._file, b"\n")
        elif line:
            os.ftruncate(self._file, os.fstat(self._file).st_size - len(line))
            logger.warning("%s: cut off %d bytes of a line that was not finished", self._path, len(line))

    def _last_line(self) -> bytes:
        """What stands behind the last newline."""
        size, found = os.fstat(self._file).st_size, b""
        while len(found) < size and b"\n" not in found:
            length = min(BLOCK, size - len(found))
            found = os.pread(self._file, length, size - len(found) - length) + found
        return found.rpartition(b"\n")[2]


def _key_of(line: bytes) -> str | None:
    """The key of a whole record; None where the line is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    key = record.get("key") if isinstance(record, dict) else None
    return key if isinstance(key, str) else None


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
