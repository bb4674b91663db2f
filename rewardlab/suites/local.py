"""Stages of a suite in several processes of this machine, which end with it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import Self

from rewardlab.pipeline.stage import Stage
from rewardlab.suites.jobs import THREADS
from rewardlab.suites.run import Ended, sigterm_as_interrupt
from rewardlab.suites.scheduler import Job

POLL_S = 0.5
"""Seconds until Ctrl-C is noticed at the latest: once polars is imported, a wait for a lock goes on when it comes."""

ENDED = "the suite ended before it began"
"""Why a stage failed that was asked for after the workers were ended."""

GRACE_S = 20.0
"""Seconds a worker has to end by itself; a killed stage loses no more than one that ends."""


class Workers:
    """Processes of this machine, each with one thread unless OMP_NUM_THREADS says otherwise.

    Args:
        jobs: How many stages are built side by side.
        command: Starts one process.
    """

    is_one_process = False

    def __init__(self, jobs: int, command: Sequence[str]) -> None:
        self._jobs, self._command = jobs, command
        self._running: dict[Future[str | None], Job] = {}

    def __enter__(self) -> Self:
        with ExitStack() as opened:  # left in the opposite order: processes end, then the threads that wait for them
            self._pool = opened.enter_context(ThreadPoolExecutor(self._jobs))
            opened.enter_context(sigterm_as_interrupt())
            self._crew = opened.enter_context(Crew(self._jobs, self._command))
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def has_room(self, stage: Stage) -> bool:
        """Whether a process is free."""
        return len(self._running) < self._jobs

    def start(self, job: Job) -> None:
        """Have a free process build it."""
        self._running[self._pool.submit(self._crew.build, job)] = job

    def wait(self) -> Sequence[Ended]:
        """Those that ended within a moment."""
        done = wait(self._running, POLL_S, FIRST_COMPLETED).done
        return [(self._running.pop(future), future.result()) for future in done]


class Crew:
    """As many workers as there are jobs, each started when it is needed; one that is gone is replaced.

    Args:
        size: How many.
        command: Starts one.
    """

    def __init__(self, size: int, command: Sequence[str]) -> None:
        self._command = list(command)
        self._idle: SimpleQueue[Worker | None] = SimpleQueue()
        self._all: list[Worker] = []
        self._hiring = threading.Lock()
        self._is_closed = False
        for _ in range(size):
            self._idle.put(None)

    def build(self, job: Job) -> str | None:
        """Have a free worker build a stage; returns None, or the line that says why it failed."""
        worker = self._idle.get() or self._hire()
        if worker is None:
            return ENDED
        try:
            error = worker.build(job)
        except BrokenPipeError:
            self._idle.put(None)
            return f"its process ended with exit code {worker.end()}"
        self._idle.put(worker)
        return error

    def _hire(self) -> Worker | None:
        """A new worker; None when all were ended, since this one would not be ended."""
        with self._hiring:
            if self._is_closed:
                return None
            worker = Worker(self._command)
            self._all.append(worker)
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._hiring:
            self._is_closed = True
        for worker in self._all:
            worker.end()


class Worker:
    """A process that builds one stage at a time, as it is told; it ends when this process does, however that ends.

    Args:
        command: What it runs; reads a line of JSON a stage, and answers with one.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={THREADS: "1", **os.environ},
        )
        self._talking = threading.Lock()

    def build(self, job: Job) -> str | None:
        """Have a stage built; returns None, or why it failed. BrokenPipeError when the process is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._talking:
            self._process.stdin.write(json.dumps({"stage": job.stage.fingerprint, "head": job.head}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise BrokenPipeError
        error: str | None = json.loads(answer)["error"]
        return error

    def end(self) -> int:
        """End the process, also in the middle of a stage; returns its exit code."""
        self._process.terminate()
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        with self._talking:  # whoever reads sees the end first
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]  # both are pipes
        return code
