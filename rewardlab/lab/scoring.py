"""Rewards on answers without training, tasks by name, and the list of training methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, flattened, load_config
from rewardlab.errors import ConfigError, DataError
from rewardlab.lab.asked import RUNS
from rewardlab.lab.own_reward import expression_of
from rewardlab.pipeline.stage import JOURNALS
from rewardlab.rewards import RewardPlan, build_reward, label_shares, plan_reward
from rewardlab.rewards.learned import reward_context
from rewardlab.rewards.registry import find_reward
from rewardlab.rewards.trl_functions import is_trl_style
from rewardlab.tasks import resolve_task
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.task import Task
from rewardlab.training.methods import TrainingMethod
from rewardlab.training.methods import methods as registered
from rewardlab.types import ANSWER_FORMATS, PAIR_KINDS, AnswerFormat, Example, Label, PairKind, Reading, Score

if TYPE_CHECKING:
    from rewardlab.annotate.grading import RubricReward


def score(
    reward: str | Callable[..., Any],
    task: Task | str | Path,
    responses: Sequence[str],
    labels: Sequence[Label | None] | None = None,
    *,
    examples: Sequence[Example] | None = None,
    ids: Sequence[str] | None = None,
    format: AnswerFormat = "rationale",
    lam: str | float | None = None,
    r2: PairKind = "ranked",
    reading: Reading = "lenient",
    rm: Mapping[PairKind, Path | str] | None = None,
    settings: Mapping[str, Any] | None = None,
    runs: Path | str = RUNS,
) -> list[Score]:
    """Score responses with any reward, without training: ``rewardlab reward score`` in Python.

    Args:
        reward: An expression, or a function that is registered or could be (:func:`rewardlab.reward`).
        task: The task whose answers these are: itself, its name, or its file.
        responses: The answers.
        labels: Gold labels, one a response, where the reward reads them.
        examples: Whole rows in place of labels (``Lab.rows`` gives them); a reward model reads their fields.
        ids: Which prompt each response answers; responses to one prompt share an id. Default: each its own.
        format: The answer format of the responses, where no examples are given.
        lam, r2: Lambda and second reward model of ``mixed``, as for ``--lambda`` and ``--r2``.
        reading: How the rule reads answers.
        rm: Pair kind -> folder of a trained reward model that the expression names.
        settings: Of ``[rubric]`` and ``[annotate]``, by their dotted keys, where the expression names ``rubric``.
        runs: Folder of runs, in which the grades of a rubric are kept.
    Returns:
        One score a response: its value (None where judging failed), the raw parts, the terms, the answer that was read.
    Raises:
        ExpressionError, ConfigError: The expression cannot be read, or lacks a reward model or lambda.
        DataError: A label is none of the task's, is missing where the reward needs it, or lengths differ.

    Example:
        >>> import rewardlab as rl
        >>> responses = ["A match. \\n\\n The answer is: Sports", "Shares fell. \\n\\n The answer is: World"]
        >>> scores = rl.score("rule - 0.1 * length", "agnews", responses, ["Sports", "Business"])
        >>> [round(score.score, 3) for score in scores]
        [0.994, -0.006]
        >>> scores[1].answer.value
        'World politics'
    """
    named = {"expression": expression_of(reward), "lam": lam, "r2": r2, "reading": reading}
    asked = {**flattened(settings or {}), **{f"reward.{name}": value for name, value in named.items()}}
    run = load_config(asked, NO_FILE)
    config, plan, folders = run.reward, plan_reward(run.reward), folders_of(rm)
    rows = answered_rows([plan], task, responses, labels, examples=examples, ids=ids, format=format)
    shares = label_shares(rows) if plan.needs_shares else None
    rubric = grader_of([plan], run, {row.task for row in rows}, Path(runs))
    return build_reward(config, reward_context([plan], folders, reading, shares, rubric))(rows, responses)


def folders_of(rm: Mapping[PairKind, Path | str] | None) -> dict[PairKind, Path]:
    """Folders of reward models as they are given in Python; raises ConfigError for what is no pair kind."""
    if unknown := sorted(set(rm or {}) - set(PAIR_KINDS)):
        raise ConfigError(f"rm names {', '.join(map(str, unknown))}; expected some of {', '.join(PAIR_KINDS)}")
    return {kind: Path(folder) for kind, folder in (rm or {}).items()}


def grader_of(
    plans: Sequence[RewardPlan], config: RunConfig, tasks: Collection[str], runs: Path
) -> RubricReward | None:
    """Who grades by the rubric, where one of the expressions asks for it.

    Args:
        plans: What the expressions need.
        config: Sections ``rubric``, ``annotate`` and ``model`` are read.
        tasks: Names of the tasks whose answers are graded.
        runs: Folder of runs, which has the annotators' journals.
    Raises:
        InputError: Nobody can grade, or the rubric cannot be used.
    """
    if not any(plan.needs_rubric for plan in plans):
        return None
    from rewardlab.annotate.grading import rubric_reward

    return rubric_reward(config, sorted(tasks), runs / JOURNALS)


def answered_rows(
    plans: Sequence[RewardPlan],
    task: Task | str | Path,
    responses: Sequence[str],
    labels: Sequence[Label | None] | None,
    *,
    examples: Sequence[Example] | None,
    ids: Sequence[str] | None,
    format: AnswerFormat,
) -> Sequence[Example]:
    """The row that each response answers, checked for what the rewards read of it.

    Args:
        plans: What the rewards read.
        task, responses, labels, examples, ids, format: As :func:`score` takes them.
    Raises:
        ConfigError, DataError: As :func:`score`.
    """
    if format not in ANSWER_FORMATS:
        raise ConfigError(f"score: format = {format!r}; expected {', '.join(ANSWER_FORMATS)}")
    found = task if isinstance(task, Task) else resolve_task(str(task), "score")
    rows = examples if examples is not None else _examples(found, len(responses), labels, ids, format)
    for plan in plans:
        _check(plan, rows, responses, has_fields=examples is not None, has_both=None not in (labels, examples))
        if plan.needs_groups and ids is None and examples is None:
            raise DataError(
                f"reward {plan.expression!r} compares the responses to one prompt; give ids=, equal for those"
            )
    return rows


def load_task(task: str | Path) -> Task:
    """The task of a name, or of a task file (``tickets/tickets.toml``).

    Raises:
        InputError: No task has that name, the file cannot be used, or several are named.

    Example:
        >>> import rewardlab as rl
        >>> task = rl.load_task("agnews")
        >>> task.labels
        ('World politics', 'Sports', 'Business', 'Science and technology')
        >>> task.parse("A match. \\n\\n The answer is: Sports", "rationale").value
        'Sports'
    """
    return resolve_task(str(task), "load_task")


def methods() -> list[TrainingMethod]:
    """The training methods that ``Lab.train`` takes, those of installed packages included.

    Example:
        >>> import rewardlab as rl
        >>> {method.name: method.needs for method in rl.methods()}["ppo"]
        ('reward', 'critic')
    """
    return [registered.get(name) for name in registered.every()]


def _examples(
    task: Task, count: int, labels: Sequence[Label | None] | None, ids: Sequence[str] | None, format: AnswerFormat
) -> list[Example]:
    """Rows that are known by their labels alone."""
    for name, column in (("labels", labels), ("ids", ids)):
        if column is not None and len(column) != count:
            raise DataError(f"score: {len(column)} {name} for {count} responses; expected one each")
    read = [_label(task, place, value) for place, value in enumerate(labels or [None] * count)]
    names = [str(place) for place in range(count)] if ids is None else ids
    return [Example(task.name, str(name), {}, label, format) for name, label in zip(names, read, strict=True)]


def _label(task: Task, place: int, value: Label | None) -> Label | None:
    try:
        return None if value is None else read_label(value, task)
    except RowProblem as problem:
        raise DataError(f"labels[{place}]: {problem}; task {task.name}") from problem


def _shows_prompts(name: str) -> bool:
    """True for a reward that is given prompts, such as a function in TRL's form."""
    entry = find_reward(name)
    return entry.shows_prompt or (callable(entry.code) and is_trl_style(entry.code))


def _check(
    plan: RewardPlan, rows: Sequence[Example], responses: Sequence[str], *, has_fields: bool, has_both: bool
) -> None:
    """Refuse what the reward could not judge; raises ConfigError or DataError."""
    if has_both:
        raise ConfigError("score: labels and examples are both given; examples have their labels, leave labels out")
    if len(rows) != len(responses):
        raise DataError(f"score: {len(rows)} examples for {len(responses)} responses; expected one each")
    if (plan.pair_kinds or plan.needs_rubric or any(map(_shows_prompts, plan.names))) and not has_fields:
        raise DataError(
            f"reward {plan.expression!r} reads prompts; give examples=, as lab.rows('test') has them, not labels alone"
        )
    if plan.needs_gold and (lacking := [place for place, row in enumerate(rows) if row.label is None]):
        raise DataError(
            f"reward {plan.expression!r} needs gold labels; response {lacking[0]} has none: give labels= or examples="
        )
