"""A worker of a suite: a process that plans the same cells and builds the stages it is told to, one after the other.

Each line on standard input names a stage; each answer on standard output says None or why it failed. What libraries
print goes to standard error. At the end of its input the process ends, whatever it is doing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from rewardlab.logs import show_log
from rewardlab.pipeline.runner import Runner
from rewardlab.suites.file import load_suite
from rewardlab.suites.known import Find, Known
from rewardlab.suites.run import attempt
from rewardlab.training.progress_lines import CountLines, LineRecorder

INTERRUPTED = 130


def worker_command(file: Path, root: Path, source: str | None, typed: Sequence[str]) -> list[str]:
    """Starts a worker.

    Args:
        file: The suite.
        root: Where run folders live.
        source: Where rows come from, whatever the suite says.
        typed: The user's command line, which the folders will name.
    """
    return [sys.executable, "-m", __name__, str(file), str(root), source or "", *typed]


def main() -> int:
    """Entry of the process; arguments as in :func:`worker_command`."""
    file, root, source, *typed = sys.argv[1:]
    sys.argv = ["rewardlab", *typed]
    show_log()
    try:
        serve(Known(load_suite(Path(file), source or None), Path(root)).find, make_runner(Path(root)))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def make_runner(root: Path) -> Runner:
    """A runner that writes lines to standard error: of several workers none can draw a bar."""
    return Runner(root, say, partial(LineRecorder, say=say), partial(CountLines, say=say))


def serve(find: Find, runner: Runner) -> None:
    """Build stages as long as the suite asks for them; raises KeyboardInterrupt when its process has ended."""
    answers = _private_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches whoever asks too, and ends this process
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = _read_ahead()
    while True:
        request = json.loads(asked.get())
        stage = find(request["stage"])
        error = "the suite file changed while it ran" if stage is None else attempt(runner, stage, request["head"])
        answers.write(json.dumps({"error": error}) + "\n")
        answers.flush()


def say(line: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _private_stdout() -> TextIO:
    """Standard output for answers alone; whatever else is printed goes to standard error from now on."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _read_ahead() -> SimpleQueue[bytes]:
    """Lines of standard input as they come, read by a thread; the end of the input ends the process.

    The thread reads without a buffer: Python's own one is locked while it is read, and could not be closed at exit.
    """
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        with open(os.dup(0), "rb", buffering=0) as stream:
            for line in stream:
                lines.put(line)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, name="asked", daemon=True).start()
    return lines


if __name__ == "__main__":
    sys.exit(main())
