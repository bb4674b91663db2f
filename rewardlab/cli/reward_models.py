"""``rewardlab rm report | calibrate | sweep``: what a trained reward model is worth, and where to cap it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardlab.cli.output import echo

Models = Annotated[list[Path] | None, typer.Argument(metavar="RM...", help="Folders made by `rewardlab rm train`.")]


def add_to(rm: typer.Typer) -> None:
    """Put the commands on the ``rm`` group."""
    for command in (report, calibrate, sweep):
        rm.command(command.__name__)(command)


def report(
    models: Models = None,
    pairs: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Folder of pairs; repeatable. Default: those beside RM.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; default: report/ in the first RM's folder.")] = None,
) -> None:
    """Write the report card of reward models side by side: accuracy, calibration, margins, biases.

    Of several, each one's own card goes into a folder of its name beside it.
    """
    from rewardlab.lab.reward_model_tools import report_cards

    cards = report_cards(*models or [], pairs=pairs or [])
    written = cards.write(out or (models or [])[0] / "report")
    echo(str(cards))
    echo(f"written: {', '.join(map(str, written))}")


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="RM", help="Folder made by `rewardlab rm train`.")],
    samples: Annotated[int | None, typer.Option(min=16, help="Most SFT samples to score; default: all.")] = None,
) -> None:
    """Store quantiles and z-scores of the raw score on SFT samples, for --lambda q90 and --lambda 1.5z.

    `rm train` has done it for rm.sft_samples of them; what is stored is replaced, so that runs to come read the new
    numbers. Runs that are done keep the lambda they resolved.
    """
    from rewardlab.lab.reward_model_tools import calibrate as calibrated

    found = calibrated(model, samples=samples)
    echo(str(found))
    echo(f"{len(found.stored['scores'])} SFT samples: {found.path}")
    if found.replaced:
        told = f"they replace those of {found.replaced} samples, and --lambda q90 and the like read them from now on"
        echo(told, err=True)


def sweep(
    model: Annotated[Path, typer.Argument(metavar="LABEL_RM", help="The label RM, r1 of the mixed reward.")],
    r2: Annotated[Path, typer.Option(metavar="RM", help="The second reward model, trained on the same start.")],
    lam: Annotated[str, typer.Option("--lambda", help="Lambdas, separated by commas.")] = "q10,q25,q50,q75,q90,q99",
) -> None:
    """Print what each lambda would prefer among stored samples: saturation, accuracy, rationale quality."""
    from rewardlab.lab.reward_model_tools import sweep as swept

    echo(str(swept(model, r2, lambdas=lam.split(","))))
