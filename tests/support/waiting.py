"""Waiting for what other processes do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 600.0
"""Longest wait for what must happen; a test that waits so long has failed."""


def until(is_so: Callable[[], Any]) -> None:
    """Return when ``is_so()`` is true; fail when that takes longer than :data:`PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
