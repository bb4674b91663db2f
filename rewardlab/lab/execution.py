"""How a stage is run, and what the person watching is told: bars, lines and counts on standard error.

Everything is shown on standard error, so that results on standard output stay alone.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab import processes
from rewardlab.logs import MISLEADING
from rewardlab.printable import printable_lines

if TYPE_CHECKING:
    from rewardlab.lab.goals import Goal
    from rewardlab.pipeline import Runner, Stage
    from rewardlab.training.progress import Recorder

Track = Callable[[Path], "Recorder"]
"""Makes a recorder for a run folder."""

BAR = 24
"""Width of the bar of stages that do not train, characters."""
NOISE: Mapping[str, str] = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}
"""What the libraries underneath read, when they are imported, to say less."""


def checked_stage(goal: Goal, root: Path) -> Stage:
    """The stage that is wanted, checked before anything runs.

    Raises:
        InputError: The configuration asks for something that is not there.
    """
    from rewardlab.pipeline import Pipeline, check, check_goal

    check(goal.config, may_lack_reward=goal.may_lack_reward)
    stage = goal.choose(Pipeline(goal.config, root))
    check_goal(stage)
    return stage


def make_runner(root: Path, track: Track | None = None, *, quiet: bool = False) -> Runner:
    """A runner that shows on standard error how far it is.

    Args:
        root: Where run folders live.
        track: Makes a further recorder for a stage's run folder.
        quiet: Show nothing; a line a stage goes to the log.
    """
    from rewardlab.pipeline import Runner

    if quiet:
        return Runner(root, track=track)
    return Runner(root, say, recorder, counter, track)


def say(line: str) -> None:
    """One line on standard error, from the main process; results go to standard output."""
    if processes.is_main():
        sys.stderr.write(f"{printable_lines(line)}\n")
        sys.stderr.flush()


def say_nothing(line: str) -> None:
    """In place of :func:`say` where nothing is to be shown."""


def quiet_libraries() -> None:
    """Keep the libraries underneath from talking, as far as the environment does not say otherwise."""
    for name, value in NOISE.items():
        os.environ.setdefault(name, value)
    for name in MISLEADING:
        logging.getLogger(name).setLevel(logging.ERROR)


def is_terminal() -> bool:
    """True when somebody watches standard error in a terminal."""
    return sys.stderr.isatty()


def is_notebook() -> bool:
    """True when standard error is a cell of a notebook, where a line can be drawn anew and a bar cannot."""
    return type(sys.stderr).__module__.partition(".")[0] == "ipykernel"


def recorder(head: str) -> Recorder:
    """Shows a stage that trains: a bar on a terminal, one line drawn anew in a notebook, else now and then a line."""
    from rewardlab.training.progress import SHOWN, BarRecorder, Silent
    from rewardlab.training.progress_lines import InPlaceRecorder, LineRecorder

    if is_notebook():
        return InPlaceRecorder(head, draw)
    if not is_terminal():
        return LineRecorder(head, say)
    return BarRecorder(SHOWN) if processes.is_main() else Silent()


def counter(head: str) -> Callable[[str, int, int], None]:
    """Shows how far a count is: a line that counts in place, or else now and then a line after ``head``."""
    from rewardlab.training.progress_lines import CountLines

    return count_up if (is_terminal() or is_notebook()) and processes.is_main() else CountLines(head, say)


def count_up(what: str, done: int, total: int) -> None:
    """One line on standard error that counts in place."""
    full = BAR * done // max(total, 1)
    draw(f"  {'━' * full}{'─' * (BAR - full)} {done}/{total} {what}  ", is_last=done >= total)


def draw(line: str, *, is_last: bool = False) -> None:
    """Write a line in place of the one before, which ends with a carriage return."""
    sys.stderr.write(line + ("\n" if is_last else "\r"))
    sys.stderr.flush()
