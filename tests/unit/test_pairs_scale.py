"""Many pairs: import, de-duplication and statistics stay within their time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import scale

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEBIBYTES = 60.0, 1024.0
"""Limits for 100 000 pairs: processor time, peak memory."""


def measured(folder: Path, count: int) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, scale.__file__, str(count), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


def check(folder: Path, count: int, share: float) -> None:
    """The limits, scaled by ``share`` beside the 300 MiB and 5 s that starting takes."""
    found = measured(folder, count)
    assert found["near_duplicates"] == (count - 1) // scale.REPEATED
    assert found["import_s"] + found["stats_s"] < 5 + (SECONDS - 5) * share, found
    assert found["peak_mib"] < 300 + (MEBIBYTES - 300) * share, found


def test_five_thousand_pairs_in_a_twentieth_of_the_limits(tmp_path: Path) -> None:
    check(tmp_path, 5_000, 0.05)


@pytest.mark.slow
def test_a_hundred_thousand_pairs_within_the_limits(tmp_path: Path) -> None:
    check(tmp_path, 100_000, 1.0)
