"""``rewardlab export``: leave with what was trained, as files that transformers, PEFT and vLLM load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardlab.cli.output import echo
from rewardlab.lab.asked import RUNS


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run of sft or a training method.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="New folder for the model.")],
    merge: Annotated[bool, typer.Option("--merge", help="Whole weights in place of an adapter.")] = False,
    checkpoint: Annotated[str | None, typer.Option(help="best or last; default: the one that eval takes.")] = None,
    dtype: Annotated[
        str, typer.Option(help="With --merge: auto (the base model's), float32, bfloat16, float16.")
    ] = "auto",
    runs: Annotated[Path, typer.Option(help="Where run folders live.")] = RUNS,
) -> None:
    """Store a trained policy as one adapter of its base model, or as whole weights, with a model card."""
    from rewardlab.lab.exported import CARD, export_policy
    from rewardlab.reports.model_card import serving

    exported = export_policy(run, to, merge=merge, checkpoint=checkpoint, dtype=dtype, root=runs)
    echo(f"{'model' if exported.is_merged else 'adapter'}: {to}\ncard, with the lines that use it: {to / CARD}")
    for command in serving(exported):
        echo(f"serve it: {command}")
