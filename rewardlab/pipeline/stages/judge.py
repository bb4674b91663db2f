"""Two evaluated runs before a judge, as a run folder: asked once, read by reports and claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.annotate.base import Annotator, Progress, Resources, silent
from rewardlab.annotate.registry import annotator_code, choose_annotator, named_annotator
from rewardlab.comparison.evaluations import EvalRun
from rewardlab.config import RunConfig, fingerprint
from rewardlab.evaluation.predict import Decoding
from rewardlab.judge.contests import Contest, Verdict
from rewardlab.judge.verdicts import CODE, ONE_ORDER, ORDERS, STAGE, store_verdicts
from rewardlab.pipeline.context import Context, with_unknown
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stage import JOURNALS
from rewardlab.runs import RunFolder
from rewardlab.tasks.places import named_files
from rewardlab.tasks.sources import Splits

if TYPE_CHECKING:
    from rewardlab.annotate.money import Purse
    from rewardlab.annotate.preview import Preview


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge said, where it is stored, and what the annotator spent (Annotator.spent)."""

    path: Path
    contests: Sequence[Contest]
    verdicts: Sequence[Verdict]
    spent: Mapping[str, Any]


def judge_runs(
    a: EvalRun,
    b: EvalRun,
    config: RunConfig,
    root: Path,
    decoding: Decoding,
    limit: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
    *,
    both_orders: bool = True,
    purse: Purse | None = None,
) -> Judged:
    """Judge the answers of two evaluations side by side and store the verdicts below ``root``.

    Args:
        a, b: The evaluations; they share their test items.
        config: Names the tasks and the annotator.
        root: Folder of runs; answers are journaled there, so that asking again costs nothing.
        decoding: Whose responses are read.
        limit: Most items of a column, drawn; None takes all.
        say: Takes the line that says who judges.
        progress: Told how far the requests are.
        both_orders: Ask twice about each item, and take verdicts that differ for a tie; else in a drawn order.
        purse: What the command spends; None is what this judge spends.
    Raises:
        InputError: They share no item, or the data no longer have those they share.
        AnnotationError: Too many requests failed; nothing is stored but the answers there are.
    """
    from rewardlab.annotate.completion import check_failed
    from rewardlab.judge.contests import judge_contests

    splits = Context(config, root).splits
    contests, kind = _court(a, b, config, splits, decoding, limit, say, both_orders)
    rows = {task: split.labelled for task, split in splits.items()}
    asked = kind.build(Resources(config, root / JOURNALS, rows, purse))
    verdicts = judge_contests(asked, contests, progress, both_orders=both_orders)
    check_failed([(verdict.reason, verdict.detail) for verdict in verdicts], config.annotate.max_failed)
    folder = _folder(a.path, b.path, config, root, decoding, kind, limit, both_orders)
    store_verdicts(folder, (a, b), contests, verdicts)
    return Judged(folder.path, contests, verdicts, asked.spent())


def preview_judging(
    a: EvalRun,
    b: EvalRun,
    config: RunConfig,
    root: Path,
    decoding: Decoding,
    limit: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    *,
    both_orders: bool = True,
) -> Preview | None:
    """What :func:`judge_runs` would ask of a hosted annotator; None when the annotator is free."""
    from rewardlab.annotate.preview import preview_judgements
    from rewardlab.judge.contests import judge_requests

    splits = Context(config, root).splits
    contests, _ = _court(a, b, config, splits, decoding, limit, say, both_orders)
    return preview_judgements(config, judge_requests(contests), list(splits), root / JOURNALS, both_orders=both_orders)


def _court(
    a: EvalRun,
    b: EvalRun,
    config: RunConfig,
    splits: Mapping[str, Splits],
    decoding: Decoding,
    limit: int | None,
    say: Callable[[str], None],
    both_orders: bool,
) -> tuple[list[Contest], type[Annotator]]:
    """What is judged, and by whom."""
    from rewardlab.annotate.bundled import written_tasks
    from rewardlab.judge.contests import read_contests

    tests = {column: {row.id: row for row in rows} for split in splits.values() for column, rows in split.tests.items()}
    contests = read_contests(a.path, b.path, tests, decoding, limit=limit, seed=config.data.test_seed)
    choice = choose_annotator(config, list(splits), written_tasks(splits))
    orders = "in both orders" if both_orders else "each in a drawn order"
    say(f"{len(contests)} pairs, judged by {choice.name} ({choice.reason}), {orders}")
    return contests, choice.kind


def preview_before_answers(config: RunConfig, root: Path, rows: Rows) -> Preview | None:
    """What judging all test rows would ask of a hosted annotator at most; None when the annotator is free."""
    from rewardlab.annotate.preview import preview_unknown_judgements

    splits = Context(config, root, rows).splits
    tests = [row for split in splits.values() for part in split.tests.values() for row in part]
    return preview_unknown_judgements(config, tests, list(splits), root / JOURNALS)


def has_judge(config: RunConfig) -> bool:
    """True when the annotator behind a configuration can tell good rationales."""
    return (named_annotator(config) or _judge(config)).is_judge


def is_judged(a: Path, b: Path, config: RunConfig, root: Path, decoding: Decoding) -> bool:
    """True when :func:`judge_runs` has stored verdicts on all shared items of these evaluation folders."""
    return _folder(a, b, config, root, decoding, _judge(config), None).is_done


def _judge(config: RunConfig) -> type[Annotator]:
    from rewardlab.tasks import resolve_tasks

    names = [task.name for task in resolve_tasks(config.task)]
    return choose_annotator(config, names, may_lack_key=True).kind


def _folder(
    a: Path,
    b: Path,
    config: RunConfig,
    root: Path,
    decoding: Decoding,
    judge: type[Annotator],
    limit: int | None,
    both_orders: bool = True,
) -> RunFolder:
    asked = config.annotate.model_dump(mode="json")
    identity: dict[str, Any] = {
        "a": a.name,
        "b": b.name,
        "decoding": decoding,
        "annotator": judge.name,
        "limit": limit,
    }
    identity |= {"annotate": {key: asked[key] for key in ("model", "oracle_weight", "temperature")}}
    identity |= judge.identity(config, "judge") | ({} if both_orders else {ORDERS: ONE_ORDER})
    if code := with_unknown("annotator", *annotator_code(judge)):
        identity[CODE] = code[judge.name]
    name = f"{a.name}-and-{fingerprint({'stage': STAGE, **identity})}"
    stored = config.model_dump(mode="json")
    return RunFolder(root / STAGE / name, STAGE, identity, stored, named_files(stored))
