"""Run folders of a cluster without shared storage: nodes fetch them by hash from the command's machine.

A node keeps a copy of the runs folder, with the same names inside. Before it builds a stage it fetches what the stage
needs and what an earlier attempt left; checkpoints are sent back while it works, everything else at the end,
``result.json`` last. A file that is there with the right hash is not sent again.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rewardlab.disk import PART
from rewardlab.errors import RunFolderError
from rewardlab.outputs import file_hash
from rewardlab.pipeline.alone import LOCK_FILE
from rewardlab.pipeline.attempts import repeating
from rewardlab.pipeline.stage import Stage
from rewardlab.runs import CHECKPOINTS, RunFolder

logger = logging.getLogger(__name__)

BLOCK = 1 << 24
"""Bytes that travel in one message."""
WATCH_S = 5.0
"""Seconds between two looks for new checkpoints."""
WAIT_S = 2.0
"""Seconds between two tries to lock a folder that another command has."""
RESULT = "result.json"
CONFIG = "config.json"
"""Written by the command's machine: it has paths as seen from there."""

Call = Callable[..., Any]
"""(name of a method of the depot, its arguments) -> what it returns."""


class Depot:
    """The runs folder on the command's machine, as nodes reach it; there it is a Ray actor.

    Args:
        root: Where run folders live.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held: dict[str, tuple[str, Any]] = {}

    def lock(self, folder: RunFolder, owner: str) -> bool:
        """Open a run folder for one attempt and hold it against other commands; False where one has it.

        Args:
            folder: As it lies here.
            owner: Names the attempt; writes of any other are refused from now on.
        Raises:
            RunFolderError: It holds something else, or cannot be written.
        """
        from filelock import FileLock, Timeout

        name = self._name(folder.path)
        if name in self._held:
            return self._held[name][0] == owner
        folder.open()
        lock = FileLock(folder.path / LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            raise RunFolderError(f"{folder.path / LOCK_FILE}: cannot be locked ({error.strerror})") from error
        self._held[name] = (owner, lock)
        return True

    def unlock(self, path: Path, owner: str | None = None) -> None:
        """Let go of a folder when its attempt ended; without an owner whoever holds it, since its node is lost."""
        name = self._name(path)
        if name in self._held and owner in (None, self._held[name][0]):
            self._held.pop(name)[1].release()

    def hashes(self, name: str) -> dict[str, str]:
        """File -> SHA-256 of a run folder; empty where there is none."""
        return hashes(self._root / name)

    def read(self, name: str, file: str, start: int) -> bytes:
        """A piece of a file; empty behind its end."""
        with (self._root / name / file).open("rb") as opened:
            opened.seek(start)
            return opened.read(BLOCK)

    def write(self, owner: str, name: str, file: str, pieces: int, data: bytes, *, is_last: bool) -> None:
        """Add a piece to a file, which appears under its name with the last one.

        Args:
            owner: The attempt that holds the folder.
            name: Of the folder.
            file: In it.
            pieces: How many came before.
            data: The piece.
            is_last: Nothing follows.
        """
        self._check(owner, name)
        path = self._root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}{PART}{owner}")
        with part.open("ab" if pieces else "wb") as opened:
            opened.write(data)
        if is_last:
            part.replace(path)

    def keep(self, owner: str, name: str, files: list[str]) -> None:
        """Remove what the node's folder does not have any more."""
        self._check(owner, name)
        _keep(self._root / name, files)

    def _check(self, owner: str, name: str) -> None:
        if self._held.get(name, ("",))[0] != owner:
            raise RunFolderError(
                f"{self._root / name}: another attempt has this stage now, its node was taken for lost"
            )

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


