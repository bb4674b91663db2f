"""Checkpoints of PPO: everything the next step depends on, written whole, the newest few kept.

Sampling, the order of prompts and minibatches are functions of (seed, step), so the number of the next step is the
cursor into the data. The states of Python's, NumPy's and torch's generators are there for rewards that draw numbers.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import torch

from rewardlab import processes
from rewardlab.config import STORING, fingerprint
from rewardlab.errors import RunFolderError
from rewardlab.models.names import CHAT_SETTINGS
from rewardlab.rewards.ledger import LEDGER_FILE
from rewardlab.runs import CHECKPOINTS, differing_keys
from rewardlab.training import random_state
from rewardlab.training.rollout import POLICY, VALUE

if TYPE_CHECKING:
    from rewardlab.training.ppo import PPOTrainer

logger = logging.getLogger(__name__)

UNREADABLE = (OSError, BadZipFile, zlib.error, EOFError, UnpicklingError, RuntimeError, ValueError, KeyError)
"""What zipfile and torch raise on damaged files, by the place of the damage."""


def save(trainer: PPOTrainer, next_step: int) -> None:
    """Store the state before step ``next_step``; appears whole or not at all.

    Every process calls this, for each has generators of its own; the main one writes.
    """
    state = {"next_step": next_step, **_state(trainer)}
    if processes.is_main():
        _write(trainer, state)


def _write(trainer: PPOTrainer, state: Mapping[str, Any]) -> None:
    folder = trainer.folder / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "unfinished"
    try:
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / f"step-{state['next_step']:06d}.pt")
    finally:
        part.unlink(missing_ok=True)  # of a full disk it would take the room
    for old in _stored(folder)[: -trainer.run_config.keep_checkpoints]:
        old.unlink()


def restore(trainer: PPOTrainer) -> int:
    """Load the newest readable checkpoint; returns the step to go on with, 0 when there is none.

    Raises:
        RunFolderError: The checkpoint was made under another configuration; the message lists the keys.
    """
    ledger = trainer.folder / LEDGER_FILE
    for path in reversed(_stored(trainer.folder / CHECKPOINTS)):
        try:
            state = _read(path, ledger)
        except UNREADABLE as error:
            logger.warning("checkpoint %s cannot be used (%s); trying the one before it", path, error)
            continue
        _check_identity(path, state["identity"], _identity(trainer))
        _apply(trainer, state)
        _cut(ledger, state["ledger_bytes"])
        return int(state["next_step"])
    _cut(ledger, 0)
    return 0


def _read(path: Path, ledger: Path) -> dict[str, Any]:
    """The stored state; raises BadZipFile where torch would load damaged numbers without a word."""
    with ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise BadZipFile(f"{damaged} does not have its checksum")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if _size(ledger) < state["ledger_bytes"]:
        raise ValueError(f"{ledger.name} has {_size(ledger)} bytes, fewer than the {state['ledger_bytes']} it had")
    return state


def _stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"))


def _state(trainer: PPOTrainer) -> dict[str, Any]:
    roles = trainer.trunk.roles
    return {
        "identity": _identity(trainer),
        "adapters": {name: roles.state(name) for name in (POLICY, VALUE) if name in roles},
        "heads": {name: head.state_dict() for name, head in _heads(trainer).items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in trainer.learner.optimizers.items()},
        "schedulers": {name: scheduler.state_dict() for name, scheduler in trainer.learner.schedulers.items()},
        "scale": trainer.scale.state(),
        "kl": trainer.kl.state(),
        "budget": trainer.budget.state(),
        "validation": trainer.validation.state(),
        "watch": trainer.watch.state(),
        "random": processes.gather(random_state.capture()),
        "ledger_bytes": _size(trainer.folder / LEDGER_FILE),
    }


def _apply(trainer: PPOTrainer, state: Mapping[str, Any]) -> None:
    for name, adapter in state["adapters"].items():
        trainer.trunk.roles.restore(name, adapter)
    for name, head in _heads(trainer).items():
        head.load_state_dict(state["heads"][name])
    for name, optimizer in trainer.learner.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    for name, scheduler in trainer.learner.schedulers.items():
        scheduler.load_state_dict(state["schedulers"][name])
    trainer.scale.restore(state["scale"])
    trainer.kl.restore(state["kl"])
    trainer.budget.restore(state["budget"])
    trainer.validation.restore(state["validation"])
    trainer.watch.restore(state.get("watch", {}))  # older checkpoints have none
    random_state.restore(state["random"][processes.rank() % len(state["random"])])


def _identity(trainer: PPOTrainer) -> dict[str, Any]:
    """What the steps depend on beside the state; keys as the configuration names them, the model by its weights."""
    config = trainer.run_config
    kept = config.model_dump(mode="json", include={"seed", "format", "lora", "reward", "ppo"})
    kept["ppo"] = {key: value for key, value in kept["ppo"].items() if key not in STORING}
    model = config.model.model_dump(mode="json", include={"max_prompt_tokens", "max_new_tokens", *CHAT_SETTINGS})
    rows = {"prompts": trainer.examples, "validation": trainer.validation.examples}
    read = {name: fingerprint([[row.task, row.id] for row in found]) for name, found in rows.items()}
    return {**kept, **read, "model": model, "trunk": trainer.trunk_sha256}


def _check_identity(path: Path, stored: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    differing = ", ".join(sorted(differing_keys(stored, mine)))
    if differing:
        raise RunFolderError(
            f"{path}: was made under another configuration (differs in {differing}); go on with the old one, or start "
            f"anew with --fresh or another --out"
        )


def _heads(trainer: PPOTrainer) -> dict[str, torch.nn.Module]:
    if trainer.actor.value_head is not None:
        return {VALUE: trainer.actor.value_head}
    head = trainer.trunk.roles[VALUE].head
    return {} if head is None else {VALUE: head}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cut(ledger: Path, position: int) -> None:
    """Drop the ledger's rows of steps that will be repeated; the recorder does the same with its metrics."""
    if processes.is_main() and ledger.exists():
        os.truncate(ledger, position)
