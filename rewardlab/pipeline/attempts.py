"""How long a stage took, over all the attempts it needed: an interrupted one counts, a killed one up to its last sign.

``attempts.jsonl`` in the stage's folder has a line when an attempt starts and one with its seconds when it ends,
however it ends. While it runs the file is touched every few seconds, so that a kill loses no more than that. Beside the
clock's seconds stands the processor time, which other work on the machine hardly changes; of a killed attempt, for
which nobody measured it, the clock's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab import processes
from rewardlab.runs import RunFolder, read_jsonl, write_jsonl

ATTEMPTS_FILE = "attempts.jsonl"
TOUCH_S = 5.0
"""Seconds between two signs of life."""


@dataclass(slots=True)
class Taken:
    """What all attempts took together; complete when the last one has ended.

    Attributes:
        seconds: By the clock.
        processor_seconds: Processor time of this process, all its threads.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count an attempt that ended."""
        seconds = float(row.get("seconds", 0.0))
        self.seconds += seconds
        self.processor_seconds += float(row.get("processor_seconds", seconds))


@contextmanager
def attempt(folder: RunFolder) -> Iterator[Taken]:
    """Time one attempt at a stage; the main process does.

    Args:
        folder: Its opened run folder.
    Yields:
        What all attempts took, this one included after the block.
    """
    if not processes.is_main():
        yield Taken()
        return
    path = folder.path / ATTEMPTS_FILE
    taken = _earlier(path)
    folder.append(ATTEMPTS_FILE, {"started": time.time()})
    start, began = time.perf_counter(), time.process_time()
    try:
        with _touched(path):
            yield taken
    finally:
        ended = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - began}
        folder.append(ATTEMPTS_FILE, {name: round(value, 2) for name, value in ended.items()})
        taken.add(ended)


def _earlier(path: Path) -> Taken:
    """The attempts before; one that was killed is given its end first."""
    taken = Taken()
    if not path.exists():
        return taken
    last_sign, rows = path.stat().st_mtime, list(read_jsonl(path, may_be_cut=True))
    if rows and "started" in rows[-1]:
        rows.append({"seconds": round(max(0.0, last_sign - rows[-1]["started"]), 2)})
        write_jsonl(path, rows)
    for row in rows:
        taken.add(row)
    return taken


@contextmanager
def _touched(path: Path) -> Iterator[None]:
    """Renew the time of change of ``path`` from a thread while the block runs."""
    is_over = threading.Event()

    def touch() -> None:
        while not is_over.wait(TOUCH_S):
            with suppress(OSError):  # a folder that was moved away meanwhile
                os.utime(path)

    thread = threading.Thread(target=touch, name="attempt", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
