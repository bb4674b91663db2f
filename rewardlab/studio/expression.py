"""Another reward on the stored samples of a run: what would change in their order, their means and their agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import polars as pl
from pydantic import ValidationError

from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, RewardlabError
from rewardlab.evaluation.rescored import RescoredReport, report
from rewardlab.evaluation.reward_difference import Disagreement
from rewardlab.models.stored import read_sft_scores
from rewardlab.rewards.plan import plan_reward
from rewardlab.rewards.rescoring import StoredResponse, lent_parts, rescore, stored_parts
from rewardlab.studio.index import StudioRun
from rewardlab.studio.one_sample import load_tasks
from rewardlab.studio.tables import PART
from rewardlab.tasks.places import is_known
from rewardlab.tasks.task import tasks
from rewardlab.training.methods import methods
from rewardlab.types import ANSWER_FORMATS, AnswerFormat, Example, Label

MOST = 2000
"""Responses that an expression is tried on; of longer runs whole steps, evenly spread."""
RESAMPLES = 100
"""Of the intervals: a page answers at once; ``rewardlab reward rescore`` takes ten times as many."""
MOVERS = 20
_LOCK = Lock()  # an expression's names are lent to the registry of rewards for a moment, which all requests share


@dataclass(frozen=True, slots=True)
class Tried:
    """What an expression came to.

    Attributes:
        expression, lam: As they were tried.
        report: The comparison with the trained scores.
        computed: Parts that were not stored and were computed from texts and gold labels.
        movers: (number of the sample, its two scores and places), those that change places most first.
    """

    expression: str
    lam: str | None
    report: RescoredReport
    computed: Sequence[str]
    movers: Sequence[tuple[int, Disagreement]]


@dataclass(frozen=True, slots=True)
class Samples:
    """The responses that expressions are tried on.

    Attributes:
        rows: By step.
        numbers: Of each in its file.
        steps, all_steps: Steps that they are from, and steps of the run.
    """

    rows: Sequence[StoredResponse]
    numbers: Sequence[int]
    steps: int
    all_steps: int


def stored_reward(run: StudioRun) -> RewardConfig:
    """The reward that a run was trained on; lambda is the number that it was resolved to, where the run is finished.

    Raises:
        ConfigError: Its configuration does not say.
    """
    try:
        reward = RewardConfig.model_validate(run.config["config"]["reward"])
    except (KeyError, TypeError, ValidationError) as error:
        raise ConfigError(
            f"{run.key}: its configuration names no reward; expected a run of a training method"
        ) from error
    lam = run.result.get("lambda")
    return reward.model_copy(update={"lam": repr(lam)}) if isinstance(lam, float) else reward


def can_be_tried(run: StudioRun, frame: pl.DataFrame | None) -> bool:
    """Whether a run has scored samples of training steps."""
    return run.kind in methods.every() and frame is not None and {"step", "score", "response"} <= set(frame.columns)


def samples_of(run: StudioRun, frame: pl.DataFrame, *, runs_code: bool = False) -> Samples:
    """The responses of a ledger, at most :data:`MOST`.

    Args:
        run: The run.
        frame: Its ledger.
        runs_code: Its task may be read from a Python file.
    Raises:
        InputError: Its task file is not to be found, or cannot be used.
    """
    load_tasks(run, frame["task"].unique().to_list(), runs_code=runs_code)
    steps = frame["step"].unique().sort().to_list()
    a_step = max(1, frame.height // len(steps))
    count = min(len(steps), max(1, MOST // a_step))
    chosen = [steps[number * len(steps) // count] for number in range(count)]
    kept = frame.filter(pl.col("step").is_in(chosen)).sort("step", "row")
    stored = (run.config.get("config") or {}).get("format")
    form: AnswerFormat = next((each for each in ANSWER_FORMATS if each == stored), "rationale")
    parts = {name.removeprefix(PART): name for name in frame.columns if name.startswith(PART)}
    labelled = zip(kept.iter_rows(named=True), _labels(kept), strict=True)
    return Samples(
        [_stored(row, parts, label, form) for row, label in labelled], kept["row"].to_list(), count, len(steps)
    )


def try_expression(
    run: StudioRun,
    samples: Samples,
    expression: str,
    lam: str,
    reward_models: Mapping[str, StudioRun],
    *,
    runs_code: bool = False,
) -> Tried:
    """Score stored responses with another expression and compare.

    Args:
        run: The run.
        samples: Its responses.
        expression: As typed.
        lam: As typed; empty takes the run's own where the expression uses one.
        reward_models: Kind -> run of the reward model whose scores quantiles and z-scores read.
        runs_code: Names of Python callables are allowed, and imported.
    Raises:
        ConfigError: The expression or lambda cannot be used, or names a callable and may not.
        RewardlabError: A part is neither stored nor can be computed.
    """
    if ":" in expression and not runs_code:
        raise ConfigError(f"{expression!r} names a Python callable; start the studio with --own-code to execute it")
    own = stored_reward(run)
    before = [row.score for row in samples.rows]
    sft_scores = {kind: read_sft_scores(model.path) for kind, model in reward_models.items()}
    with _LOCK:
        config = _config(own, expression, lam, samples.rows)
        rescored = rescore(samples.rows, config, sft_scores)
    found = report(samples.rows, before, rescored, resamples=RESAMPLES)
    number = {id(row.example): place for row, place in zip(samples.rows, samples.numbers, strict=True)}
    movers = [(number[id(each.judged.example)], each) for each in found.movers[:MOVERS] if each.gap]
    return Tried(expression, config.lam, found, rescored.computed, movers)


def names_of(samples: Samples) -> list[str]:
    """Parts that an expression can use without a model."""
    try:
        return stored_parts(samples.rows)
    except RewardlabError:
        return []


def _config(own: RewardConfig, expression: str, lam: str, rows: Sequence[StoredResponse]) -> RewardConfig:
    """The expression with the run's own settings; lambda only where the expression uses one, or one was typed."""
    bare = RewardConfig(expression=expression, r2=own.r2, reading=own.reading)
    with lent_parts(rows):
        if lam:
            return bare.model_copy(update={"lam": lam})
        try:
            plan_reward(bare)
        except ConfigError:
            return bare.model_copy(update={"lam": own.lam})
    return bare


def _stored(
    row: Mapping[str, object], parts: Mapping[str, str], label: Label | None, form: AnswerFormat
) -> StoredResponse:
    """A row of the table as a stored response.

    Args:
        row: The row.
        parts: Part -> its column.
        label: Its gold label, as its task has it.
        form: Answer format.
    """
    correct = row.get("correct")
    return StoredResponse(
        step=int(str(row["step"])),
        example=Example(str(row["task"]), str(row["id"]), {}, label, form),
        response=str(row["response"]),
        parts={name: _number(row[column]) for name, column in parts.items()},
        score=_number(row.get("score")),
        correct=None if correct is None else float(bool(correct)),
        error=_number(row.get("error")),
        answer=None if row.get("answer") is None else str(row["answer"]),
        sample=int(str(row.get("sample") or 0)),
    )


def _labels(frame: pl.DataFrame) -> list[Label | None]:
    """Gold labels as their tasks have them; tables hold all of them as texts."""
    if "gold" not in frame.columns:
        return [None] * frame.height
    numeric = {name for name in frame["task"].unique() if is_known(name) and tasks.get(name).is_numeric}
    pairs = frame.select("task", "gold").iter_rows()
    return [float(gold) if gold is not None and task in numeric else gold for task, gold in pairs]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
