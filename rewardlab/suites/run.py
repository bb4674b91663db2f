"""Builds the stages of a suite wherever there is room for them; one that fails stops none that can do without it.

Where that is stands behind one interface, :class:`Places`: this process (here), processes of this machine
(``local.py``), nodes of a Ray cluster (``on_ray.py``), or a simulated cluster (``experiments/simulations``).
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rewardlab import processes
from rewardlab.errors import InputError, RewardlabError
from rewardlab.pipeline.runner import Runner, Say
from rewardlab.pipeline.stage import Stage
from rewardlab.suites.jobs import keeps_budget
from rewardlab.suites.scheduler import Job, Scheduler

logger = logging.getLogger(__name__)

Ended = tuple[Job, str | None]
"""A job that ended: None when its stage is finished, or the line that says why it failed."""


class Places(Protocol):
    """Where stages can be built, entered before the first one; what is still being built when it is left is stopped.

    Attributes:
        is_one_process: One process builds everything, so that it can keep a budget.
    """

    is_one_process: bool

    def has_room(self, stage: Stage) -> bool:
        """Whether the stage could be started now."""

    def start(self, job: Job) -> None:
        """Begin to build a stage for which there is room."""

    def wait(self) -> Sequence[Ended]:
        """The jobs that ended since the last call; waits for one, but may give up after a moment."""

    def __enter__(self) -> Self:
        """Make the places ready."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what is still being built."""


def build(scheduler: Scheduler, places: Places, say: Say = logger.info) -> None:
    """Build all that can be built.

    Args:
        scheduler: What there is to build, and in which order.
        places: Where.
        say: Told of failures.
    Raises:
        InputError: A hosted annotator has a budget, which only one process can keep.
    """
    if not places.is_one_process:
        _check_no_budget(scheduler)
    running = 0
    with places:
        while True:
            while (job := scheduler.take(places.has_room)) is not None:
                places.start(job)
                running += 1
            if not running:
                return
            for ended, error in places.wait():
                running -= 1
                scheduler.finish(ended.stage, error)
                if error is not None:
                    say(f"{ended.head}: failed, {error}")


class Here:
    """This process, one stage after the other.

    Args:
        runner: Builds them.
        found: Stages that were finished before, whose cost counts towards a budget.
    """

    is_one_process = True

    def __init__(self, runner: Runner, found: Sequence[Stage] = ()) -> None:
        self._runner, self._found = runner, found
        self._ended: list[Ended] = []

    def has_room(self, stage: Stage) -> bool:
        """Until one is built."""
        return not self._ended

    def start(self, job: Job) -> None:
        """Build it."""
        self._ended.append((job, attempt(self._runner, job.stage, job.head)))

    def wait(self) -> Sequence[Ended]:
        """The one that was built."""
        ended, self._ended = self._ended, []
        return ended

    def __enter__(self) -> Self:
        for stage in self._found:
            self._runner.count(stage)
        return self

    def __exit__(self, *error: object) -> None:
        pass


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


def _check_no_budget(scheduler: Scheduler) -> None:
    """Each process would spend the budget."""
    for stage in scheduler.missing():
        if keeps_budget(stage):
            raise InputError(
                f"annotate.budget_usd is kept by one process, and {stage.title} would be asked for in one of several; "
                "run the suite with --jobs 1, or its annotations first and the suite without a budget"
            )


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Within the block SIGTERM, which would end this process alone, is an interrupt like Ctrl-C."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