class Copy:
    """A node's copy of a depot.

    Args:
        call: Calls a method of the depot.
        root: The depot's folder of runs.
        here: The copy's.
    """

    def __init__(self, call: Call, root: Path, here: Path) -> None:
        self._call, self._root, self.here = call, root, here

    def fetch(self, stage: Stage) -> None:
        """Make a stage's folder here what it is in the depot.

        Raises:
            RunFolderError: A file does not have its hash after it came.
        """
        if stage.at is not None:  # outside of the runs folder: the node has it there, or not at all
            return
        name = stage.path(Path()).as_posix()
        wanted, there = self._call("hashes", name), hashes(self.here / name)
        for file, digest in wanted.items():
            if there.get(file) != digest:
                self._fetch(name, file, digest)
        if there:
            _keep(self.here / name, list(wanted))

    def _fetch(self, name: str, file: str, digest: str) -> None:
        path = self.here / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}{PART}fetched")
        with part.open("wb") as opened:
            while block := self._call("read", name, file, opened.tell()):
                opened.write(block)
        if file_hash(part) != digest:
            part.unlink()
            raise RunFolderError(
                f"{self._root / name / file}: changed while it was fetched; run the same command again"
            )
        part.replace(path)

    @contextmanager
    def building(self, stage: Stage, owner: str, say: Callable[[str], None]) -> Iterator[None]:
        """Hold a stage's folder in the depot around an attempt to build it here, and send what comes of it.

        Args:
            stage: What is built.
            owner: Names the attempt.
            say: Told once when another command has the folder, before waiting for it.
        """
        folder, is_told = stage.folder(self._root), False
        while not self._call("lock", folder, owner):
            if not is_told:
                say(f"{folder.path}: another command is building it, waiting")
            is_told = True
            threading.Event().wait(WAIT_S)
        try:
            self.fetch(stage)
            with self._sending_checkpoints(stage.path(Path()).as_posix(), owner):
                yield
            self._send(stage.path(Path()).as_posix(), owner)
        finally:
            self._call("unlock", folder.path, owner)

    @contextmanager
    def _sending_checkpoints(self, name: str, owner: str) -> Iterator[None]:
        place = self.here / name / CHECKPOINTS
        sent = _stamps(place)  # as fetched

        def send() -> None:
            nonlocal sent
            if (found := _stamps(place)) != sent:
                try:
                    self._send(name, owner)
                    sent = found
                except Exception as error:  # tried again later; the stage itself goes on
                    logger.warning("%s: checkpoints were not sent (%s)", name, error)

        with repeating(send, WATCH_S, "checkpoints"):
            yield

    def _send(self, name: str, owner: str) -> None:
        """Records before checkpoints, which are refused where a record lacks rows that they go on behind.

        The files are listed first, so that a record that is read after that covers the checkpoints among them.
        """
        there = self._call("hashes", name)
        found = sorted(_files(self.here / name), key=lambda file: (file == RESULT, file.startswith(CHECKPOINTS)))
        for file in found:
            with suppress(FileNotFoundError):  # an old checkpoint that has made room for a new one
                if file != CONFIG and file_hash(self.here / name / file) != there.get(file):
                    self._send_file(name, file, owner)
        self._call("keep", owner, name, found)

    def _send_file(self, name: str, file: str, owner: str) -> None:
        with (self.here / name / file).open("rb") as opened:
            pieces, block = 0, opened.read(BLOCK)
            while True:
                following = opened.read(BLOCK) if len(block) == BLOCK else b""
                self._call("write", owner, name, file, pieces, block, is_last=not following)
                if not following:
                    return
                pieces, block = pieces + 1, following


def hashes(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of all that travels of a run folder."""
    found = {}
    for file in _files(folder):
        with suppress(FileNotFoundError):
            found[file] = file_hash(folder / file)
    return found


def _files(folder: Path) -> list[str]:
    """Names of the files that travel; not what is being written, nor the lock."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    unfinished = f"{CHECKPOINTS}/unfinished"
    return sorted(name for name in names if name != LOCK_FILE and PART not in name and not name.startswith(unfinished))


def _keep(folder: Path, files: list[str]) -> None:
    for file in set(_files(folder)) - set(files):
        (folder / file).unlink(missing_ok=True)
    for path in sorted((folder / CHECKPOINTS).glob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)


def _stamps(place: Path) -> set[tuple[str, int]]:
    found = set()
    for path in place.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.name != "unfinished":
                found.add((path.relative_to(place).as_posix(), path.stat().st_mtime_ns))
    return found
