"""``rewardlab submit``: the files that the servers of GLUE and SuperGLUE take, from trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rewardlab.cli.output import echo
from rewardlab.errors import DataError, InputError
from rewardlab.lab.asked import RUNS


def submit(
    suite: Annotated[Literal["glue", "superglue"], typer.Option(help="glue or superglue.")],
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Trained run, or a folder that holds some; repeatable: one run a task, or one of many."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="ZIP file; default: SUITE.zip.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of official rows, CoLA.jsonl and so on; rows with labels are scored too. Default: the hub."
        ),
    ] = None,
    answers: Annotated[
        list[Path] | None,
        typer.Option(help="A file in the server's format, made elsewhere; scored if --data has its rows. Repeatable."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Leave out files that no run answers.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Rows of each file, to try it.")] = None,
    check: Annotated[Path | None, typer.Option(help="Only check this ZIP file.")] = None,
    root: Annotated[Path, typer.Option("--root", help="Where run folders live.")] = RUNS,
) -> None:
    """Answer the official test rows of GLUE or SuperGLUE and write the ZIP file that its server takes."""
    from rewardlab.comparison.conventions import metric_title
    from rewardlab.evaluation.leaderboard import counted_tasks
    from rewardlab.evaluation.submission import FILES, problems_of
    from rewardlab.lab import submitted
    from rewardlab.lab.execution import make_runner, say

    if check is not None:
        problems = problems_of(FILES[suite], check, is_whole=not partial)
        if problems:
            raise DataError(f"{check}: {'; '.join(problems)}")
        echo(f"{check}: what the server of {suite} takes")
        return
    if not runs and not answers:
        raise InputError("nothing to answer with; give --runs RUN, or --answers FILE")
    made = submitted.submit(
        suite,
        runs or (),
        to or Path(f"{suite}.zip"),
        root,
        make_runner(root),
        data=data,
        answers=answers or (),
        is_partial=partial,
        limit=limit,
        say=say,
    )
    for name, count in made.unreadable.items():
        if count:
            echo(f"{name}: {count} answers could not be read; a label was drawn in their place")
    for name, measured in made.scores.items():
        echo(f"{name}: {', '.join(f'{metric_title((each,))} {100 * value:.1f}' for each, value in measured.items())}")
    if made.score is not None:
        echo(
            f"score: {100 * made.score:.1f}, the mean over {len(counted_tasks(suite))} tasks as the leaderboard has it"
        )
    if made.problems:
        raise DataError(f"{made.path}: {'; '.join(made.problems)}")
    whole = "checked, whole" if not partial and limit is None else "checked, not whole"
    echo(f"submission: {made.path} ({len(made.runs)} of {len(FILES[suite])} files; {whole})")
