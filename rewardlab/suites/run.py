"""Builds the stages of a suite, here or in several processes; one that fails stops none that can do without it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Self

from rewardlab import processes
from rewardlab.errors import InputError, RewardlabError
from rewardlab.pipeline.runner import Runner, Say
from rewardlab.pipeline.stage import Stage
from rewardlab.suites.jobs import THREADS, keeps_budget
from rewardlab.suites.scheduler import Job, Scheduler

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""Seconds until Ctrl-C is noticed at the latest: once polars is imported, a wait for a lock goes on when it comes."""

ENDED = "the suite ended before it began"
"""Why a stage failed that was asked for after the workers were ended."""

GRACE_S = 20.0
"""Seconds a worker has to end by itself; a killed stage loses no more than one that ends."""


def build_here(scheduler: Scheduler, runner: Runner, say: Say = logger.info) -> None:
    """Build all that can be built, one stage after the other; ``say`` is told of failures."""
    for stage in scheduler.done():
        runner.count(stage)
    while (job := scheduler.take()) is not None:
        _finish(scheduler, job, attempt(runner, job.stage, job.head), say)


def attempt(runner: Runner, stage: Stage, head: str) -> str | None:
    """Build one stage; returns None, or the line that says why it failed. A bug's traceback is logged."""
    try:
        runner.build(stage, head)
    except RewardlabError as error:
        return " ".join(str(error).splitlines())
    except Exception as error:
        logger.exception("%s failed", stage.title)
        return " ".join(f"{type(error).__name__}: {error}".splitlines())
    finally:
        processes.return_memory()
    return None


def build_in_workers(scheduler: Scheduler, jobs: int, command: Sequence[str], say: Say = logger.info) -> None:
    """Build all that can be built in ``jobs`` processes; they end when the block is left.

    Each has one thread unless OMP_NUM_THREADS says otherwise.

    Args:
        scheduler: What there is to build.
        jobs: How many stages are built side by side.
        command: Starts one process.
        say: Told of failures.
    Raises:
        InputError: A hosted annotator has a budget, which only one process can keep.
    """
    _check_no_budget(scheduler)
    running: dict[Future[str | None], Job] = {}
    with ThreadPoolExecutor(jobs) as pool, _sigterm_as_interrupt(), Crew(jobs, command) as crew:
        while True:
            while len(running) < jobs and (job := scheduler.take()) is not None:
                running[pool.submit(crew.build, job)] = job
            if not running:
                return
            for future in wait(running, POLL_S, FIRST_COMPLETED).done:
                _finish(scheduler, running.pop(future), future.result(), say)


def _check_no_budget(scheduler: Scheduler) -> None:
    """Each process would spend the budget."""
    for stage in scheduler.missing():
        if keeps_budget(stage):
            raise InputError(
                f"annotate.budget_usd is kept by one process, and {stage.title} would be asked for in one of several; "
                "run the suite with --jobs 1, or its annotations first and the suite without a budget"
            )


def _finish(scheduler: Scheduler, job: Job, error: str | None, say: Say) -> None:
    scheduler.finish(job.stage, error)
    if error is not None:
        say(f"{job.head}: failed, {error}")


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


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Within the block SIGTERM, which would end this process alone, is an interrupt like Ctrl-C."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
