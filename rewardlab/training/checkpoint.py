"""Checkpoints of a run: everything the next step depends on, written whole, the newest few kept.

A checkpoint has the identity that it belongs to, the length of the ledger and which libraries multiplied until then;
its state is opaque to this module.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from rewardlab import processes
from rewardlab.errors import RunFolderError
from rewardlab.models.products import choices
from rewardlab.runs import differing_keys

logger = logging.getLogger(__name__)

UNREADABLE = (OSError, BadZipFile, zlib.error, EOFError, UnpicklingError, RuntimeError, ValueError, KeyError)
"""What zipfile and torch raise on damaged files, by the place of the damage."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they lie.
        keep: How many of them are kept, the newest.
        ledger: A file that grows with each step; rows of steps that will be repeated are cut off.
    """

    def __init__(self, folder: Path, keep: int, ledger: Path) -> None:
        self._folder, self._keep, self._ledger = folder, keep, ledger

    def save(self, next_step: int, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Store the state before step ``next_step``; appears whole or not at all. The main process writes."""
        if not processes.is_main():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / "unfinished"
        stored = {"next_step": next_step, "identity": identity, "ledger_bytes": _size(self._ledger), "state": state}
        stored["products"] = choices.state()
        try:
            with part.open("wb") as file:
                torch.save(stored, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._folder / f"step-{next_step:06d}.pt")
        finally:
            part.unlink(missing_ok=True)  # of a full disk it would take the room
        for old in self._stored()[: -self._keep]:
            old.unlink()

    def restore(self, identity: Mapping[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The step to go on with and the state before it, of the newest readable checkpoint; None without one.

        Raises:
            RunFolderError: The checkpoint was made under another identity; the message lists the keys.
        """
        for path in reversed(self._stored()):
            try:
                stored = self._read(path)
            except UNREADABLE as error:
                logger.warning("checkpoint %s cannot be used (%s); trying the one before it", path, error)
                continue
            if differing := ", ".join(sorted(differing_keys(stored["identity"], identity))):
                raise RunFolderError(
                    f"{path}: was made under another configuration (differs in {differing}); go on with the old one, "
                    "or start anew with --fresh or another --out"
                )
            choices.adopt(stored["products"])
            self._cut(stored["ledger_bytes"])
            return int(stored["next_step"]), stored["state"]
        self._cut(0)
        return None

    def _read(self, path: Path) -> dict[str, Any]:
        """What is stored; raises BadZipFile where torch would load damaged numbers silently."""
        with ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise BadZipFile(f"{damaged} does not have its checksum")
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        size, wanted = _size(self._ledger), stored["ledger_bytes"]
        if size < wanted:
            raise ValueError(f"{self._ledger.name} has {size} bytes, fewer than the {wanted} it had")
        needed = {key: stored[key] for key in ("next_step", "identity", "ledger_bytes", "state")}
        return {**needed, "products": stored.get("products")}  # which older checkpoints do not have

    def _stored(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"))

    def _cut(self, position: int) -> None:
        """Drop the ledger's rows of steps that will be repeated; the recorder does the same with its metrics."""
        if processes.is_main() and self._ledger.exists():
            os.truncate(self._ledger, position)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
