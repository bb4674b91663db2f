"""Processors and memory as a container leaves them; its files are made up, in both versions of control groups."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from rewardlab import container_limits
from rewardlab.container_limits import usable_memory, usable_processors

GIB = 1 << 30
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of the made-up hierarchies; the machine has 8 processors and 6 GiB are available."""
    monkeypatch.setattr(container_limits, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(container_limits, "MEMBERSHIPS", tmp_path / "membership")
    monkeypatch.setattr(container_limits.psutil, "virtual_memory", lambda: SimpleNamespace(available=6 * GIB))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)

    def write(file: str, text: str | int) -> None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(f"{text}\n")

    return write


def test_without_a_container_the_machine_counts(write: Write) -> None:
    assert (usable_processors(), usable_memory()) == (8, 6 * GIB)


class TestProcessors:
    def test_those_that_the_process_may_run_on(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5})
        assert usable_processors() == 2
        write("groups/cpu.max", "300000 100000")
        assert usable_processors() == 2

    def test_a_system_without_affinity(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "sched_getaffinity")
        monkeypatch.setattr(os, "cpu_count", lambda: 5)
        assert usable_processors() == 5

    @pytest.mark.parametrize(
        ("limit", "expected"),
        [("max 100000", 8), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("100000 50000", 2)],
    )
    def test_version_2(self, write: Write, limit: str, expected: int) -> None:
        """Time in each period; 2.5 processors are two, half of one is one."""
        write("groups/cpu.max", limit)
        assert usable_processors() == expected

    @pytest.mark.parametrize(("quota", "expected"), [(-1, 8), (300000, 3)])
    def test_version_1(self, write: Write, quota: int, expected: int) -> None:
        write("groups/cpu/cpu.cfs_quota_us", quota)
        write("groups/cpu/cpu.cfs_period_us", 100000)
        assert usable_processors() == expected

    def test_the_smallest_of_the_groups_above(self, write: Write) -> None:
        write("membership", "4:cpuset:/other\n0::/user/job")
        write("groups/user/job/cpu.max", "max 100000")
        write("groups/user/cpu.max", "300000 100000")
        write("groups/cpu.max", "500000 100000")
        write("groups/other/cpu.max", "100000 100000")
        assert usable_processors() == 3


class TestMemory:
    @pytest.mark.parametrize(
        ("limit", "left"), [("max", 6 * GIB), (4 * GIB, 3 * GIB), (64 * GIB, 6 * GIB), (GIB // 2, 0)]
    )
    def test_version_2(self, write: Write, limit: str | int, left: int) -> None:
        """The container uses 3 GiB, of which files that were read make 2, which are given up when needed."""
        write("groups/memory.max", limit)
        write("groups/memory.current", 3 * GIB)
        write("groups/memory.stat", f"anon {GIB}\nfile {2 * GIB}\ninactive_file {2 * GIB}\nactive_file 0")
        assert usable_memory() == left

    def test_version_1_of_a_group_below_the_root(self, write: Write) -> None:
        """4 GiB, less 3 that are used, of which one is given up. The root's limit is the number for none."""
        write("membership", "7:memory:/docker/1a\n4:cpu,cpuacct:/")
        write("groups/memory/memory.limit_in_bytes", 9223372036854771712)
        write("groups/memory/memory.usage_in_bytes", 20 * GIB)
        write("groups/memory/docker/1a/memory.limit_in_bytes", 4 * GIB)
        write("groups/memory/docker/1a/memory.usage_in_bytes", 3 * GIB)
        write("groups/memory/docker/1a/memory.stat", f"inactive_file 7\ntotal_inactive_file {GIB}")
        assert usable_memory() == 2 * GIB

    def test_a_limit_without_what_is_used_says_nothing(self, write: Write) -> None:
        write("groups/memory.max", GIB)
        assert usable_memory() == 6 * GIB
