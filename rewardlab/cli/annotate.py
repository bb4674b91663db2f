"""``rewardlab annotate`` and the commands below it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rewardlab.cli.options import Request, stage_group
from rewardlab.cli.output import echo
from rewardlab.cli.review import review
from rewardlab.cli.running import run_goal
from rewardlab.lab.goals import annotate_goal

Limit = Annotated[int | None, typer.Option(help="Most rows a task.")]
BaseURL = Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint; default: $OPENAI_BASE_URL.")]
BudgetUSD = Annotated[
    float | None, typer.Option(help="Highest cost of all the command's answers; checked before each request.")
]
Prices = Annotated[Path | None, typer.Option(help="TOML file of prices, USD per million tokens.")]
MaxFailed = Annotated[float | None, typer.Option(help="Share of failed requests above which the command fails.")]
BatchAction = Annotated[
    Literal["submit", "status", "fetch"] | None, typer.Option(help="Ask through the provider's Batch API.")
]


def add_to(app: typer.Typer) -> None:
    """Put ``annotate`` and its commands on the application."""
    group = stage_group(app, "annotate", annotate)
    group.command("merge")(merge)
    group.command("review")(review)
    app.command("annotators")(list_annotators)


def list_annotators() -> None:
    """List the annotators: what each can do, what it needs, whether it is paid."""
    from rewardlab.annotate.registry import annotators, find_annotator

    for name in annotators.every():
        kind = find_annotator(name)
        echo(f"{name:11} {kind.summary}")
        cost = "paid, see --dry-run and --budget-usd" if kind.is_paid else "free"
        echo(f"{'':11} can: {', '.join(kind.abilities())}; needs: {kind.needs}; {cost}")


def annotate(
    request: Request,
    limit: Limit = None,
    base_url: BaseURL = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight.")] = None,
    rpm: Annotated[int | None, typer.Option(help="Most requests a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Most tokens a minute, estimated.")] = None,
    budget_usd: BudgetUSD = None,
    prices: Prices = None,
    max_failed: MaxFailed = None,
    batch: BatchAction = None,
    filter_threshold: Annotated[
        float | None, typer.Option(help="Least probability of a good rationale that is kept, 0 to 1.")
    ] = None,
) -> None:
    """Write rationales for the right and for a wrong label of each labelled row."""
    given = {
        "annotate.limit": limit,
        "annotate.concurrency": concurrency,
        "annotate.requests_per_minute": rpm,
        "annotate.tokens_per_minute": tpm,
        "annotate.filter_threshold": filter_threshold,
        **asking(base_url, budget_usd, prices, max_failed, batch),
    }
    folder = run_goal(request, annotate_goal(request.asked, given))
    if folder:
        echo(f"rationales: {folder.path / 'rationales.jsonl'}")


def asking(
    base_url: str | None, budget_usd: float | None, prices: Path | None, max_failed: float | None, batch: str | None
) -> dict[str, Any]:
    """Options of every command that asks a hosted annotator, as configuration keys."""
    return {
        "annotate.base_url": base_url,
        "annotate.budget_usd": budget_usd,
        "annotate.prices": prices,
        "annotate.max_failed": max_failed,
        "annotate.batch": batch,
    }


def merge(
    journals: Annotated[list[Path], typer.Argument(help="Journals to read; they stay as they are.")],
    into: Annotated[Path, typer.Option(help="Journal that takes their answers over.")],
) -> None:
    """Merge journals of paid answers; of two answers to one request the one that is there first stays."""
    from rewardlab.annotate.journal import Journal

    journal = Journal(into)
    for path in journals:
        taken = journal.merge(path)
        echo(f"{path}: {taken} answers taken over")
    echo(f"{into}: {len(journal)} answers")
