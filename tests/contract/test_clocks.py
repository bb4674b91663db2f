"""No test measures how fast the machine is: clocks are read to give up waiting, and nowhere else.

Times stand in ``rewardlab bench`` and ``experiments/bench``; a test asserts what causes them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
CLOCKS = {"perf_counter", "perf_counter_ns", "process_time", "monotonic", "time", "times", "getrusage", "thread_time"}
WAITING = {
    "support/browser.py": "gives up a browser that does not answer",
    "support/scale.py": "prints what experiments/bench/speed.py reads",
    "support/waiting.py": "gives up waiting for another process",
    "servers/chat_server.py": "when requests came, for the annotator's bench and the order of retries",
}
"""Files that read a clock, and what for."""


def read_clocks(code: str) -> set[str]:
    """Names of the clocks that a file calls."""
    calls = [node.func for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    named = {(call.value.id, call.attr) for call in calls if isinstance(call, ast.Attribute) and is_name(call.value)}
    return {name for module, name in named if module in ("time", "os", "resource", "timeit") and name in CLOCKS}


def is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name)


def test_a_clock_is_found() -> None:
    code = "import time\nassert time.perf_counter() - start < 1\nos.times()\nobject.time()"
    assert read_clocks(code) == {"perf_counter", "times"}


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.relative_to(TESTS).as_posix())
def test_only_waiting_reads_a_clock(path: Path) -> None:
    assert bool(read_clocks(path.read_text())) == (path.relative_to(TESTS).as_posix() in WAITING)
