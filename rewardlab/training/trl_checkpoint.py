"""Checkpoints of SFT and reward models: transformers' own, with one role in place of the whole model.

transformers writes a checkpoint file by file. A seal with the hash of each file, written last, separates a whole one
from one that was cut or damaged.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewardlab import processes
from rewardlab.disk import full_disk, read_json, write_json
from rewardlab.errors import DataError
from rewardlab.models import Trunk
from rewardlab.models.products import choices

logger = logging.getLogger(__name__)

SEAL = "seal.json"
PRODUCTS = "products.json"
"""Which libraries multiplied until then."""
PREFIX = "checkpoint-"
"""What transformers calls its folders, before the number of steps taken."""


class RoleTrainer:
    """Goes before one of TRL's trainers: saves and loads one role of a trunk, and reports to no tracker.

    Args:
        trunk: The trunk that is trained on.
        role: Its trained role.
        arguments: For TRL's trainer.
    """

    args: Any
    state: Any
    _total_train_tokens: int

    def __init__(self, trunk: Trunk, role: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._trunk = trunk
        self._role = role

    @property
    def is_over(self) -> bool:
        """True when no further step may begin, whatever the number of steps."""
        return False

    def go_on(self, checkpoint: Path) -> None:
        """Take the role, the numbers logged so far and the count of tokens from a checkpoint."""
        from transformers import TrainerState
        from transformers.trainer import TRAINER_STATE_NAME

        self._load_from_checkpoint(str(checkpoint))
        choices.adopt(read_json(checkpoint / PRODUCTS) if (checkpoint / PRODUCTS).exists() else None)
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        logged = [row["num_tokens"] for row in self.state.log_history if "num_tokens" in row]
        self._total_train_tokens = int(logged[-1]) if logged else 0

    def save_model(self, output_dir: str, _internal_call: bool = False) -> None:
        """Store the role; transformers would store the frozen trunk with it."""
        self._trunk.roles.save(self._role, Path(output_dir))

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        """Store a checkpoint; what there is of one that cannot be stored is removed, for it takes room."""
        try:
            super()._save_checkpoint(*arguments, **named)  # type: ignore[misc]  # of the trainer that this goes before
            if processes.is_main():
                folder = Path(self.args.output_dir) / f"{PREFIX}{self.state.global_step}"
                write_json(folder / PRODUCTS, choices.state())
        except BaseException as error:
            full = full_disk(Path(self.args.output_dir))  # before the room is free again
            if processes.is_main():
                shutil.rmtree(Path(self.args.output_dir) / f"{PREFIX}{self.state.global_step}", ignore_errors=True)
            if full is not None and isinstance(error, Exception):
                raise full from error
            raise

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._trunk.roles.reload(self._role, Path(resume_from_checkpoint))

    def create_model_card(self, *arguments: Any, **named: Any) -> None:
        """Nothing is published."""

    def _send_telemetry(self) -> None:
        return


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; those that are not whole are named in a warning. None when there is none."""
    for path in reversed(by_step(folder)):
        problem = _problem(path)
        if problem is None:
            return path
        logger.warning("checkpoint %s cannot be used (%s); trying the one before it", path, problem)
    return None


def steps_before(checkpoint: Path | None) -> int:
    """Optimiser steps that were taken before a checkpoint; 0 without one."""
    return 0 if checkpoint is None else int(checkpoint.name.removeprefix(PREFIX))


def by_step(folder: Path) -> list[Path]:
    """All checkpoints in a folder, whole or not, the oldest first."""
    return sorted((path for path in folder.glob(f"{PREFIX}*") if path.is_dir()), key=steps_before)


def _problem(path: Path) -> str | None:
    if not (path / SEAL).exists():
        return "it was not written to its end"
    try:
        sealed = read_json(path / SEAL)
    except DataError as error:
        return str(error)
    found = dict(hashes(path))
    wrong = sorted(name for name, digest in sealed.items() if found.get(name) != digest)
    return f"{', '.join(wrong)} changed or missing" if wrong else None


def hashes(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of each file in a checkpoint, but for its seal."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != SEAL:
            with path.open("rb") as file:
                yield path.name, hashlib.file_digest(file, "sha256").hexdigest()
