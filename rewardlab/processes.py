"""The processes of one run, as ``accelerate launch`` or ``torchrun`` starts them: who this is, and what they exchange.

Each process holds the whole model and works on its share; what all of them need is collected. Only the main process
writes. A run of one process never touches torch.distributed, and nothing here imports torch before it is needed.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from rewardlab.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: the main one may annotate for hours. A process that ends is noticed at
once, by the launcher or by the broken connection."""


def wait_passively() -> None:
    """Threads that wait for each other sleep, unless the environment says otherwise; call it before torch is imported.

    By default they spin: where other programs use the processors too, each waits for a thread that has none, and a
    step takes forty times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # GNU's OpenMP, which torch's wheels for Linux bring
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # Intel's and LLVM's


def return_memory() -> None:
    """Give the system back what is free: glibc keeps it for this process, and the next stage needs other sizes."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


_IS_ALONE = ContextVar("is_alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Within the block this process is the only one: for work that the others do not take part in."""
    mark = _IS_ALONE.set(True)
    try:
        yield
    finally:
        _IS_ALONE.reset(mark)


def count() -> int:
    """Number of processes."""
    return 1 if _IS_ALONE.get() else int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, from 0."""
    return 0 if _IS_ALONE.get() else int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """True in the one process that writes and talks."""
    return rank() == 0


def is_sharded() -> bool:
    """True when the launcher asks for FSDP or DeepSpeed, which cut weights or optimiser into pieces."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))


def whole(tensor: Tensor) -> Tensor:
    """A tensor that FSDP keeps in pieces, put together; all processes call this. Others are returned as they are."""
    together: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return together


def share(items: Sequence[T]) -> Sequence[T]:
    """What this process works on: every ``count()``-th item, from its rank on.

    >>> share("abc")  # one process
    'abc'
    """
    return items[rank() :: count()]


def share_groups(items: Sequence[T], size: int) -> list[T]:
    """As :func:`share`, of groups of ``size`` items that stay together.

    >>> share_groups("aabb", 2)  # one process
    ['a', 'a', 'b', 'b']
    """
    firsts = share(range(0, len(items), size))
    return [item for first in firsts for item in items[first : first + size]]


def collect_groups(part: Sequence[T], total: int, size: int) -> list[T]:
    """Undo :func:`share_groups`: the results of all processes in the order of the ``total`` items."""
    groups = [part[first : first + size] for first in range(0, len(part), size)]
    return [item for group in collect(groups, -(-total // size)) for item in group]


def collect(part: Sequence[T], total: int) -> list[T]:
    """Undo :func:`share`: the results of all processes in the order of the ``total`` items that were dealt."""
    whole: list[Any] = [None] * total
    for first, found in enumerate(gather(list(part))):
        whole[first :: count()] = found
    return whole


def gather(item: T) -> list[T]:
    """One item of each process, by rank, known to all of them; picklable, its tensors on the CPU."""
    if count() == 1:
        return [item]
    import torch

    items: list[Any] = [None] * count()
    with _together():
        torch.distributed.all_gather_object(items, item, group=_group())
    return items


def wait() -> None:
    """Go on when all processes have come here."""
    gather(None)


def label() -> str:
    """Begins this process's messages; empty when it is the only one."""
    return f"process {rank()} of {count()}: " if count() > 1 else ""


def leave() -> None:
    """End the exchange in good order; for a run that has come to its end in all processes."""
    if count() > 1 and _group.cache_info().currsize:
        import torch

        torch.distributed.destroy_process_group()
        _group.cache_clear()


def add_gradients(parameters: Sequence[Parameter], *, scale: float = 1.0) -> None:
    """Replace gradients by ``scale`` times their sum over all processes; one that has no gradient adds nothing."""
    if count() == 1:
        return
    import torch

    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    with _together():
        torch.distributed.all_reduce(flat, group=_group() if flat.device.type == "cpu" else None)
    for parameter, total in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = scale * total.view_as(parameter)


@functools.cache
def _group() -> Any:
    """The group in which objects travel: gloo, also where gradients travel by NCCL."""
    import torch
    from accelerate import PartialState

    if not torch.distributed.is_initialized():
        PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)


@contextmanager
def _together() -> Iterator[None]:
    """Turn a broken connection into a message."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise TrainingError(
            f"process {rank()} of {count()} lost the others ({reason}); the message of the one that failed says why"
        ) from error
