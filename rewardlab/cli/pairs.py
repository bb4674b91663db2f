"""``rewardlab pairs stats | import | export``: what pairs are made of, and preference data in TRL's format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardlab.cli.options import Request, stage_command
from rewardlab.cli.output import echo
from rewardlab.cli.running import run_goal, run_stage
from rewardlab.lab.goals import Goal, import_goal
from rewardlab.types import PairKind

app = typer.Typer(help="Look at preference pairs, import and export them.", no_args_is_help=True)


class Part(StrEnum):
    """Which pairs of a folder."""

    TRAIN = "train"
    HELD_OUT = "held-out"
    ALL = "all"


def stats(
    request: Request,
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR]...", help="Folders of pairs; none: sample from the SFT model.")
    ] = None,
) -> None:
    """Print what pairs are made of; draw which kinds a model samples per task (RLLR figure 2)."""
    from rewardlab.reports.drawing import write_picture
    from rewardlab.reports.pairs import kinds_table
    from rewardlab.reports.plots import pair_kinds_picture

    if folders:
        from rewardlab.lab.pair_files import pair_summary

        summary = pair_summary(*folders, task=request.given["task"] or None)
        sampled, place = summary.sampled, request.out or folders[0]
    else:
        folder = run_goal(request, Goal(request.config(), lambda pipeline: pipeline.samples()))
        if folder is None:
            return
        sampled, place = folder.result()["sampled"], folder.path
    picture = pair_kinds_picture(sampled, {})
    plot = write_picture(picture, place)[0] if picture is not None else None
    if folders:
        echo(str(summary))
    if plot is not None:
        echo(kinds_table(sampled))
        echo(f"plot: {plot}")


def import_(
    request: Request,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Preferences: .jsonl, .json, .csv, .tsv or .parquet.")],
    kind: Annotated[PairKind, typer.Option(help="Kind of the pairs: label, ranked, rationale.")] = "ranked",
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the prompts to hold out.")] = 0.1,
    balance_length: Annotated[
        bool, typer.Option("--balance-length", help="Drop pairs until length does not predict the preferred one.")
    ] = False,
) -> None:
    """Import preference data (prompt, chosen, rejected), plain or conversational; --task reads its answers."""
    folder = run_stage(request, *import_goal(request.asked, file, kind, held_out, balance_length))
    if folder:
        _print_outcomes(folder.path, folder.result())


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of pairs.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to: .jsonl, .json or .parquet.")],
    part: Annotated[Part, typer.Option(help="train, held-out or all.")] = Part.TRAIN,
    conversational: Annotated[
        bool, typer.Option("--conversational", help="Messages in place of texts, for chat templates.")
    ] = False,
) -> None:
    """Export pairs as TRL's trainers and the hub read them: prompt, chosen, rejected."""
    from rewardlab.lab.pair_files import export_pairs

    count = export_pairs(folder, file, part=part.value, conversational=conversational)
    echo(f"{count} pairs: {file}")


def _print_outcomes(path: Path, manifest: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in manifest["outcomes"].items() if count)
    echo(f"pairs: {path / 'pairs.jsonl'} ({counts}; {manifest['held_out_pairs']} held out)")


stage_command(app, "stats")(stats)
stage_command(app, "import")(import_)
app.command("export")(export)
