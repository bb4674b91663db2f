"""Processors and memory that this process may use: those of the machine, less what a container withholds.

Linux states the limits of a container in the files of its control groups. A limit of a group holds for all groups below
it. Version 2 keeps all limits in one hierarchy, version 1 one hierarchy for each resource; a machine may have both.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
"""Where the hierarchies lie."""
MEMBERSHIPS = Path("/proc/self/cgroup")
"""Which group of each hierarchy this process is in: lines such as ``0::/system.slice`` and ``4:memory:/docker/1a``."""
V2 = ""
"""How the hierarchy of version 2 is called there."""


def usable_processors() -> int:
    """Processors that this process may keep busy: those that it may run on, as far as its quota of time goes.

    Half a processor of a quota is not counted, but there is at least one.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([allowed, *_processor_quotas()])))


def usable_memory() -> int:
    """Bytes that this process can still take: what nobody on the machine has, as far as its container may grow."""
    return int(max(0, min([psutil.virtual_memory().available, *_memory_left()])))


def _processor_quotas() -> Iterator[float]:
    """Processors that each group may use on average: time in a period, over the period."""
    for group in _groups(V2):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)
    for group in _groups("cpu"):
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():  # -1 is no limit
            yield int(quota) / int(period)


def _memory_left() -> Iterator[int]:
    """Bytes that each group may still take; what files were read into is given up when memory is needed."""
    names = {
        V2: ("memory.max", "memory.current", "inactive_file"),
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    for hierarchy, (limit_file, used_file, given_up_key) in names.items():
        for group in _groups(hierarchy):
            limit, used = _read(group / limit_file), _read(group / used_file)
            if limit.isdigit() and used.isdigit():
                counts = dict(line.split(maxsplit=1) for line in _read(group / "memory.stat").splitlines())
                yield int(limit) - int(used) + int(counts.get(given_up_key, 0))


def _groups(hierarchy: str) -> Iterator[Path]:
    """Folders of this process's group and of those above it; a container may see its own group alone, as the root."""
    root = CGROUPS / hierarchy
    for line in _read(MEMBERSHIPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if hierarchy in controllers.split(","):
            group = root / path.lstrip("/")
            while group != root:
                yield group
                group = group.parent
    yield root


def _read(file: Path) -> str:
    """The text of a file; nothing where it cannot be read."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""
