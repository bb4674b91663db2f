"""``rewardlab suite run FILE``: many methods, tasks, models and seeds, then one report."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardlab import processes
from rewardlab.errors import InputError
from rewardlab.lab.asked import RUNS
from rewardlab.runs import make_folder, read_only

if TYPE_CHECKING:
    from rewardlab.pipeline.runner import Runner
    from rewardlab.suites.scheduler import Scheduler

app = typer.Typer(help="Run a suite of methods, tasks, models and seeds.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps ``run`` a subcommand."""


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Suite file (TOML), such as experiments/demo.toml.")],
    runs: Annotated[Path, typer.Option(help="Where run folders live.")] = RUNS,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; default: RUNS/NAME, with filters RUNS/NAME-FILTERS.")
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=TEXT",
            help="Only cells whose method, task or model contains the text, or with that seed; repeatable.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Where rows come from, in place of the file's setting: auto, local, hub, bundled."),
    ] = None,
    jobs: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="Stages built side by side, in processes of one thread each; auto: as processors and memory allow.",
        ),
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write the report at the end.")] = True,
) -> None:
    """Show the plan, run what is missing, print the table, write the report; exit code 1 if a cell or judge failed."""
    from rewardlab.cli.suite_plan import (
        print_cells,
        print_missing_key,
        print_missing_models,
        print_missing_rows,
        print_own_code,
        print_plan,
    )
    from rewardlab.cli.suite_report import print_failures, print_suite
    from rewardlab.lab.execution import make_runner
    from rewardlab.pipeline.rows import Rows
    from rewardlab.suites.cells import cells
    from rewardlab.suites.file import load_suite
    from rewardlab.suites.filter import select
    from rewardlab.suites.jobs import jobs_for, read_jobs, share_processors
    from rewardlab.suites.scheduler import Scheduler
    from rewardlab.suites.worker import worker_command

    if processes.count() > 1:
        raise InputError("a suite starts processes of its own (--jobs); run it without accelerate launch")
    asked = read_jobs(jobs)
    suite = load_suite(file, source)
    rows = Rows(may_lack=dry_run)
    with read_only() if dry_run else nullcontext():
        print_own_code(suite, to_stderr=not dry_run)  # first: planning imports it
        todo = select(cells(suite, runs, may_lack_model=dry_run, rows=rows), filter or [])
        print_plan(suite, todo, runs, rows, to_stderr=not dry_run)
        if dry_run:
            print_cells(todo, runs)
            print_missing_models(todo)
            print_missing_rows(rows)
            print_missing_key(todo)
            return
    place = out or runs / report_name(suite.name, filter or [])
    if report:
        make_folder(place)
    scheduler = Scheduler(todo, runs)
    runner = make_runner(runs)
    count = asked or jobs_for(scheduler.missing())
    share_processors(asked, count)
    _build(scheduler, runner, worker_command(file, runs, source, sys.argv[1:]), count)
    problems = 0
    if report:
        problems = print_suite(suite, scheduler, runs, place, report_command(file, filter or [], source), runner.purse)
    if scheduler.failures():
        print_failures(scheduler)
    if problems or scheduler.failures():
        raise typer.Exit(1)


def report_name(name: str, filters: Sequence[str]) -> str:
    """Folder of the report; a part of the suite does not take the place of the whole, or of another part.

    >>> report_name("demo", []), report_name("demo", ["seed=0", "task=sandbox-topic"])
    ('demo', 'demo-seed-0-task-sandbox-topic')
    >>> report_name("demo", ["method=ppo-rule"]), report_name("demo", ["method=PPO, rule"])
    ('demo-method-ppo-rule', 'demo-method-ppo-rule-34e78e')
    """
    from rewardlab.config import fingerprint

    given = [each.lower() for each in filters]
    slugs = [re.sub(r"\W+", "-", each).strip("-") for each in given]
    return "-".join([name, *slugs, *([] if all(map(_is_kept, given)) else [fingerprint(given)[:6]])])


def _is_kept(filter: str) -> bool:
    """True when its slug is unique among all: words, none of which could begin another filter."""
    from rewardlab.suites.filter import KEYS

    found = re.fullmatch(r"\w+=(\w+(?:-\w+)*)", filter)
    return found is not None and not set(found[1].split("-")) & set(KEYS)


def report_command(file: Path, filters: Sequence[str], source: str | None) -> str:
    """What makes the same report again, wherever its runs lie.

    >>> report_command(Path("experiments/demo.toml"), ["method=label RM"], None)
    "rewardlab suite run experiments/demo.toml --filter 'method=label RM'"
    """
    given = [part for each in filters for part in ("--filter", each)] + (["--source", source] if source else [])
    return shlex.join(["rewardlab", "suite", "run", file.as_posix(), *given])


def _build(scheduler: Scheduler, runner: Runner, worker: list[str], jobs: int) -> None:
    from rewardlab.lab.execution import say
    from rewardlab.suites.run import build_here, build_in_workers

    if jobs == 1:
        build_here(scheduler, runner, say)
    else:
        build_in_workers(scheduler, jobs, worker, say)
        for stage in scheduler.done():
            runner.count(stage)
