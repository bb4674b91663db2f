"""One command builds a stage at a time: a second one that needs it waits, and then finds it done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rewardlab.errors import RunFolderError
from rewardlab.runs import RunFolder

LOCK_FILE = ".lock"
"""In the run folder; the operating system frees it when its holder ends, however that ends."""


@contextmanager
def alone(folder: RunFolder, say: Callable[[str], None]) -> Iterator[None]:
    """Open a run folder and hold it against other commands.

    Args:
        folder: Where the stage is built.
        say: Told once when another command has the folder, before waiting for it.
    Raises:
        RunFolderError: As :meth:`RunFolder.open` does.
    """
    from filelock import FileLock, Timeout

    while True:
        folder.open()
        opened = folder.path.stat()
        lock = FileLock(folder.path / LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{folder.path}: another command is building it, waiting")
            lock.acquire()
        except OSError as error:
            raise _no_lock(folder, error) from error
        if folder.path.exists() and os.path.samestat(opened, folder.path.stat()):
            break
        lock.release()  # somebody moved the folder away, lock and all, while this waited
    try:
        yield
    finally:
        lock.release()


@contextmanager
def unused(folder: RunFolder) -> Iterator[None]:
    """Hold a run folder for a moment, in order to move it.

    Raises:
        RunFolderError: Another command is building it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder.path / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(
            f"{folder.path}: another command is building it; stop that one or wait for its end before --fresh"
        ) from error
    except OSError as error:
        raise _no_lock(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _no_lock(folder: RunFolder, error: OSError) -> RunFolderError:
    return RunFolderError(f"{folder.path / LOCK_FILE}: cannot be locked ({error.strerror}); remove what is in the way")
