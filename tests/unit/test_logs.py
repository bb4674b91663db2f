"""What programs print of the log."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import logging
from rewardlab.logs import show_log
show_log({arguments})
for name in ("bitsandbytes.backends.cpu.ops", "rewardlab.tasks"):
    logging.getLogger(name).info("done")
    logging.getLogger(name).warning("careful")
"""


def printed(arguments: str) -> list[str]:
    code = CODE.format(arguments=arguments)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.splitlines()


def test_warnings_of_a_kernel_that_nobody_asked_for_are_left_out() -> None:
    assert printed("") == ["rewardlab.tasks: careful"]
    assert printed("verbose=True") == [
        "bitsandbytes.backends.cpu.ops: done",
        "bitsandbytes.backends.cpu.ops: careful",
        "rewardlab.tasks: done",
        "rewardlab.tasks: careful",
    ]
