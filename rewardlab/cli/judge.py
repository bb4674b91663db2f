"""``rewardlab judge``: whose answers an annotator likes better, of two evaluated runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardlab.cli.options import RUNS

if TYPE_CHECKING:
    from rewardlab.config import RunConfig
    from rewardlab.reports.collect import EvalRun


class OneDecoding(StrEnum):
    """Whose responses are read."""

    SAMPLED = "sampled"
    GREEDY = "greedy"


def judge(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="evaluation, or a run that was evaluated")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="what it is compared with, on the same test items")],
    annotator: Annotated[str | None, typer.Option(help="auto, openai, local, bundled, template, sandbox.")] = None,
    decoding: Annotated[OneDecoding, typer.Option(help="Responses to read.")] = OneDecoding.GREEDY,
    limit: Annotated[int | None, typer.Option(min=1, help="Most items of a column, drawn; default: all.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of task data; default: the runs' own.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="Any setting, such as annotate.model=NAME; repeatable.")] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders and journals of answers live.")] = RUNS,
    out: Annotated[Path | None, typer.Option(help="Also write each verdict here, as JSON Lines.")] = None,
) -> None:
    """Judge two runs' answers side by side, in both orders (RLLR appendix G): win, tie, lose with intervals."""
    from rewardlab.pipeline.judging import judge_runs
    from rewardlab.reports.judged import judged_lines, tallies
    from rewardlab.runs import write_jsonl

    a, b = _one(run_a), _one(run_b)
    config = _config(a, {"annotate.annotator": annotator, "data.dir": data}, set or [])
    found = judge_runs(a, b, config, runs, decoding.value, limit, lambda line: typer.echo(line, err=True))
    for line in judged_lines(*_names(a, b), tallies(found.contests, found.verdicts)):
        typer.echo(line)
    for name, amount in found.spent.items():
        typer.echo(f"{name}: {amount}", err=True)
    typer.echo(f"verdicts: {found.path}", err=True)
    if out is not None:
        write_jsonl(
            out,
            [
                {
                    "column": c.column,
                    "id": c.example.id,
                    "winner": v.winner,
                    "orders_agree": v.orders_agree,
                    "a": c.a,
                    "b": c.b,
                }
                for c, v in zip(found.contests, found.verdicts, strict=True)
            ],
        )


def _one(path: Path) -> EvalRun:
    """The evaluation that ``path`` stands for; raises InputError for none or several."""
    from rewardlab.errors import InputError
    from rewardlab.reports.collect import collect

    found = collect([path]).runs
    if len(found) > 1:
        listed = ", ".join(run.path.name for run in found[:3])
        raise InputError(f"{path}: stands for {len(found)} evaluations ({listed}, ...); name one of them")
    return found[0]


def _config(run: EvalRun, given: dict[str, Any], settings: list[str]) -> RunConfig:
    """The run's own configuration under what the command line says."""
    from rewardlab.cli.evaluated import flattened, stored_config
    from rewardlab.config import NO_FILE, load_config, parse_setting

    own = {key: value for key, value in given.items() if value is not None}
    stored = flattened(stored_config(run.path).model_dump(mode="json"))
    return load_config({**stored, **own, **dict(parse_setting(text) for text in settings)}, NO_FILE)


def _names(a: EvalRun, b: EvalRun) -> tuple[str, str]:
    """Methods, with the seed where the method is the same."""
    if a.key.method != b.key.method:
        return a.key.method, b.key.method
    return f"{a.key.method} (seed {a.seed})", f"{b.key.method} (seed {b.seed})"
