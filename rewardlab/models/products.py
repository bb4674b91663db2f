"""Which library multiplies by a frozen float32 weight on a CPU: oneDNN or torch's own (MKL on most machines).

Neither is always the faster one: it depends on the processor, the number of rows and the shape. So each kind of product
is timed both ways when it first occurs. The results differ in their last bits, so a choice is made once for a
machine and stays: it lies in the cache, where other processes find it, and in every checkpoint.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab.disk import is_read_only, read_json, write_json
from rewardlab.errors import ConfigError, DataError
from rewardlab.models.names import cache_folder, processor

logger = logging.getLogger(__name__)

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Kind = tuple[int, int, int, int, bool]
"""Threads, binary digits of the number of rows, O, I, whether the weight is a transposed view."""

SWITCH = "REWARDLAB_PRODUCTS"
"""Environment variable: ``measured``, or the name of the one library to use."""
HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")
MOST_DIGITS = 12
"""From 2 048 rows on all numbers of rows are one kind."""
ROUNDS, ENOUGH_S = 6, 0.3
"""Timings of each library: this many, two after this many seconds."""
GAIN = 0.9
"""torch's own product is taken where it needs less than this share of oneDNN's time; less is noise."""
PATIENCE_S = 60.0
"""How long another process may hold the file of choices."""


def _onednn(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return product


LIBRARIES: Mapping[str, Product] = {"onednn": _onednn, "torch": nn.functional.linear}


def multiply(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b without a gradient: (..., I) and (O, I) -> (..., O)."""
    if not HAS_ONEDNN or input.dtype != torch.float32 or input.device.type != "cpu":
        return nn.functional.linear(input, weight, bias)
    return LIBRARIES[choices.library(input, weight, bias)](input, weight, bias)


class Choices:
    """The library for each kind of product, on this machine."""

    def __init__(self) -> None:
        self._fixed: str | None = None
        self._is_set = False
        self._used: dict[Kind, str] = {}
        self._known: dict[str, str] = {}

    def library(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> str:
        """Name of the library for a product of this kind, which is timed where it is new to the machine.

        Raises:
            ConfigError: The environment asks for a library that is none.
        """
        if self.fixed is not None:
            return self.fixed
        digits = min(MOST_DIGITS, (input.numel() // max(1, input.shape[-1])).bit_length())
        kind = (torch.get_num_threads(), digits, *weight.shape, not weight.is_contiguous())
        name = self._used.get(kind)
        if name is None:
            name = self._used[kind] = self._chosen(_text(kind), input, weight, bias) if digits else "onednn"
        return name

    @property
    def fixed(self) -> str | None:
        """The one library that the environment asks for; None where products are timed."""
        if not self._is_set:
            name = os.environ.get(SWITCH, "measured")
            if name not in ("measured", *LIBRARIES):
                raise ConfigError(f"{SWITCH}={name!r}: expected measured, {' or '.join(LIBRARIES)}")
            self._fixed, self._is_set = None if name == "measured" else name, True
        return self._fixed

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the machine, and what this process has chosen on it."""
        return {"machine": machine(), "libraries": self.fixed or dict(self._known)}

    def adopt(self, state: Mapping[str, Any] | None) -> None:
        """Go on with the choices of a checkpoint, or say in the log that numbers will differ in their last bits."""
        here = self.state()
        if state is None:
            logger.info("the checkpoint does not say which libraries multiplied; %s", _ENDS)
        elif state["machine"] != here["machine"]:
            logger.warning("the checkpoint was made on %s, this is %s; %s", state["machine"], here["machine"], _ENDS)
        elif isinstance(state["libraries"], str) or self.fixed is not None:
            if state["libraries"] != self.fixed:
                logger.warning("the checkpoint was made under another %s; %s", SWITCH, _ENDS)
        else:
            self._known |= state["libraries"]
            self._used.clear()
            with _shared() as stored:
                stored |= state["libraries"]

    def _chosen(self, kind: str, input: Tensor, weight: Tensor, bias: Tensor | None) -> str:
        """What was chosen on this machine before, else what is faster now."""
        if kind not in self._known:
            with _shared() as stored:
                if kind not in stored:
                    seconds = _seconds(input, weight, bias)
                    stored[kind] = "torch" if seconds["torch"] < GAIN * seconds["onednn"] else "onednn"
                    spent = ", ".join(f"{name} {1000 * each:.3g} ms" for name, each in seconds.items())
                    logger.info("products of %s: %s (%s)", kind, stored[kind], spent)
                self._known[kind] = stored[kind]
        return self._known[kind]


_ENDS = "its numbers go on equal up to rounding, no longer bit by bit"
choices = Choices()
"""Of this process."""


@cache
def machine() -> str:
    """What, beside the kind of product, decides which library is faster and what its last bits are."""
    found = processor()
    name = found.get("model name") or platform.processor() or platform.machine()
    family = f" family {found['cpu family']} model {found['model']}" if {"cpu family", "model"} <= found.keys() else ""
    return f"{name}{family}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


@torch.no_grad()
def _seconds(input: Tensor, weight: Tensor, bias: Tensor | None) -> dict[str, float]:
    """Least seconds of a product by each library; in turn, so that other load on the machine meets both."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    least, begun = dict.fromkeys(LIBRARIES, float("inf")), time.perf_counter()
    for turn in range(ROUNDS):
        for name, product in LIBRARIES.items():
            start = clock()
            product(input, weight, bias)
            least[name] = min(least[name], clock() - start)
        if turn and time.perf_counter() - begun > ENOUGH_S:
            break
    return least


@contextmanager
def _shared() -> Iterator[dict[str, str]]:
    """The choices of all processes on this machine, held while a new one is made; stored when they were changed.

    Where the cache cannot be written or locked, or in a dry run, a process has what it finds and chooses for itself.
    """
    from filelock import FileLock, Timeout

    file = cache_folder() / "products" / f"{hashlib.sha256(machine().encode()).hexdigest()[:16]}.json"
    lock = None
    if not is_read_only():
        with suppress(OSError, Timeout):
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file.with_suffix(".lock")).acquire(timeout=PATIENCE_S)
    try:
        found = _stored(file)
        stored = dict(found)
        yield stored
        if lock is not None and stored != found:
            with suppress(OSError):
                write_json(file, {"machine": machine(), "libraries": stored})
    finally:
        if lock is not None:
            lock.lock.release()


def _stored(file: Path) -> dict[str, str]:
    """Choices in a file; none where it is missing or damaged."""
    with suppress(DataError, KeyError, TypeError, AttributeError):
        return {kind: name for kind, name in read_json(file)["libraries"].items() if name in LIBRARIES}
    return {}


def _text(kind: Kind) -> str:
    threads, digits, out, into, is_transposed = kind
    return f"{2 ** (digits - 1)} rows, {into} to {out}{' transposed' if is_transposed else ''}, threads: {threads}"
