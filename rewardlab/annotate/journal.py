"""The journal: every answer that was paid for, one JSON line each, on disk before anyone uses it.

Lines are keyed by the content hash of their request, so the same question is never asked twice, in this run or the
next. The file is only ever appended to; a last line torn by a crash is cut off when the journal is opened. Journals
of several machines merge by concatenation. Keys and passwords have no place in a record.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardlab.errors import RunFolderError

logger = logging.getLogger(__name__)


class Journal:
    """Answers by request key, backed by one append-only JSON Lines file.

    Args:
        path: The file; created with its folder on the first :meth:`append`.
    Raises:
        RunFolderError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._records: dict[str, dict[str, Any]] = {}
        try:
            self._load()
        except OSError as error:
            raise RunFolderError(f"{path}: the journal cannot be read ({error.strerror}); check its rights") from error

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of that request, or None when it was never answered."""
        return self._records.get(key)

    def append(self, key: str, record: Mapping[str, Any]) -> None:
        """Store one answer; when this returns, the answer is on disk. Safe to call from several threads."""
        row = {"key": key, **record}
        line = (json.dumps(row, ensure_ascii=True) + "\n").encode()
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _write_all(file, line)
                os.fsync(file)
            finally:
                os.close(file)
            self._records[key] = row

    def _load(self) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            logger.warning("%s: cut off %d bytes of a line that was not finished", self.path, len(data) - whole)
            os.truncate(self.path, whole)
        for number, line in enumerate(data[:whole].split(b"\n"), 1):
            self._read(line, number)

    def _read(self, line: bytes, number: int) -> None:
        if not line.strip():
            return
        try:
            row = json.loads(line)
            self._records[str(row["key"])] = row
        except (ValueError, TypeError, KeyError):
            logger.warning("%s line %d: not a journal record; it is passed over", self.path, number)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
