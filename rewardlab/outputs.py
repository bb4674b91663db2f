"""The output files of a finished stage, by hash and number of rows: so that a damaged one is not used for a whole one.

What grows or is made after a stage has finished is none of its outputs: times of attempts, trackers' files, reviews,
reports.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

NOT_OUTPUTS = frozenset(
    {
        *("config.json", "provenance.json", "result.json", "attempts.jsonl", "heartbeat.json", ".lock"),
        *("checkpoints", "tensorboard", "wandb", "mlflow-run-id.txt", "report", "reviews.jsonl"),
    }
)
"""Names at the top of a run folder that are no output of its stage."""
PICTURES = frozenset({".svg", ".png"})
"""Endings of files that nothing is computed from."""
RECORDS = frozenset({"metrics.jsonl", "samples.jsonl", "validation.jsonl"})
"""Records for people and reports, on which no stage is built: they may be removed."""


def describe_outputs(folder: Path) -> dict[str, dict[str, Any]]:
    """Path in the folder -> ``sha256``, ``bytes`` and, of JSON Lines, ``rows``; all of them are on the disk then."""
    return {name: describe_output(folder / name) for name in sorted(_outputs(folder))}


def describe_output(path: Path) -> dict[str, Any]:
    """One file, as :func:`describe_outputs` describes all."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    found, rows = _read(path, *_stamp(path))
    return {"sha256": found, "bytes": path.stat().st_size, **({"rows": rows} if path.suffix == ".jsonl" else {})}


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read once in a process as long as it is not written to."""
    return _read(path, *_stamp(path))[0]


def changed_outputs(folder: Path, stored: Mapping[str, Any], names: Iterable[str] | None = None) -> list[str]:
    """What is wrong with outputs, one text a file; a file is read once in a process as long as it is not written to.

    Args:
        folder: The run folder.
        stored: What :func:`describe_outputs` said when the stage had finished.
        names: The files to look at; None for all. Others than these are not read.
    """
    asked = stored if names is None else [name for name in names if name in stored]
    return [problem for name in asked if (problem := _problem(folder / name, name, stored[name]))]


def _outputs(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        is_left_over = ".part-" in name.name
        if path.is_file() and name.parts[0] not in NOT_OUTPUTS and path.suffix not in PICTURES and not is_left_over:
            yield name.as_posix()


def _problem(path: Path, name: str, stored: Mapping[str, Any]) -> str:
    if not path.is_file():
        if path.exists():
            return f"{name} is no file any more"
        return "" if name in RECORDS else f"{name} is missing"
    try:
        found, rows = _read(path, *_stamp(path))
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    if found == stored.get("sha256"):
        return ""
    if stored.get("rows", rows) != rows:
        return f"{name} has {rows} rows and had {stored['rows']}"
    size = path.stat().st_size
    return (
        f"{name} has {size} bytes and had {stored.get('bytes')}" if size != stored.get("bytes") else f"{name} changed"
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    """What is new when somebody has written to a file."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=4096)
def _read(path: Path, inode: int, changed_ns: int, size: int) -> tuple[str, int]:
    """Hash and number of lines of a file in one state."""
    digest, lines, last = hashlib.sha256(), 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            lines, last = lines + block.count(b"\n"), block[-1:]
    return digest.hexdigest(), lines + (last != b"\n")
