"""How long a stage took, over all the attempts it needed: an interrupted one counts, a killed one up to its last sign.

``attempts.jsonl`` in the stage's folder has a line when an attempt starts and one with its seconds when it ends,
however it ends. While it runs, ``heartbeat.json`` says every few seconds how long it has been running, so that a kill
loses no more than that. The files' own times say nothing: a copied folder has new ones. Beside the clock's seconds
stands the processor time, which other work on the machine hardly changes.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab import processes
from rewardlab.disk import read_json, read_jsonl, write_json, write_jsonl
from rewardlab.errors import DataError, RunFolderError
from rewardlab.runs import RunFolder

ATTEMPTS_FILE = "attempts.jsonl"
HEARTBEAT_FILE = "heartbeat.json"
NODE = "REWARDLAB_NODE"
"""Environment variable: what the machine is called in ``attempts.jsonl``; default: its own name."""
BEAT_S = 5.0
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
    taken = _earlier(folder.path)
    started = time.time()
    folder.append(ATTEMPTS_FILE, {"started": started, "node": os.environ.get(NODE) or platform.node()})
    start, began = time.perf_counter(), time.process_time()

    def elapsed() -> dict[str, float]:
        took = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - began}
        return {name: round(value, 2) for name, value in took.items()}

    def beat() -> None:
        with suppress(OSError):  # a folder that was moved away meanwhile, or a full disk
            write_json(folder.path / HEARTBEAT_FILE, {"started": started, **elapsed()})

    try:
        with repeating(beat, BEAT_S, "attempt"):
            yield taken
    finally:
        ended = elapsed()
        taken.add(ended)
        with suppress(OSError):  # of a full disk: the sign of life then stays for the next attempt
            folder.append(ATTEMPTS_FILE, ended)
            (folder.path / HEARTBEAT_FILE).unlink()


def nodes(folder: Path) -> list[str]:
    """The machines that worked on a stage, each once, the last one last; empty where that is not known."""
    try:
        rows = list(read_jsonl(folder / ATTEMPTS_FILE, may_be_cut=True))
    except DataError:
        return []
    named = [str(row["node"]) for row in reversed(rows) if row.get("node")]
    return list(dict.fromkeys(named))[::-1]


def _earlier(folder: Path) -> Taken:
    """The attempts before; one that was killed is given its end first.

    Raises:
        RunFolderError: The file of attempts is damaged.
    """
    taken, path = Taken(), folder / ATTEMPTS_FILE
    if not path.exists():
        return taken
    try:
        rows = list(read_jsonl(path, may_be_cut=True))
        if rows and "started" in rows[-1]:
            rows.append(_last_sign(folder / HEARTBEAT_FILE, rows[-1]["started"]))
            write_jsonl(path, rows)
        for row in rows:
            taken.add(row)
    except (DataError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{path}: holds no times of attempts ({error}); remove it, and the times of earlier attempts are not "
            "counted, or start the stage anew with --fresh"
        ) from error
    return taken


def _last_sign(path: Path, started: object) -> dict[str, float]:
    """How long a killed attempt had run; nothing when the sign is another attempt's, or there is none."""
    try:
        sign = read_json(path)
        if sign["started"] == started:
            return {name: float(sign[name]) for name in ("seconds", "processor_seconds")}
    except (DataError, KeyError, TypeError, ValueError):
        pass  # killed before its first sign, or while the disk was full
    return {"seconds": 0.0, "processor_seconds": 0.0}


@contextmanager
def repeating(act: Callable[[], object], seconds: float, name: str) -> Iterator[None]:
    """Call ``act`` every so many seconds from a thread while the block runs; what it raises ends the thread."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(seconds):
            act()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
