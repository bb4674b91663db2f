"""The commands that run one stage: pair-gen, sft, rm train, eval; ``annotate`` and training methods have their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rewardlab.cli import annotate
from rewardlab.cli.accuracies import print_accuracies
from rewardlab.cli.annotate import BaseURL, BatchAction, BudgetUSD, Limit, MaxFailed, Prices, asking
from rewardlab.cli.compare import compare
from rewardlab.cli.options import Request, stage_command
from rewardlab.cli.output import echo
from rewardlab.cli.running import run_goal, tracked
from rewardlab.cli.training import Epochs, Keep, Rate, Tracker, chosen_policy
from rewardlab.errors import InputError
from rewardlab.lab.goals import own_reward_model_goal, pairs_goal, reward_model_goal, sft_goal
from rewardlab.types import PairKind

BalanceLength = Annotated[
    bool | None,
    typer.Option("--balance-length", help="Drop pairs until length does not predict the preferred response."),
]


def add_to(app: typer.Typer, rm: typer.Typer) -> None:
    """Put the commands on the main application and on its ``rm`` group."""
    for name, command in (
        ("pair-gen", pair_gen),
        ("sft", sft),
        ("eval", evaluate),
    ):
        stage_command(app, name)(command)
    annotate.add_to(app)
    stage_command(rm, "train")(train_reward_model)


def pair_gen(
    request: Request,
    kind: Annotated[PairKind, typer.Option(help="label, ranked or rationale.")] = "label",
    limit: Limit = None,
    balance_length: BalanceLength = None,
    base_url: BaseURL = None,
    budget_usd: BudgetUSD = None,
    prices: Prices = None,
    max_failed: MaxFailed = None,
    batch: BatchAction = None,
) -> None:
    """Make preference pairs, with the rationales they need."""
    own = {"pairs.balance_length": balance_length, **asking(base_url, budget_usd, prices, max_failed, batch)}
    goal = pairs_goal(request.asked, kind, own, limit)
    folder = run_goal(request, goal)
    if folder:
        manifest = folder.result()
        counts = ", ".join(f"{count} {name}" for name, count in manifest["outcomes"].items())
        echo(f"pairs: {folder.path / 'pairs.jsonl'} ({counts})")


def sft(
    request: Request,
    rationales: Annotated[
        bool | None, typer.Option("--rationales/--no-rationales", help="Answer with a rationale first.")
    ] = None,
    limit: Limit = None,
    lr: Rate = None,
    batch: Annotated[int | None, typer.Option(help="Rows per optimiser step.")] = None,
    epochs: Epochs = None,
    tracker: Tracker = None,
    keep: Keep = None,
) -> None:
    """Fine-tune on the labelled rows; without rationales the answer format is the bare label."""
    given = {
        "data.labelled": limit,
        "sft.lr": lr,
        "sft.batch": batch,
        "sft.epochs": epochs,
        "keep_checkpoints": keep,
    }
    folder = run_goal(request, sft_goal(request.asked, rationales, given), tracked(tracker))
    if folder:
        echo(f"adapter: {chosen_policy(folder.result(), folder.path)}")


def train_reward_model(
    request: Request,
    kind: Annotated[PairKind | None, typer.Option(help="label (the default), ranked or rationale.")] = None,
    limit: Limit = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Own pairs: a folder of pair-gen or pairs import, or a file of preferences."),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="With --pairs: share of the prompts to hold out where none is.")
    ] = 0.1,
    lr: Rate = None,
    batch: Annotated[int | None, typer.Option(help="Pairs per optimiser step.")] = None,
    epochs: Epochs = None,
    keep: Keep = None,
    balance_length: BalanceLength = None,
    tracker: Tracker = None,
) -> None:
    """Train a reward model on pairs of one kind, made here or your own."""
    given = {
        "rm.lr": lr,
        "rm.batch": batch,
        "rm.epochs": epochs,
        "keep_checkpoints": keep,
        "pairs.balance_length": balance_length,
    }
    if pairs is None:
        goal = reward_model_goal(request.asked, kind or "label", given, limit)
    elif limit is None:
        goal = own_reward_model_goal(request.asked, pairs, kind, held_out, given)
    else:
        raise InputError("--limit bounds the rows that pairs are made from; with --pairs use --set rm.max_pairs=N")
    folder = run_goal(request, goal, tracked(tracker))
    if folder:
        echo(f"reward model: {folder.path}")
        print_accuracies(folder.result()["accuracy"])


def evaluate(
    request: Request,
    run: Annotated[
        Path | None, typer.Option(help="Run folder of sft or a training method; default: the base model.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Solved examples in front of each prompt.")] = None,
    best_of: Annotated[
        int | None, typer.Option(min=2, help="Answers sampled for each row; the best by the reward is evaluated.")
    ] = None,
    reward: Annotated[str | None, typer.Option(help="Reward expression that --best-of chooses by.")] = None,
    lam: Annotated[str | None, typer.Option("--lambda", help="Lambda of that expression: 5, q90 or 1.5z.")] = None,
    limit: Limit = None,
    cot: Annotated[
        bool | None, typer.Option("--cot", help="Chain of thought: ask for reasoning first; with --format rationale.")
    ] = None,
    hosted: Annotated[
        bool, typer.Option("--hosted", help="Ask a hosted model: --set eval.hosted.model=NAME, as annotate asks.")
    ] = False,
    base_url: BaseURL = None,
    budget_usd: BudgetUSD = None,
    prices: Prices = None,
    max_failed: MaxFailed = None,
    batch: BatchAction = None,
) -> None:
    """Measure a trained run, the base model or a hosted one, sampled and greedy, or the best of several answers."""
    from rewardlab.lab.stored import choice_settings, evaluation_goal, root_of

    own = {"eval.shots": shots, **choice_settings(best_of, reward, lam), "data.test": limit}
    own |= {"eval.chain_of_thought": cot, **asking(base_url, budget_usd, prices, max_failed, batch)}
    if run is not None:
        request = replace(request, root=root_of(run, request.root))
    goal = evaluation_goal(request.asked, run, own)
    if hosted and (run is not None or goal.config.eval.hosted.model is None):
        told = "leave --run out" if run is not None else "name the model, such as --set eval.hosted.model=gpt-4o"
        raise InputError(f"--hosted asks a model behind an endpoint; {told}")
    folder = run_goal(request, goal)
    if folder:
        compare([folder.path])
