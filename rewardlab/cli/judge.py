"""``rewardlab judge``: whose answers an annotator likes better, of two evaluated runs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardlab.cli.annotate import BaseURL, BatchAction, BudgetUSD, MaxFailed, Prices, asking
from rewardlab.cli.output import echo
from rewardlab.lab.asked import RUNS
from rewardlab.lab.execution import counter, say


class OneDecoding(StrEnum):
    """Whose responses are read."""

    SAMPLED = "sampled"
    GREEDY = "greedy"


class Orders(StrEnum):
    """How often a judge is asked about two answers."""

    BOTH = "both"
    ONE = "one"


def judge(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="evaluation, or a run that was evaluated")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="what it is compared with, on the same test items")],
    annotator: Annotated[str | None, typer.Option(help="auto, or one that `rewardlab annotators` lists.")] = None,
    decoding: Annotated[OneDecoding, typer.Option(help="Responses to read.")] = OneDecoding.GREEDY,
    orders: Annotated[
        Orders, typer.Option(help="both: two verdicts that disagree are a tie; one: drawn, half the price.")
    ] = Orders.BOTH,
    limit: Annotated[int | None, typer.Option(min=1, help="Most items of a column, drawn; default: all.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of task data; default: the runs' own.")] = None,
    base_url: BaseURL = None,
    budget_usd: BudgetUSD = None,
    prices: Prices = None,
    max_failed: MaxFailed = None,
    batch: BatchAction = None,
    set: Annotated[list[str] | None, typer.Option(help="Any setting, such as annotate.model=NAME; repeatable.")] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders and journals of answers live.")] = RUNS,
    out: Annotated[Path | None, typer.Option(help="Also write each verdict here, as JSON Lines.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and price the requests, send none.")] = False,
) -> None:
    """Judge two runs' answers side by side (RLLR appendix G), in both orders or one: win, tie, lose with intervals."""
    from rewardlab.config_loading import parse_setting
    from rewardlab.disk import read_only, write_jsonl, writing
    from rewardlab.lab.judged import Verdicts, judging_config, one_evaluation
    from rewardlab.pipeline.stages.judge import judge_runs, preview_judging

    a, b, is_both = one_evaluation(run_a), one_evaluation(run_b), orders is Orders.BOTH
    given = {"annotate.annotator": annotator, "data.dir": data}
    given |= asking(base_url, budget_usd, prices, max_failed, batch)
    config = judging_config(a, {**given, **dict(map(parse_setting, set or []))})
    if dry_run:
        with read_only():
            preview = preview_judging(a, b, config, runs, decoding.value, limit, say, both_orders=is_both)
        echo(preview.text if preview else "free of charge")
        return
    judged = judge_runs(a, b, config, runs, decoding.value, limit, say, counter("judge"), both_orders=is_both)
    verdicts = Verdicts(a, b, judged)
    if out is not None:
        with writing(out):
            write_jsonl(out, verdicts.rows())
    echo(str(verdicts))
    if bill := _bill(judged.spent):
        say(bill)
    say(f"verdicts: {verdicts.folder}")


def _bill(spent: Mapping[str, Any]) -> str:
    """One line; "" where answers are free."""
    if not spent:
        return ""
    tokens = f"{spent['requests']} requests, {spent['prompt_tokens']} + {spent['response_tokens']} tokens"
    if spent["cost_usd"] is None:
        return f"{tokens}; their price is unknown"
    return f"{tokens}, ${spent['cost_usd']:.4f}; answers of earlier runs ${spent['earlier_usd']:.4f}"
