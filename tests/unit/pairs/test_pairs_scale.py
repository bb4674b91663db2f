"""Many pairs: import, de-duplication and statistics stay within their memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import scale

ROOT = Path(__file__).resolve().parents[3]
MEBIBYTES = 1024.0
"""Most memory for 100 000 pairs."""


def measured(folder: Path, count: int) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, scale.__file__, str(count), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_thirty_thousand_pairs_stay_within_their_share_of_the_limit(tmp_path: Path) -> None:
    """Beside the 300 MiB that starting takes."""
    count = 30_000
    found = measured(tmp_path, count)
    assert found["near_duplicates"] == (count - 1) // scale.REPEATED
    assert found["peak_mib"] < 300 + (MEBIBYTES - 300) * count / 100_000, found
