"""What a run left behind."""

from __future__ import annotations

from pathlib import Path


def stored_files(folder: Path) -> list[str]:
    """Names of all files and folders below ``folder``; TensorBoard's aside, whose names hold a time and a process."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(name for name in names if "tfevents" not in name)
