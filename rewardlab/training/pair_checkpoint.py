"""Checkpoints of preference training: what the next step depends on, written whole, the newest few kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from rewardlab.errors import RunFolderError
from rewardlab.runs import differing_keys, whole_file
from rewardlab.training.checkpoint import UNREADABLE

logger = logging.getLogger(__name__)


def save(folder: Path, state: Mapping[str, Any], keep: int) -> None:
    """Store the state before step ``state["next_step"]``; appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / f"step-{state['next_step']:06d}.pt") as part:
        torch.save(dict(state), part)
    for old in sorted(folder.glob("step-*.pt"))[:-keep]:
        old.unlink()


def restore(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The newest readable state, None when there is none.

    Raises:
        RunFolderError: It was made under another identity; the message lists the keys.
    """
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        try:
            state = _read(path)
        except UNREADABLE as error:
            logger.warning("checkpoint %s cannot be used (%s); trying the one before it", path, error)
            continue
        if differing := ", ".join(sorted(differing_keys(state["identity"], identity))):
            raise RunFolderError(
                f"{path}: was made under another configuration (differs in {differing}); go on with the old one, or "
                "start anew with --fresh or another --out"
            )
        return state
    return None


def _read(path: Path) -> dict[str, Any]:
    """The stored state; raises BadZipFile where torch would load damaged numbers without a word."""
    with ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise BadZipFile(f"{damaged} does not have its checksum")
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found
