"""Command lines in real processes: one that stops at a chosen moment, to be killed there, or several together.

A fork server imports the heavy packages once; every run after that starts in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from rewardlab.errors import TrainingError
from rewardlab.types import Example

Stop = Callable[[], None]
"""Tells the test that the moment has come, and waits to be killed."""
PRELOADED = (
    "rewardlab.cli.main",
    "rewardlab.pipeline.stages",
    "rewardlab.training.loop",
    "rewardlab.training.reward_model",
    "rewardlab.training.sft",
    "transformers.models.llama.modeling_llama",
)
Moment = Callable[[pytest.MonkeyPatch, Stop], None]
PATIENCE_S = 900


def run(arguments: Sequence[str], moment: Moment | None = None) -> int | None:
    """Run one ``rewardlab`` command line in a process of its own; its exit code, -9 when it was killed.

    Args:
        arguments: What is typed after ``rewardlab``.
        moment: Patches the process so that it calls its second argument when the moment has come; the process is
            killed (SIGKILL) there. None lets it end by itself.
    """
    here, there = _context().Pipe()
    process = _start(_child, list(arguments), moment, there)
    there.close()
    if moment is not None:
        assert here.poll(PATIENCE_S), "the moment did not come"
        here.recv()
        process.kill()
    process.join(PATIENCE_S)
    return process.exitcode


def run_and_kill_after(arguments: Sequence[str], seconds: float) -> int | None:
    """Run a command line and kill it after so many seconds, wherever it is."""
    process = _start(_child, list(arguments), None, None)
    process.join(seconds)
    process.kill()
    process.join(PATIENCE_S)
    return process.exitcode


@dataclass(frozen=True)
class Ended:
    """How one of several processes ended, and what it said on standard error."""

    code: int | None
    said: str


def run_together(arguments: Sequence[str], count: int, folder: Path) -> list[Ended]:
    """Run one command line in ``count`` processes that know of each other, as a launcher starts them.

    Args:
        arguments: What is typed after ``rewardlab``.
        count: Number of processes.
        folder: Where what they say is kept.
    """
    return call_together(_child, count, folder, list(arguments), None, None)


def call_together(function: Callable[..., None], count: int, folder: Path, *arguments: Any) -> list[Ended]:
    """The same for a function of a module."""
    port = _free_port()
    places = [folder / f"said-{port}-{rank}" for rank in range(count)]
    whom = [{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port} for rank in range(count)]
    running = [_start(_member, *one, function, *arguments) for one in zip(whom, places, strict=True)]
    for process in running:
        process.join(PATIENCE_S)
    hanging = [rank for rank, process in enumerate(running) if process.is_alive()]
    for rank in hanging:
        running[rank].kill()
    assert not hanging, f"processes {hanging} hang; they said {[places[rank].read_text() for rank in hanging]}"
    return [Ended(process.exitcode, place.read_text()) for process, place in zip(running, places, strict=True)]


def letters(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """A reward that differs from response to response."""
    return [sum(character.isalpha() for character in text) - 0.5 * len(text) for text in responses]


def shortness(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """A reward of which most responses have a value of their own."""
    return [-len(text) + 0.01 * sum(map(ord, text)) for text in responses]


def failing(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """The same, raising in process 1 when it is asked for the second time."""
    CALLS.append(1)
    if os.environ.get("RANK") == "1" and len(CALLS) == 2:
        raise TrainingError("the reward of process 1 is broken")
    return letters(examples, responses)


CALLS: list[int] = []


def drawing(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """The same with noise from torch's generator, of which process 1 has used up more than process 0."""
    import torch

    torch.rand(int(os.environ.get("RANK", "0")))
    return [score + float(torch.rand(())) for score in letters(examples, responses)]


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _start(target: Callable[..., None], *arguments: Any) -> Any:
    process = _context().Process(target=target, args=arguments)
    process.start()
    return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _child(arguments: list[str], moment: Moment | None, reached: Connection | None) -> None:
    from rewardlab.cli.main import run as command_line

    def stop() -> None:
        assert reached is not None
        reached.send("here")
        time.sleep(PATIENCE_S)

    if moment is not None:
        moment(pytest.MonkeyPatch(), stop)
    sys.exit(command_line(arguments))


def stopped(arguments: list[str], moment: Moment) -> None:
    """Run a command line that fails where ``moment`` stops it; for :func:`call_together`."""
    from rewardlab.cli.main import run as command_line

    def stop() -> None:
        raise TrainingError("stopped here")

    moment(pytest.MonkeyPatch(), stop)
    sys.exit(command_line(arguments))


def _member(place_in_run: Mapping[str, int], said: Path, function: Callable[..., None], *arguments: Any) -> None:
    os.environ.update({"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place_in_run.items()}})
    with said.open("w", buffering=1) as file:
        sys.stderr = file
        try:
            function(*arguments)
        except Exception:  # while the file is open; multiprocessing would print it when it is not
            traceback.print_exc()
            sys.exit(1)


class Before:
    """Stops before the ``call``-th call, counted from 1, of an attribute such as ``"torch.optim.AdamW.step"``."""

    def __init__(self, target: str, call: int) -> None:
        self.target, self.call = target, call

    def __call__(self, patch: pytest.MonkeyPatch, stop: Stop) -> None:
        """Put a counting function in the attribute's place."""
        from pkgutil import resolve_name

        original, calls = resolve_name(self.target), []

        def counting(*arguments: Any, **named: Any) -> Any:
            calls.append(1)
            if len(calls) == self.call:
                stop()
            return original(*arguments, **named)

        patch.setattr(self.target, counting)


class HalfACheckpoint:
    """Stops when half of the ``call``-th file that ``torch.save`` writes is on the disk."""

    def __init__(self, call: int) -> None:
        self.call = call

    def __call__(self, patch: pytest.MonkeyPatch, stop: Stop) -> None:
        """Put a slower ``torch.save`` in its place."""
        import torch

        original, calls = torch.save, []

        def half(state: Any, file: Any, *arguments: Any, **named: Any) -> None:
            calls.append(1)
            if len(calls) != self.call:
                return original(state, file, *arguments, **named)
            whole = BytesIO()
            original(state, whole)
            with open(file, "wb") if isinstance(file, str) else nullcontext(file) as opened:
                opened.write(whole.getvalue()[: len(whole.getvalue()) // 2])
                opened.flush()
            return stop()

        patch.setattr(torch, "save", half)


class HalfALine:
    """Stops when half of the ``call``-th line of a JSON Lines file in the run folder is on the disk."""

    def __init__(self, file: str, call: int) -> None:
        self.file, self.call = file, call

    def __call__(self, patch: pytest.MonkeyPatch, stop: Stop) -> None:
        """Put a slower ``RunFolder.append`` in its place."""
        from rewardlab.runs import RunFolder

        original, calls = RunFolder.append, []

        def append(folder: RunFolder, name: str, row: Mapping[str, Any]) -> None:
            calls.extend([1] if name == self.file else [])
            if name != self.file or len(calls) != self.call:
                return original(folder, name, row)
            with (folder.path / name).open("a") as file:
                file.write('{"step": 3, "half')
            return stop()

        patch.setattr(RunFolder, "append", append)
