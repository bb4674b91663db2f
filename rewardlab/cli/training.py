"""The commands of training methods, one made from each that is registered, and ``methods``, which lists them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardlab.cli.options import Request, stage_command
from rewardlab.cli.output import echo
from rewardlab.cli.running import run_goal, tracked
from rewardlab.lab.goals import training_goal
from rewardlab.runs import ADAPTER, BEST_ADAPTER
from rewardlab.training.methods import TrainingMethod, methods

Tracker = Annotated[
    list[str] | None,
    typer.Option(
        help="Where metrics of training go too: tensorboard (the default where it is installed), wandb, trackio, "
        "mlflow, none; repeatable."
    ),
]
Rate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the training rows.")]
Keep = Annotated[int | None, typer.Option(help="Newest checkpoints kept while it trains.")]


def add_to(app: typer.Typer) -> None:
    """Put a command for each registered method on the main application, and the list of them."""
    commands = {
        "online": online_command,
        "preference": preference_command,
        "samples": samples_command,
        "encoder": encoder_command,
    }
    for name in methods.every():
        method = methods.get(name)
        stage_command(app, name)(commands[method.family](method))
    app.command("methods")(list_methods)


def list_methods() -> None:
    """List the training methods: what each is, and what it needs."""
    for name in methods.every():
        method = methods.get(name)
        echo(f"{name:11} {method.title}: {method.summary}")
        echo(f"{'':11} needs: {', '.join(method.needs)}; settings: `rewardlab config list {method.section_key}`")


def online_command(method: TrainingMethod) -> Callable[..., None]:
    """The command of a method that samples while it trains."""
    section = method.section_key

    def train(
        request: Request,
        reward: Annotated[str | None, typer.Option(help="Reward expression; see `rewardlab reward list`.")] = None,
        lam: Annotated[
            str | None,
            typer.Option("--lambda", help="Cap of the label RM: 5, q90 or 1.5z; auto:5: target of its mean."),
        ] = None,
        r2: Annotated[str | None, typer.Option(help="Second reward model of `mixed`: ranked, rationale.")] = None,
        steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
        lr: Rate = None,
        batch: Annotated[int | None, typer.Option(help="Responses per step.")] = None,
        samples: Annotated[int | None, typer.Option(help="Responses to each prompt of a step.")] = None,
        keep: Keep = None,
        init: Annotated[str | None, typer.Option(help="base, sft or sft-rationale.")] = None,
        preset: Annotated[str | None, typer.Option(help="Published settings: rllr, ppo-nlu or ppo-nlu-code.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Prompts a task.")] = None,
        sampler: Annotated[
            str | None,
            typer.Option(metavar="URL", help="Server that draws the responses, such as one of vLLM (docs/scale.md)."),
        ] = None,
        tracker: Tracker = None,
    ) -> None:
        given = {
            "sampler.url": sampler,
            "reward.expression": reward,
            "reward.lam": lam,
            "reward.r2": r2,
            f"{section}.steps": steps,
            f"{section}.lr": lr,
            f"{section}.batch": batch,
            f"{section}.samples": samples,
            "keep_checkpoints": keep,
            "init": init,
            "preset": preset,
            "data.prompts": limit,
        }
        run_training(request, given, method, tracker)

    train.__doc__ = f"Train the policy on a reward with {method.title} and LoRA. Missing stages run first."
    return train


def preference_command(method: TrainingMethod) -> Callable[..., None]:
    """The command of a method that learns from preference pairs."""
    section = method.section_key

    def train(
        request: Request,
        pairs: Annotated[
            str | None,
            typer.Option(
                metavar="KIND or DIR",
                help="label (the default), ranked, rationale; sampled: the start's own answers, best against worst by "
                "--reward; or a folder of pairs.",
            ),
        ] = None,
        loss: Annotated[str | None, typer.Option(help="sigmoid (the default), ipo, robust or hinge.")] = None,
        beta: Annotated[float | None, typer.Option(help="Pull to the reference; for ipo the tau.")] = None,
        flip_rate: Annotated[
            str | None, typer.Option(help="With --loss robust: share of flipped pairs, or auto (the default).")
        ] = None,
        reward: Annotated[str | None, typer.Option(help="With --pairs sampled: reward expression.")] = None,
        lam: Annotated[str | None, typer.Option("--lambda", help="Cap of the label RM: 5, q90 or 1.5z.")] = None,
        steps: Annotated[int | None, typer.Option(help="Optimiser steps; default: --epochs over the pairs.")] = None,
        epochs: Annotated[float | None, typer.Option(help="Passes over the pairs.")] = None,
        lr: Rate = None,
        batch: Annotated[int | None, typer.Option(help="Pairs per optimiser step.")] = None,
        keep: Keep = None,
        init: Annotated[str | None, typer.Option(help="base, sft or sft-rationale.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Labelled rows a task that pairs are made from.")] = None,
        tracker: Tracker = None,
    ) -> None:
        own = {"pairs": pairs, "loss": loss, "beta": beta, "flip_rate": flip_rate}
        own |= {"steps": steps, "epochs": epochs, "lr": lr, "batch": batch}
        given = {
            **{f"{section}.{key}": value for key, value in own.items()},
            "reward.expression": reward,
            "reward.lam": lam,
            "keep_checkpoints": keep,
            "init": init,
            "pairs.limit": limit,
        }
        run_training(request, given, method, tracker)

    train.__doc__ = f"Train the policy on preference pairs with {method.title} and LoRA. Missing stages run first."
    return train


def samples_command(method: TrainingMethod) -> Callable[..., None]:
    """The command of a method that learns from its own best samples."""
    section = method.section_key

    def train(
        request: Request,
        reward: Annotated[str | None, typer.Option(help="Reward expression; see `rewardlab reward list`.")] = None,
        lam: Annotated[str | None, typer.Option("--lambda", help="Cap of the label RM: 5, q90 or 1.5z.")] = None,
        r2: Annotated[str | None, typer.Option(help="Second reward model of `mixed`: ranked, rationale.")] = None,
        rounds: Annotated[int | None, typer.Option(help="Rounds of sampling, choosing and fine-tuning.")] = None,
        samples: Annotated[int | None, typer.Option(help="Responses to each prompt of a round.")] = None,
        threshold: Annotated[float | None, typer.Option(help="Score that a response must exceed.")] = None,
        lr: Rate = None,
        batch: Annotated[int | None, typer.Option(help="Responses per optimiser step.")] = None,
        epochs: Epochs = None,
        keep: Keep = None,
        init: Annotated[str | None, typer.Option(help="base, sft or sft-rationale.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Prompts a task.")] = None,
        tracker: Tracker = None,
    ) -> None:
        own = {"rounds": rounds, "samples": samples, "threshold": threshold, "lr": lr, "batch": batch, "epochs": epochs}
        given = {
            "reward.expression": reward,
            "reward.lam": lam,
            "reward.r2": r2,
            **{f"{section}.{key}": value for key, value in own.items()},
            "keep_checkpoints": keep,
            "init": init,
            "data.prompts": limit,
        }
        run_training(request, given, method, tracker)

    train.__doc__ = f"Train the policy on its own best responses by a reward ({method.title}) with LoRA."
    return train


def encoder_command(method: TrainingMethod) -> Callable[..., None]:
    """The command of a classifier that learns from labelled rows; its ``--model`` is the encoder."""
    section = method.section_key

    def train(
        request: Request,
        tuning: Annotated[str | None, typer.Option(help="full (the default): all weights; lora: adapters.")] = None,
        lr: Rate = None,
        batch: Annotated[int | None, typer.Option(help="Rows per optimiser step.")] = None,
        epochs: Epochs = None,
        keep: Keep = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Labelled rows.")] = None,
        tracker: Tracker = None,
    ) -> None:
        own = {"tuning": tuning, "lr": lr, "batch": batch, "epochs": epochs, "model": request.given["model.name"]}
        given = {
            **{f"{section}.{key}": value for key, value in own.items()},
            "keep_checkpoints": keep,
            "data.labelled": limit,
        }
        folder = run_goal(request, training_goal(request.asked, method.name, given), tracked(tracker))
        if folder:
            echo(f"encoder: {chosen_policy(folder.result(), folder.path)}")
            echo(f"evaluate it: rewardlab eval --run {folder.path}")

    train.__doc__ = "Fit an encoder, such as BERT, with a classification or regression head to the labelled rows."
    return train


def run_training(request: Request, given: dict[str, Any], method: TrainingMethod, tracker: list[str] | None) -> None:
    """Run a training method, then say where the policy lies and how it fared."""
    folder = run_goal(request, training_goal(request.asked, method.name, given), tracked(tracker))
    if folder:
        echo(f"policy: {chosen_policy(folder.result(), folder.path)}")
        echo(f"evaluate it: rewardlab eval --run {folder.path}")
        if responses := folder.result().get("responses"):
            spent = f"{folder.result()['prompts']} prompts, {folder.result()['tokens']} tokens generated"
            echo(f"{responses} responses to {spent}")
        print_watched(folder.result())


def chosen_policy(result: dict[str, Any], folder: Path) -> str:
    """Where the best policy lies, and the last one where that is another."""
    found = result.get("validation")
    if not found:
        return str(folder / ADAPTER)
    best, last = found["best"], found["last"]
    where = f"{folder / BEST_ADAPTER} (after step {best['step']}, best on validation rows: {best['accuracy']:.3f})"
    return where if best["step"] == last["step"] else f"{where}; the last one: {folder / ADAPTER}"


def print_watched(result: dict[str, Any]) -> None:
    """The alarms where they were raised, then which policy was best on validation rows."""
    from rewardlab.evaluation.hacking import Alarm, told
    from rewardlab.training.decline import Fall, told_best, told_fall

    if alarm := result.get("hacking", {}).get("alarm"):
        echo(f"warning: {told(Alarm(**alarm))}", err=True)
    if fall := result.get("fall"):
        echo(f"warning: {told_fall(Fall(**fall))}", err=True)
    if found := result.get("validation"):
        measures = ", ".join(f"{name} {found[name]['accuracy']:.3f}" for name in ("start", "best", "last"))
        echo(f"validation accuracy (greedy): {measures}; best after step {found['best']['step']}")
        if told_start := told_best(found):
            echo(told_start)
