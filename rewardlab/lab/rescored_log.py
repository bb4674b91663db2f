"""What another expression would have said of stored responses: :func:`rescore` and ``rewardlab reward rescore``."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RewardConfig
from rewardlab.disk import atomic_file, writing
from rewardlab.errors import ConfigError
from rewardlab.evaluation.rescored import RescoredReport, report
from rewardlab.lab.finished import Run, folder_of
from rewardlab.lab.own_reward import expression_of
from rewardlab.lab.response_logs import Log, StoredRun, columns_of, read_log, read_run, with_parts
from rewardlab.lab.scoring import folders_of
from rewardlab.models.stored import read_sft_scores
from rewardlab.printable import csv_cell
from rewardlab.rewards.plan import plan_reward
from rewardlab.rewards.rescoring import MissingPartsError, Rescored, StoredResponse, lent_parts
from rewardlab.rewards.rescoring import rescore as evaluated
from rewardlab.types import AnswerFormat, PairKind, Reading

if TYPE_CHECKING:
    import polars

RESPONSE_COLUMNS = (
    *("step", "task", "id", "sample", "old", "new"),
    *("correct", "error", "gold", "answer", "reason", "response"),
)
"""Columns of the table with a line a response."""


@dataclass(frozen=True, slots=True)
class RescoreRequest:
    """What ``reward rescore`` was asked; None is what the run itself has, or the default.

    Attributes:
        log: The responses.
        reward: The new expression.
        lam: Its lambda, and that of ``against``.
        r2: Second reward model of ``mixed``.
        reading: How a rule reads answers that is computed anew.
        against: The old expression; None is the stored scores.
        folders: Reward models whose stored scores quantiles and z-scores read.
        scored: Files of ``reward score`` with parts that the log lacks.
    """

    log: Log
    reward: str | None = None
    lam: str | None = None
    r2: PairKind | None = None
    reading: Reading | None = None
    against: str | None = None
    folders: Mapping[PairKind, Path] = field(default_factory=dict)
    scored: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class RescoredLog:
    """Old and new scores of stored responses: what :func:`rescore` gives. ``print`` shows the page.

    Attributes:
        old, new: The expressions as they are called on the page.
        rows, before, rescored: The responses, their old scores and the new ones.
        report: The comparison.
    """

    old: str
    new: str
    rows: Sequence[StoredResponse]
    before: Sequence[float | None]
    rescored: Rescored
    report: RescoredReport

    def text(self, movers: int = 10) -> str:
        """What ``rewardlab reward rescore`` prints, with so many of the responses that change places most."""
        from rewardlab.evaluation.rescored_text import rescored_text

        return rescored_text(self.report, self.old, self.new, self.rescored.computed, movers)

    def __str__(self) -> str:
        return self.text()

    def lines(self) -> Iterator[tuple[Any, ...]]:
        """One line a response, with the values of :data:`RESPONSE_COLUMNS`."""
        for row, old, score in zip(self.rows, self.before, self.rescored.scores, strict=True):
            place = (row.step, row.example.task, row.example.id, row.sample)
            judged = (row.correct, row.error, row.example.label, row.answer, score.reason, row.response)
            yield (*place, old, score.score, *judged)

    def frame(self) -> polars.DataFrame:
        """One row a response: step, task, id, sample, old, new, correct, error, gold, answer, reason, response.

        Gold labels and answers are text where some of them are no numbers.
        """
        from rewardlab.lab.finished import frame_of

        return frame_of([dict(zip(RESPONSE_COLUMNS, line, strict=True)) for line in self.lines()])

    def to_json(self, movers: int) -> dict[str, Any]:
        """JSON-ready."""
        named = {"old": self.old, "new": self.new, "computed": list(self.rescored.computed)}
        return {**named, **self.report.to_json(movers)}


def rescore(
    log: Run | Path | str,
    reward: str | Callable[..., Any] | None = None,
    *,
    lam: str | float | None = None,
    against: str | Callable[..., Any] | None = None,
    r2: PairKind | None = None,
    reading: Reading | None = None,
    rm: Mapping[PairKind, Path | str] | None = None,
    scored: Sequence[Path | str] = (),
    task: str | Path | None = None,
    format: AnswerFormat | None = None,
    columns: Mapping[str, str] | None = None,
    parts: Mapping[str, str] | None = None,
) -> RescoredLog:
    """Try another reward on the stored responses of a run, without a model: ``rewardlab reward rescore`` in Python.

    Args:
        log: A trained run, or a log of another library: .jsonl, .json, .parquet, .csv, or a folder of them.
        reward: Expression or function to try; None: the run's own, as with another ``lam``.
        lam: Lambda; None: the run's own.
        against: Expression or function to compare with; None: the scores that were trained on.
        r2, reading: Second reward model of ``mixed``, and how the rule reads answers; None: the run's own.
        rm: Pair kind -> reward model whose stored scores ``q90`` and ``1.5z`` read; None: the run's own.
        scored: Files of ``rewardlab reward score`` with raw scores that the log lacks.
        task, format: Of a log that does not say them.
        columns: Of a log: step, prompt, response, reward, gold, correct, id -> the name of its column.
        parts: Of a log: reward -> the column of its raw score.
    Raises:
        InputError: The log or the expression cannot be read, or a raw score is missing; the line says how to make it.

    Example:
        >>> import json, pathlib, tempfile, rewardlab as rl
        >>> log = pathlib.Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> rows = [{"step": 1, "id": str(n), "response": "The answer is: Sports " * n, "reward": n} for n in (1, 2, 3)]
        >>> _ = log.write_text("\\n".join(map(json.dumps, rows)))
        >>> rl.rescore(log, "-length").report.swaps.swapped
        3
    """
    named = Log(folder_of(log), columns_of(columns, parts), None if task is None else str(task), format)
    new, old = (None if each is None else expression_of(each) for each in (reward, against))
    folders = folders_of(rm)
    files = [Path(file) for file in scored]
    return run(RescoreRequest(named, new, None if lam is None else str(lam), r2, reading, old, folders, files))


def run(request: RescoreRequest) -> RescoredLog:
    """Read the log, evaluate the expression, compare.

    Raises:
        InputError: The log, the expression, or a part that is missing, with the command that scores it.
    """
    stored = read_run(request.log.path)
    needs = ("response",) if request.against is not None else ("response", "reward")
    rows = with_parts(read_log(request.log, stored, needs), request.scored)
    new = _config(request, stored, rows, request.reward)
    old = None if request.against is None else _config(request, stored, rows, request.against)
    if request.lam is not None and all(each is None or each.lam is None for each in (new, old)):
        raise ConfigError(f"--lambda {request.lam} is given, but {new.expression!r} does not use it; leave it out")
    folders = {**(stored.folders if stored else {}), **request.folders}
    sft_scores: dict[str, list[float]] = {kind: read_sft_scores(folder) for kind, folder in folders.items()}
    fresh = ["rule"] if stored and new.reading != stored.reward.reading else []
    try:
        rescored = evaluated(rows, new, sft_scores, fresh)
        before = [row.score for row in rows]
        if old is not None:
            before = [score.score for score in evaluated(rows, old, sft_scores).scores]
    except MissingPartsError as error:
        raise ConfigError(f"{error}. {_how_to_score(request, stored, error)}") from error
    named = request.against or (stored.reward.expression if stored else "the stored scores")
    return RescoredLog(named, new.expression, rows, before, rescored, report(rows, before, rescored))


def write_csv(path: Path, rescored: RescoredLog) -> None:
    """One line a response with its old and its new score.

    Raises:
        InputError: The file cannot be written.
    """
    with writing(path), atomic_file(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(RESPONSE_COLUMNS)
        table.writerows([csv_cell(value) for value in line] for line in rescored.lines())


def to_json_text(outcome: RescoredLog, movers: int) -> str:
    """The whole comparison as indented JSON."""
    return json.dumps(outcome.to_json(movers), indent=2, ensure_ascii=False)


def _config(
    request: RescoreRequest, stored: StoredRun | None, rows: Sequence[StoredResponse], expression: str | None
) -> RewardConfig:
    """The expression with the settings of the run where none are given; lambda goes to those that use it."""
    own = stored.reward if stored else RewardConfig()
    if expression is None and stored is None:
        raise ConfigError(f"{request.log.path}: no run, so that --reward must say which expression to try")
    bare = RewardConfig(
        expression=expression or own.expression, r2=request.r2 or own.r2, reading=request.reading or own.reading
    )
    lam = request.lam or own.lam
    if lam is None:
        return bare
    with lent_parts(rows):
        try:
            plan_reward(bare)
        except ConfigError:
            return bare.model_copy(update={"lam": lam})
    return bare


def _how_to_score(request: RescoreRequest, stored: StoredRun | None, error: MissingPartsError) -> str:
    """The command that makes the missing parts, and the option that reads them."""
    names = [part.name for part in error.parts]
    if stored is None and all(part.entry.pair_kind is None for part in error.parts):
        return (
            f"Name a column with --part {names[0]}=COLUMN; where gold labels are what it lacks, with --gold-column and "
            "--task"
        )
    models = " ".join(f"--rm {part.name}=DIR" for part in error.parts if part.entry.pair_kind)
    source = f"--run {shlex.quote(str(request.log.path))}"
    if stored is None:
        source = f"--task {request.log.task or 'TASK'} --input {shlex.quote(str(request.log.path))}"
    file = f"{'-'.join(name for name in names if name.isidentifier()) or 'parts'}.jsonl"
    command = f"rewardlab reward score {source} --reward {shlex.quote(' + '.join(names))} {models}".rstrip()
    return f"Score them: `{command} --output {file}`, then add --parts {file}"
