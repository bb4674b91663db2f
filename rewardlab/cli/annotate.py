"""``rewardlab annotate`` and the commands below it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardlab.cli.options import Request, stage_group
from rewardlab.cli.running import run_goal

Limit = Annotated[int | None, typer.Option(help="Most rows a task.")]


def add_to(app: typer.Typer) -> None:
    """Put ``annotate`` and its commands on the application."""
    group = stage_group(app, "annotate", annotate)
    group.command("merge")(merge)


def annotate(request: Request, limit: Limit = None) -> None:
    """Write rationales for the right and for a wrong label of each labelled row."""
    folder = run_goal(request, request.config({"annotate.limit": limit}), lambda pipeline: pipeline.annotate())
    if folder:
        typer.echo(f"rationales: {folder.path / 'rationales.jsonl'}")


def merge(
    journals: Annotated[list[Path], typer.Argument(help="Journals to read; they stay as they are.")],
    into: Annotated[Path, typer.Option(help="Journal that takes their answers over.")],
) -> None:
    """Merge journals of paid answers; of two answers to one request the one that is there first stays."""
    from rewardlab.annotate.journal import Journal

    journal = Journal(into)
    for path in journals:
        taken = journal.merge(path)
        typer.echo(f"{path}: {taken} answers taken over")
    typer.echo(f"{into}: {len(journal)} answers")
