"""``rewardlab rm report | calibrate | sweep``: what a trained reward model is worth, and where to cap it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardlab.cli.output import echo
from rewardlab.errors import InputError
from rewardlab.runs import check_outputs, stage_of

LAMBDAS = ("q10", "q25", "q50", "q75", "q90", "q99")
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
    if not models:
        raise InputError("rm report: no reward model given; name folders made by `rewardlab rm train`")
    _check_trained(*models)
    from rewardlab.reward_models.card import report_cards
    from rewardlab.reward_models.card_files import accuracy_table, calibration_table, write_each
    from rewardlab.runs import writing

    cards, place = report_cards(models, pairs or []), out or models[0] / "report"
    with writing(place):
        written = write_each(cards, place)
    echo(f"{accuracy_table(cards)}\n\n{calibration_table(cards)}")
    echo(f"written: {', '.join(map(str, written))}")


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="RM", help="Folder made by `rewardlab rm train`.")],
    samples: Annotated[int | None, typer.Option(min=16, help="Most SFT samples to score; default: all.")] = None,
) -> None:
    """Store quantiles and z-scores of the raw score on SFT samples, for --lambda q90 and --lambda 1.5z.

    `rm train` has done it for rm.sft_samples of them; what is stored is replaced, so that runs to come read the new
    numbers. Runs that are done keep the lambda they resolved.
    """
    from rewardlab.training.stored_samples import check_samples, read_samples

    check_samples(model)
    _check_trained(model)
    from rewardlab.models.scoring import load_scorers
    from rewardlab.models.stored import SFT_SCORES_FILE, read_sft_scores
    from rewardlab.reward_models.lambda_table import calibration_table
    from rewardlab.runs import read_json, renew_output
    from rewardlab.training.rm_evaluation import store_sft_scores

    stored, path = read_samples(model), model / SFT_SCORES_FILE
    before = len(read_sft_scores(model))
    store_sft_scores(model, load_scorers({"model": model}).trunk, "rm-model", stored, samples)
    renew_output(model, SFT_SCORES_FILE)
    found = read_json(path)
    echo(calibration_table(found))
    echo(f"{len(found['scores'])} SFT samples: {path}")
    if before:
        echo(f"they replace those of {before} samples, and --lambda q90 and the like read them from now on", err=True)


def sweep(
    model: Annotated[Path, typer.Argument(metavar="LABEL_RM", help="The label RM, r1 of the mixed reward.")],
    r2: Annotated[Path, typer.Option(metavar="RM", help="The second reward model, trained on the same start.")],
    lam: Annotated[str, typer.Option("--lambda", help="Lambdas, separated by commas.")] = ",".join(LAMBDAS),
) -> None:
    """Print what each lambda would prefer among stored samples: saturation, accuracy, rationale quality."""
    from rewardlab.rewards import parse_lambda
    from rewardlab.training.stored_samples import check_samples

    check_samples(model)
    _check_trained(model, r2)
    for text in lam.split(","):
        parse_lambda(text)
    from rewardlab.reward_models import lambda_sweep
    from rewardlab.reward_models.lambda_table import sweep_table

    scored, context = lambda_sweep.score_samples(model, r2)
    echo(sweep_table(lambda_sweep.sweep(scored, lambda_sweep.resolved(lam.split(","), context))))


def _check_trained(*models: Path) -> None:
    """Name the first folder that is no finished reward model, before torch is imported, which takes seconds."""
    for model in models:
        if not (model / "result.json").is_file():
            raise InputError(f"{model}: no finished reward model; name folders made by `rewardlab rm train`")
        stage = stage_of(model)
        if stage != "rm":
            raise InputError(f"{model}: its stage is {stage}, not rm; name folders made by `rewardlab rm train`")
        check_outputs(model)
