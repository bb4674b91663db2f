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
    for name in methods.every():
        stage_command(app, name)(online_command(methods.get(name)))
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
        lam: Annotated[str | None, typer.Option("--lambda", help="Cap of the label RM: 5, q90 or 1.5z.")] = None,
        r2: Annotated[str | None, typer.Option(help="Second reward model of `mixed`: ranked, rationale.")] = None,
        steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
        lr: Rate = None,
        batch: Annotated[int | None, typer.Option(help="Responses per step.")] = None,
        samples: Annotated[int | None, typer.Option(help="Responses to each prompt of a step.")] = None,
        keep: Keep = None,
        init: Annotated[str | None, typer.Option(help="base, sft or sft-rationale.")] = None,
        preset: Annotated[str | None, typer.Option(help="Published settings: rllr, ppo-nlu or ppo-nlu-code.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Prompts a task.")] = None,
        tracker: Tracker = None,
    ) -> None:
        given = {
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
        folder = run_goal(request, *training_goal(request.asked, method.name, given), tracked(tracker))
        if folder:
            echo(f"policy: {chosen_policy(folder.result(), folder.path)}")
            echo(f"evaluate it: rewardlab eval --run {folder.path}")
            print_watched(folder.result())

    train.__doc__ = f"Train the policy on a reward with {method.title} and LoRA; what is missing before it runs first."
    return train


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
