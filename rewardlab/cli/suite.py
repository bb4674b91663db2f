"""``rewardlab suite run FILE``: many methods and seeds, then one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardlab import processes
from rewardlab.cli.options import RUNS
from rewardlab.errors import InputError

app = typer.Typer(help="Run a suite of methods and seeds.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps ``run`` a subcommand."""


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Suite file (TOML), such as experiments/demo.toml.")],
    runs: Annotated[Path, typer.Option(help="Where run folders live.")] = RUNS,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; default: RUNS/NAME.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes of one thread each, a seed at a time.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write the report at the end.")] = True,
) -> None:
    """Run what is missing of a suite, print its table and write its report."""
    from rewardlab.cli.running import make_runner, say
    from rewardlab.pipeline.suite import run_cells, run_parallel
    from rewardlab.pipeline.suite_cells import cells
    from rewardlab.pipeline.suite_file import load_suite

    if processes.count() > 1:
        raise InputError("a suite starts processes of its own (--jobs); run it without accelerate launch")
    suite = load_suite(file)
    todo = [cell for cell in cells(suite, runs) if seed in (None, cell.seed)]
    runner = make_runner(runs)
    if dry_run:
        for cell in todo:
            for goal in cell.goals:
                state = "done" if goal.folder(runs).is_done else "to run"
                typer.echo(f"[{state}] {cell.title}: {goal.folder(runs).path}")
        return
    if jobs > 1 and seed is None:
        run_parallel(file, suite, runner, jobs, say)
    folders = run_cells(todo, runner, say)
    if report:
        from rewardlab.cli.suite_report import print_suite

        print_suite(suite, todo, folders, runs, out or runs / suite.name)
