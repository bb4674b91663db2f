"""Two rewards on the same answers, without training: which order each of them puts the answers in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RewardConfig
from rewardlab.config_loading import NO_FILE, flattened, load_config
from rewardlab.errors import ConfigError
from rewardlab.evaluation.reward_difference import JudgedTwice, RewardDifference, judge_twice
from rewardlab.evaluation.reward_difference import reward_difference as measured
from rewardlab.lab.asked import RUNS
from rewardlab.lab.own_reward import expression_of
from rewardlab.lab.scoring import answered_rows, folders_of, grader_of
from rewardlab.rewards import RewardPlan, build_reward, label_shares, plan_reward
from rewardlab.rewards.context import LabelShares
from rewardlab.rewards.learned import reward_context
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat, Example, Label, PairKind, Reading, Reward

if TYPE_CHECKING:
    import polars

Batches = Iterable[tuple[Sequence[Example], Sequence[str]]]
"""Examples with the responses to them, scored a batch at a time."""


@dataclass(frozen=True, slots=True)
class RewardsDiffer:
    """How two rewards differ on the same answers: what :func:`reward_difference` gives. ``print`` shows the page.

    Attributes:
        a, b: The two expressions.
        answers: How many answers there are.
        found: Rank correlation, winners among answers to one prompt, and every answer with its two places.
    """

    a: str
    b: str
    answers: int
    found: RewardDifference

    def rows(self) -> list[dict[str, Any]]:
        """One row an answer that both scored, the largest disagreement first.

        ``id``, the scores ``a`` and ``b``, ``place_a`` and ``place_b`` (share of the other answers below it),
        ``closeness`` to gold, ``gold``, ``response``.
        """
        return [
            {
                "id": row.judged.example.id,
                "a": row.judged.a,
                "b": row.judged.b,
                "place_a": round(row.place_a, 6),
                "place_b": round(row.place_b, 6),
                "closeness": row.judged.closeness,
                "gold": row.judged.example.label,
                "response": row.judged.response,
            }
            for row in self.found.disagreements
        ]

    def frame(self) -> polars.DataFrame:
        """The rows as a data frame."""
        from rewardlab.lab.finished import frame_of

        return frame_of(self.rows())

    def text(self, most: int = 10) -> str:
        """What ``rewardlab reward diff`` prints, with so many of the largest disagreements."""
        from rewardlab.evaluation.reward_difference_text import difference_text

        return difference_text(self.found, self.a, self.b, self.answers, most)

    def __str__(self) -> str:
        return self.text()


def reward_difference(
    a: str | Callable[..., Any],
    b: str | Callable[..., Any],
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
) -> RewardsDiffer:
    """Compare two rewards on the same answers: ``rewardlab reward diff`` in Python.

    Args:
        a, b: Expressions or functions, as :func:`rewardlab.score` takes them.
        task, responses, labels, examples, ids, format, r2, reading, rm, settings, runs: See :func:`rewardlab.score`.
        lam: Lambda of those that use it.
    Raises:
        InputError: As :func:`rewardlab.score`; or neither uses the lambda that is given.

    Example:
        >>> import rewardlab as rl
        >>> responses = ["A match. \\n\\n The answer is: Sports", "The answer is: Sports", "The answer is: Business"]
        >>> labels = ["Sports", "Sports", "Sports"]
        >>> differ = rl.reward_difference("rule", "length", "agnews", responses, labels, ids=["1", "1", "1"])
        >>> differ.found.winners.same, differ.found.winners.flipped, differ.found.winners.one_ties
        (1, 0, 2)
        >>> sorted(differ.frame()["a"])
        [0.0, 1.0, 1.0]
    """
    expressions = expression_of(a), expression_of(b)
    named = {"reward.lam": lam, "reward.r2": r2, "reward.reading": reading}
    run = load_config({**flattened(settings or {}), **named}, NO_FILE)
    configs = both_configs(*expressions, run.reward)
    plans, folders = [plan_reward(config) for config in configs], folders_of(rm)
    rows = answered_rows(plans, task, responses, labels, examples=examples, ids=ids, format=format)
    shares = label_shares(rows) if any(plan.needs_shares for plan in plans) else None
    rubric = grader_of(plans, run, {row.task for row in rows}, Path(runs))
    return difference_of(configs, plans, [(rows, responses)], folders, shares, rubric)


def both_configs(a: str, b: str, shared: RewardConfig) -> list[RewardConfig]:
    """The configurations of two expressions; lambda goes to those that use it.

    Args:
        a, b: The expressions.
        shared: Lambda, r2 and reading.
    Raises:
        ConfigError: Neither uses the lambda that is given.
    """
    configs = [_config(expression, shared) for expression in (a, b)]
    if shared.lam is not None and all(config.lam is None for config in configs):
        raise ConfigError(f"--lambda {shared.lam} is given, but neither {a!r} nor {b!r} uses it")
    return configs


def difference_of(
    configs: Sequence[RewardConfig],
    plans: Sequence[RewardPlan],
    batches: Batches,
    folders: Mapping[PairKind, Path],
    shares: LabelShares | None = None,
    rubric: Reward | None = None,
) -> RewardsDiffer:
    """Score every answer with both rewards, and compare.

    Args:
        configs, plans: Of the two rewards.
        batches: The answers.
        folders: Trained reward models by pair kind.
        shares: Of the gold labels, where a reward needs them.
        rubric: Who grades by the rubric, where a reward needs it.
    """
    context = reward_context(plans, folders, configs[0].reading, shares, rubric)
    a, b = (build_reward(config, context) for config in configs)
    judged: list[JudgedTwice] = []
    for examples, responses in batches:
        judged += judge_twice(examples, responses, a(examples, responses), b(examples, responses))
    return RewardsDiffer(configs[0].expression, configs[1].expression, len(judged), measured(judged))


def _config(expression: str, shared: RewardConfig) -> RewardConfig:
    bare = shared.model_copy(update={"expression": expression, "lam": None})
    if shared.lam is None:
        return bare
    try:
        plan_reward(bare)
    except ConfigError:
        return bare.model_copy(update={"lam": shared.lam})
    return bare
