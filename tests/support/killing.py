"""Command lines in real processes that stop at a chosen moment, so that a test can kill them there.

A fork server imports the heavy packages once; every run after that starts in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from io import BytesIO
from multiprocessing.connection import Connection
from typing import Any

import pytest

Stop = Callable[[], None]
"""Tells the test that the moment has come, and waits to be killed."""
PRELOADED = (
    "rewardlab.cli.main",
    "rewardlab.pipeline.stages",
    "rewardlab.training.ppo",
    "rewardlab.training.reward_model",
    "rewardlab.training.sft",
    "transformers.models.llama.modeling_llama",
)
PATIENCE_S = 120


def run(arguments: Sequence[str], moment: Callable[[pytest.MonkeyPatch, Stop], None] | None = None) -> int | None:
    """Run one ``rewardlab`` command line in a process of its own; its exit code, -9 when it was killed.

    Args:
        arguments: What is typed after ``rewardlab``.
        moment: Patches the process so that it calls its second argument when the moment has come; the process is
            killed (SIGKILL) there. None lets it end by itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(list(arguments), moment, there))
    process.start()
    there.close()
    if moment is not None:
        assert here.poll(PATIENCE_S), "the moment did not come"
        here.recv()
        process.kill()
    process.join(PATIENCE_S)
    return process.exitcode


def run_and_kill_after(arguments: Sequence[str], seconds: float) -> int | None:
    """Run a command line and kill it after so many seconds, wherever it is."""
    process = multiprocessing.get_context("forkserver").Process(target=_child, args=(list(arguments), None, None))
    process.start()
    process.join(seconds)
    process.kill()
    process.join(PATIENCE_S)
    return process.exitcode


def _child(
    arguments: list[str], moment: Callable[[pytest.MonkeyPatch, Stop], None] | None, reached: Connection | None
) -> None:
    from rewardlab.cli.main import run as command_line

    def stop() -> None:
        assert reached is not None
        reached.send("here")
        time.sleep(PATIENCE_S)

    if moment is not None:
        moment(pytest.MonkeyPatch(), stop)
    sys.exit(command_line(arguments))


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
