"""Checkpoints of PPO: everything the next step depends on, written whole, the newest two kept.

Sampling and batch order are functions of (seed, step), so adapters, heads, optimisers, schedulers and the running
score scale are all there is.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import torch

from rewardlab.rewards.ledger import LEDGER_FILE
from rewardlab.runs import read_jsonl, write_jsonl
from rewardlab.training.rollout import POLICY, VALUE

if TYPE_CHECKING:
    from rewardlab.training.ppo import PPOTrainer

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
KEPT = 2


def save(trainer: PPOTrainer, next_step: int) -> None:
    """Store the state before step ``next_step``; appears whole or not at all."""
    folder = trainer.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"part-{os.getpid()}"
    torch.save({"next_step": next_step, **_state(trainer)}, part)
    os.replace(part, folder / f"step-{next_step:06d}.pt")
    for old in _stored(folder)[:-KEPT]:
        old.unlink()


def restore(trainer: PPOTrainer) -> int:
    """Load the newest readable checkpoint; returns the step to go on with, 0 when there is none."""
    for path in reversed(_stored(trainer.folder / FOLDER)):
        try:
            state = _read(path)
        except (OSError, BadZipFile) as error:
            logger.warning("checkpoint %s cannot be read (%s); trying the one before it", path, error)
            continue
        _apply(trainer, state)
        _rewind(trainer.folder, int(state["next_step"]))
        return int(state["next_step"])
    _rewind(trainer.folder, 0)
    return 0


def remove(folder: Path) -> None:
    """Delete a finished run's checkpoints; its adapter is stored."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    """The stored state; raises BadZipFile where torch would load damaged numbers without a word."""
    with ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise BadZipFile(f"{damaged} does not have its checksum")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"))


def _state(trainer: PPOTrainer) -> dict[str, Any]:
    roles = trainer.trunk.roles
    return {
        "adapters": {name: roles.state(name) for name in (POLICY, VALUE) if name in roles},
        "heads": {name: head.state_dict() for name, head in _heads(trainer).items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in trainer.optimizers.items()},
        "schedulers": {name: scheduler.state_dict() for name, scheduler in trainer.schedulers.items()},
        "scale": trainer.scale.state(),
        "torch_rng": torch.get_rng_state(),
    }


def _apply(trainer: PPOTrainer, state: dict[str, Any]) -> None:
    for name, adapter in state["adapters"].items():
        trainer.trunk.roles.restore(name, adapter)
    for name, head in _heads(trainer).items():
        head.load_state_dict(state["heads"][name])
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    for name, scheduler in trainer.schedulers.items():
        scheduler.load_state_dict(state["schedulers"][name])
    trainer.scale.restore(state["scale"])
    torch.set_rng_state(state["torch_rng"])


def _heads(trainer: PPOTrainer) -> dict[str, torch.nn.Module]:
    if trainer.actor.value_head is not None:
        return {VALUE: trainer.actor.value_head}
    head = trainer.trunk.roles[VALUE].head
    return {} if head is None else {VALUE: head}


def _rewind(folder: Path, done: int) -> None:
    """Drop the ledger's rows of steps that will be repeated; the recorder does the same with its metrics."""
    path = folder / LEDGER_FILE
    if path.exists():
        write_jsonl(path, [row for row in read_jsonl(path) if row["step"] <= done])
