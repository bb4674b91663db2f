"""``rewardlab suite run FILE``: many methods, tasks, models and seeds, then one report."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from rewardlab.disk import make_folder, read_only
from rewardlab.lab.asked import RUNS

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
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT",
            help="Build on a Ray cluster: auto, the one that this machine is part of, or the address of its head.",
        ),
    ] = None,
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
    from rewardlab.cli.suite_report import print_missing, print_suite
    from rewardlab.lab.execution import make_runner, say
    from rewardlab.lab.suite_run import (
        SuiteRun,
        build,
        check_alone,
        check_places,
        report_command,
        report_name,
        report_suite,
    )
    from rewardlab.pipeline.rows import Rows
    from rewardlab.suites.cells import cells
    from rewardlab.suites.file import load_suite
    from rewardlab.suites.filter import select
    from rewardlab.suites.jobs import read_jobs
    from rewardlab.suites.scheduler import Scheduler

    check_alone()
    asked = read_jobs(jobs)
    check_places(asked, ray)
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
    scheduler, runner = Scheduler(todo, runs), make_runner(runs)
    build(scheduler, runner, suite, file, source, asked, ray, say)
    found = SuiteRun(None, missing=[(cell.title, why) for cell, why in scheduler.failures()])
    if report:
        command = report_command(file, filter or [], source)
        found = report_suite(suite, scheduler, runs, place, command, runner.purse, say)
        print_suite(suite, found)
    if found.missing:
        print_missing(found, len(scheduler.cells))
    if found.unjudged or found.missing:
        raise typer.Exit(1)
