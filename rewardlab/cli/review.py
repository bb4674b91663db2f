"""``rewardlab annotate review``: look over a sample of annotations in the terminal, or hand it to another tool."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rewardlab.cli.output import echo
from rewardlab.errors import InputError, RewardlabError
from rewardlab.lab.asked import RUNS
from rewardlab.printable import printable, printable_lines

if TYPE_CHECKING:
    from rewardlab.annotate.review import Review, ReviewItem

FOLDER = Path("annotations")
PAIRS_SHOWN = 10
"""Pairs of reviewers that are printed, those with the most items in common."""


def review(
    run: Annotated[Path | None, typer.Argument(help="Folder of an annotate run; default: the latest one.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Annotations to look at, drawn at random.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the draw; the same seed shows the same sample.")] = 0,
    into: Annotated[Path, typer.Option(help="Folder of the verdicts (reviews.jsonl).")] = FOLDER,
    reviewer: Annotated[str, typer.Option(help="Name that the verdicts carry.")] = "",
    tool: Annotated[Literal["argilla", "label-studio"], typer.Option(help="Of --export and --read.")] = "argilla",
    export: Annotated[Path | None, typer.Option(help="Write the sample to this JSON file, ask nothing.")] = None,
    read: Annotated[Path | None, typer.Option(help="Take verdicts from this JSON file, ask nothing.")] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders live.")] = RUNS,
) -> None:
    """Accept, reject or edit sampled annotations; verdicts are kept and compared with the filter's.

    They measure the annotator and the filter and are a record of your own: SFT and pairs go on using what the
    annotator wrote and the filter kept, an edited text too changes nothing there.
    """
    from rewardlab.annotate.review import agreement, changed, every_review, review_items, sample_items, store_review
    from rewardlab.annotate.review_formats import export_reviews, import_reviews

    if export and read:
        raise InputError("--export and --read: one at a time; export first, review there, then read")
    folder = run or _latest(runs)
    items = review_items(folder, partial(_prompts, folder, runs))
    every = every_review(into)
    reviews = {review.key: review for review in every}
    if export:
        drawn = sample_items(items, sample, seed)
        export_reviews(export, tool, drawn, every)
        echo(f"{export}: {len(drawn)} annotations for {tool}")
        return
    by_key = {item.key: item for item in items}
    given = (
        changed(import_reviews(read, tool, items), every)
        if read
        else _asked(sample_items(items, sample, seed, _judged_by(reviewer, every)), reviewer)
    )
    for verdict in given:
        store_review(into, by_key[verdict.key], verdict)
        reviews[verdict.key] = verdict
        every.append(verdict)
    _print_agreement(agreement(items, reviews), into)
    _print_between([verdict for verdict in every if verdict.key in by_key])


def _judged_by(reviewer: str, every: list[Review]) -> set[str]:
    """Items that need no further verdict: those of that reviewer, or of anybody for one without a name."""
    return {review.key for review in every if not reviewer or review.reviewer == reviewer}


def _asked(items: list[ReviewItem], reviewer: str) -> Iterator[Review]:
    """Verdicts from the terminal, until one is refused."""
    for number, item in enumerate(items, 1):
        _show(item, f"{number} of {len(items)}")
        verdict = _ask(item, reviewer)
        if verdict is None:
            return
        yield verdict


def _show(item: ReviewItem, place: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.panel import Panel

    opinion = "kept" if item.kept else "dropped"
    share = "" if item.good is None else f", good with probability {item.good:.2f}"
    console = Console()
    prompt, text = printable_lines(item.prompt or "(the row is not at hand)"), printable_lines(item.text)
    console.rule(escape(printable(f"{place}: {item.task} {item.id}")))
    console.print(escape(prompt), highlight=False)
    console.print(Panel(escape(text), title=escape(printable(f"argues for: {item.label}")), title_align="left"))
    console.print(f"the filter {opinion} it{share}", style="dim", highlight=False)


def _ask(item: ReviewItem, reviewer: str) -> Review | None:
    """The verdict on one item; None ends the review."""
    from rewardlab.annotate.review import Review

    while True:
        key = str(typer.prompt("[a]ccept, [r]eject, [e]dit, [q]uit")).strip().lower()[:1]
        if key == "q":
            return None
        if key == "a":
            return Review(item.key, "accept", reviewer=reviewer)
        if key == "r":
            return Review(item.key, "reject", reviewer=reviewer)
        if key == "e":
            return Review(item.key, "edit", str(typer.prompt("new text")), reviewer)


def _print_agreement(found: dict[str, Any], into: Path) -> None:
    echo(f"verdicts: {into / 'reviews.jsonl'}, {found['reviewed']} on this run")
    if not found["reviewed"]:
        return
    echo(
        f"filter and reviewer agree on {found['agree']:.1%}: kept and accepted {found['kept_accepted']}, "
        f"kept and rejected {found['kept_rejected']}, dropped and accepted {found['dropped_accepted']}, "
        f"dropped and rejected {found['dropped_rejected']}"
    )
    named = [(name, found[name]) for name in ("precision", "recall")]
    echo("of the filter's drops: " + ", ".join(f"{n} {'–' if v is None else f'{v:.1%}'}" for n, v in named))


def _print_between(every: list[Review]) -> None:
    from rewardlab.annotate.review import between_reviewers

    found = between_reviewers(every)
    if found.agree is None:
        return
    kappa = "" if found.kappa is None else f", kappa {found.kappa:.2f}"
    echo(f"reviewers agree on {found.agree:.1%} of the {found.items} items that several have judged{kappa}")
    for pair in found.pairs[:PAIRS_SHOWN] if len(found.pairs) > 1 else ():
        names = " and ".join(name or "(no name)" for name in pair.reviewers)
        kappa = "–" if pair.kappa is None else f"{pair.kappa:.2f}"
        echo(f"  {names}: {pair.agree:.1%} of {pair.items}, Cohen's kappa {kappa}")
    if len(found.pairs) > PAIRS_SHOWN:
        echo(f"  and {len(found.pairs) - PAIRS_SHOWN} more pairs")


def _latest(runs: Path) -> Path:
    folders = [path.parent for path in (runs / "annotate").glob("*/rationales.jsonl")]
    if not folders:
        raise InputError(f"{runs / 'annotate'}: no annotate run; run `rewardlab annotate` first or name its folder")
    return max(folders, key=lambda folder: (folder / "rationales.jsonl").stat().st_mtime)


def _prompts(run: Path, runs: Path) -> dict[tuple[str, str], str]:
    """The prompts of a run's rows; none where its data is gone, since the texts can be read without."""
    from rewardlab.lab.stored import stored_config
    from rewardlab.pipeline import Pipeline
    from rewardlab.tasks.task import prompt_of

    try:
        splits = Pipeline(stored_config(run, finished=False), runs).splits
    except RewardlabError as error:
        echo(f"the rows cannot be shown: {error}", err=True)
        return {}
    rows = [row for split in splits.values() for row in (*split.labelled, *split.validation)]
    return {(row.task, row.id): prompt_of(row) for row in rows}
