"""How a command runs a stage: ``--dry-run``, ``--out``, ``--fresh`` and ``--tracker`` around what Python calls too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rewardlab import processes
from rewardlab.cli.options import Request
from rewardlab.cli.output import echo
from rewardlab.config import RunConfig
from rewardlab.lab.execution import Track, checked_stage, make_runner

if TYPE_CHECKING:
    from rewardlab.lab.goals import Goal
    from rewardlab.pipeline import Stage
    from rewardlab.runs import RunFolder


def run_goal(request: Request, goal: Goal, track: Track | None = None) -> RunFolder | None:
    """Build the goal's plan and run it; None with ``--dry-run``, which prints it, and outside the main process."""
    return run_stage(request, goal.config, checked_stage(goal, request.root), track)


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
