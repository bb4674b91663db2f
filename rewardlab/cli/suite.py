"""``rewardlab suite run FILE``: many methods, tasks, models and seeds, then one report."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from rewardlab.disk import read_only
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
    from rewardlab.lab.suite_run import AskedSuite, check_alone, check_places, run_planned
    from rewardlab.pipeline.rows import Rows
    from rewardlab.suites.jobs import read_jobs

    check_alone()
    asked = AskedSuite(file, runs, filter or [], read_jobs(jobs), ray, source, out, has_report=report)
    check_places(asked.jobs, ray)
    suite, rows = asked.load(), Rows(may_lack=dry_run)
    with read_only() if dry_run else nullcontext():
        print_own_code(suite, to_stderr=not dry_run)  # first: planning imports it
        todo = asked.cells(suite, rows, may_lack_model=dry_run)
        print_plan(suite, todo, runs, rows, to_stderr=not dry_run)
        if dry_run:
            print_cells(todo, runs)
            print_missing_models(todo)
            print_missing_rows(rows)
            print_missing_key(todo)
            return
    found = run_planned(asked, suite, todo)
    if report:
        print_suite(suite, found)
    if found.missing:
        print_missing(found)
    if found.unjudged or found.missing:
        raise typer.Exit(1)
