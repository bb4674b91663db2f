"""One command builds a stage at a time: a second one that needs it waits, and then finds it done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rewardlab.runs import RunFolder

LOCK_FILE = ".lock"
"""In the run folder; the operating system frees it when its holder ends, however that ends."""


@contextmanager
def alone(folder: RunFolder, say: Callable[[str], None]) -> Iterator[None]:
    """Hold an opened run folder against other commands.

    Args:
        folder: Where the stage is built.
        say: Told once when another command has the folder, before waiting for it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder.path / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{folder.path}: another command is building it, waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
