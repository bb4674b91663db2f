"""How a command runs a stage and what it prints on the way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab import processes
from rewardlab.cli.options import Request
from rewardlab.cli.output import echo
from rewardlab.config import RunConfig

if TYPE_CHECKING:
    from rewardlab.pipeline import Pipeline, Runner, Stage
    from rewardlab.runs import RunFolder
    from rewardlab.training.progress import Recorder

Track = Callable[[Path], "Recorder"]
"""Makes a recorder for a run folder."""

BAR = 24
"""Width of the bar of stages that do not train, characters."""


def run_goal(
    request: Request, config: RunConfig, choose: Callable[[Pipeline], Stage], track: Track | None = None
) -> RunFolder | None:
    """Build the goal's plan and run it; None with ``--dry-run``, which prints it, and outside the main process."""
    from rewardlab.pipeline import Pipeline, check

    check(config)
    return run_stage(request, config, choose(Pipeline(config, request.root)), track)


def run_stage(request: Request, config: RunConfig, goal: Stage, track: Track | None = None) -> RunFolder | None:
    """Run a stage, into ``--out`` if that is given; with ``--dry-run`` print its plan and return None."""
    from rewardlab.pipeline import check_goal

    check_goal(goal)
    if request.out is not None:
        goal = replace(goal, at=request.out)
    if request.is_dry:
        if processes.is_main():
            print_plan(request, config, goal)
        return None
    folder = make_runner(request.root, track).execute(goal, fresh=request.is_fresh)
    processes.leave()
    return folder if processes.is_main() else None


def tracked(names: Sequence[str] | None) -> Track:
    """What ``--tracker`` asks for; raises ConfigError when one is not installed."""
    from rewardlab.training.trackers import make_trackers, resolve_trackers

    resolved = resolve_trackers(names)
    return lambda folder: make_trackers(resolved, folder)


def make_runner(root: Path, track: Track | None = None) -> Runner:
    """A runner that talks on standard error: progress bars where that is a terminal, else now and then a line."""
    from rewardlab.pipeline import Runner
    from rewardlab.training.progress_lines import LineRecorder

    return Runner(root, say, _bar if is_terminal() else partial(LineRecorder, say=say), counter, track)


def print_plan(request: Request, config: RunConfig, goal: Stage) -> None:
    """The plan and the resolved configuration, on standard output.

    Raises:
        RunFolderError: The goal's folder holds something else, so that the plan could not be run.
    """
    from rewardlab.annotate.preview import total_text
    from rewardlab.pipeline.runner import plan_rows
    from rewardlab.training.memory import memory_lines

    rows = plan_rows(make_runner(request.root).plan(goal), fresh=request.is_fresh)
    for number, row in enumerate(rows, 1):
        echo(f"{number}. [{row['state']}] {row['title']}\n   {row['folder']}")
        for line in row["preview"].text.splitlines() if row["preview"] else ():
            echo(f"   {line}")
    asked = [row["preview"] for row in rows if row["preview"]]
    if len(asked) > 1:
        echo(f"\nin all: {total_text(asked, config.annotate.budget_usd)}")
    reward_models = sum(row["stage"] == "rm" for row in rows)
    lines = memory_lines(config, [row["stage"] for row in rows if row["state"] == "to run"], reward_models)
    if lines:
        title = "\nestimated memory with the longest rows (docs/memory.md):"
        echo("\n".join([title, *(f"   {line}" for line in lines)]))
    echo("\nresolved configuration:")
    echo(config.model_dump_json(indent=2))


def say(line: str) -> None:
    """One line for the person watching, from the main process; results go to standard output."""
    if processes.is_main():
        echo(line, err=True)


def is_terminal() -> bool:
    """True when somebody watches standard error, where lines can be drawn anew."""
    return sys.stderr.isatty()


def counter(head: str) -> Callable[[str, int, int], None]:
    """Shows how far a count is: a line that counts in place on a terminal, else now and then a line after ``head``."""
    from rewardlab.training.progress_lines import CountLines

    return count_up if is_terminal() and processes.is_main() else CountLines(head, say)


def _bar(head: str) -> Recorder:
    from rewardlab.training.progress import SHOWN, BarRecorder, Silent

    return BarRecorder(SHOWN) if processes.is_main() else Silent()


def count_up(what: str, done: int, total: int) -> None:
    """One line on standard error that counts in place."""
    full = BAR * done // max(total, 1)
    end = "\n" if done >= total else "\r"
    sys.stderr.write(f"  {'━' * full}{'─' * (BAR - full)} {done}/{total} {what}  {end}")
    sys.stderr.flush()
