"""A suite: methods x seeds on the same tasks, from the same SFT model, with shared stages built once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewardlab.errors import RewardlabError
from rewardlab.pipeline.runner import Runner
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.suite_cells import Cell, cells, distinct
from rewardlab.pipeline.suite_file import Suite

POLL_S = 0.5
"""Seconds between two looks at the processes of a suite."""


def run_cells(todo: Sequence[Cell], runner: Runner, say: Any) -> list[Path]:
    """Run the cells one after the other and return the folders of their evaluations."""
    folders: list[Path] = []
    for number, cell in enumerate(todo, 1):
        say(f"({number}/{len(todo)}) {cell.title}")
        for goal in cell.goals:
            runner.execute(goal)
        folders += cell.evaluations(runner.root)
    return folders


def run_parallel(file: Path, suite: Suite, runner: Runner, jobs: int, say: Any) -> None:
    """Run the seeds in processes of one thread each; stages that several seeds share are built first, here.

    Raises:
        RewardlabError: A process failed; its output has said why.
    """
    shared = Counter(stage.fingerprint for seed in suite.seeds for stage in _distinct(suite, runner.root, seed))
    for stage in _distinct(suite, runner.root, suite.seeds[0]):
        if shared[stage.fingerprint] > 1:
            runner.execute(stage)
    waiting = list(suite.seeds)
    running: dict[int, subprocess.Popen[bytes]] = {}
    with _ending(running):
        while waiting or running:
            while waiting and len(running) < jobs:
                seed = waiting.pop(0)
                say(f"seed {seed}: started")
                running[seed] = _spawn(file, runner.root, seed)
            seed = _first_done(running)
            _finish(seed, running.pop(seed), say)


def _first_done(running: Mapping[int, subprocess.Popen[bytes]]) -> int:
    """The seed whose process has ended; waits for one."""
    while True:
        for seed, process in running.items():
            if process.poll() is not None:
                return seed
        time.sleep(POLL_S)


@contextmanager
def _ending(running: Mapping[int, subprocess.Popen[bytes]]) -> Iterator[None]:
    """End the processes that still run when the block is left: by an error, by Ctrl-C, or by SIGTERM, which is turned
    into an interrupt here, since it would end this process alone."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _finish(seed: int, process: subprocess.Popen[bytes], say: Any) -> None:
    if process.wait() != 0:
        raise RewardlabError(f"seed {seed} failed with exit code {process.returncode}; its message stands above")
    say(f"seed {seed}: done")


def _spawn(file: Path, root: Path, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rewardlab", "suite", "run", str(file), "--seed", str(seed), "--runs", str(root)]
    return subprocess.Popen([*command, "--no-report"], env={**os.environ, "OMP_NUM_THREADS": "1"})


def _distinct(suite: Suite, root: Path, seed: int) -> list[Stage]:
    """All stages of one seed, each once, inputs first."""
    return distinct(stage for cell in cells(suite, root) if cell.seed == seed for stage in cell.chain())
