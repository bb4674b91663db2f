"""``rewardlab doctor``: is this model one that PPO can be trusted on?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardlab.config_loading import load_config, parse_setting

if TYPE_CHECKING:
    from rich.table import Table

    from rewardlab.doctor.verdict import Verdict

WIDEST = 20
"""Columns of the longest name of a check."""
STYLES = {"passed": "green", "failed": "bold red", "skipped": "dim"}


def doctor(
    model: Annotated[str | None, typer.Option(help="Embedded name, hub id or local folder.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Dtype of the frozen trunk: auto, float32, bfloat16.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; default: rewardlab.toml, if there is one.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="Any setting, as key=value; repeatable.")] = None,
) -> None:
    """Examine a model before PPO: ratio 1, KL 0, padding, sampler, adapters, storage, tokens."""
    given = {"model.name": model, "model.device": device, "model.dtype": dtype}
    resolved = load_config({**given, **dict(map(parse_setting, set or []))}, config)
    from rich.console import Console

    from rewardlab.doctor.examine import CHECKS, examine_model
    from rewardlab.lab.execution import count_up

    verdicts: list[Verdict] = []

    def report(verdict: Verdict) -> None:
        verdicts.append(verdict)
        if sys.stderr.isatty():
            count_up(verdict.check.name.ljust(WIDEST), len(verdicts), len(CHECKS))

    examine_model(resolved, report)
    console = Console()
    console.print(_table(verdicts))
    console.print(f"{resolved.model.name}: {_summary(verdicts)}", markup=False, highlight=False, soft_wrap=True)
    for verdict in verdicts:
        if verdict.is_failed:
            advice = f"{verdict.check.name}: failed: {verdict.check.claim}. {verdict.check.advice}"
            console.print(advice, style="red", markup=False, highlight=False)
    if any(verdict.is_failed for verdict in verdicts):
        raise typer.Exit(1)


def _table(verdicts: Sequence[Verdict]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("check", "verdict", "found"):
        table.add_column(name, no_wrap=name != "found")
    for verdict in verdicts:
        outcome = verdict.finding.outcome
        table.add_row(verdict.check.name, Text(outcome, STYLES[outcome]), Text(verdict.finding.text))
    return table


def _summary(verdicts: Sequence[Verdict]) -> str:
    counts = {outcome: sum(verdict.finding.outcome == outcome for verdict in verdicts) for outcome in STYLES}
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return f"{said} in {sum(verdict.seconds for verdict in verdicts):.0f} s"
