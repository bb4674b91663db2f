"""The reward that an expression stands for: :func:`build_reward`.

``min(label, lam) + ranked`` is RLLR's eq. 4, also called ``mixed``. Each named reward is asked once per batch. A
response gets no score when a part that its value depends on has none. The grammar stands in ``syntax``, what an
expression needs in ``plan``, how it is computed in ``evaluate``, lambda in ``calibration``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, RewardlabError, TrainingError
from rewardlab.rewards.calibration import resolve_lambda
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.evaluate import Parts, Unscored, check_bounds, finite, terms_of
from rewardlab.rewards.plan import RewardPlan, plan_reward
from rewardlab.rewards.registry import find_reward
from rewardlab.types import Example, Reward, Score


class ExpressionReward:
    """The reward an expression stands for; see :class:`rewardlab.types.Reward`.

    Attributes:
        name: The expression as typed.
        needs_gold: True when a part reads gold labels.
        needs_prompt: True when a part reads the task's fields.
        lam: Lambda on the raw scale, logits; None when the expression has none.
    """

    def __init__(self, plan: RewardPlan, parts: Mapping[str, Reward], context: RewardContext) -> None:
        self.name = plan.expression
        self.needs_gold = plan.needs_gold
        self.needs_prompt = plan.needs_prompt
        self.lam = None if plan.lam is None else resolve_lambda(plan.lam, context)
        check_bounds(plan.expression, plan.tree, self.lam, context)
        self._parts = dict(parts)
        self._terms = list(terms_of(plan.tree, self.lam, context))

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response.

        Raises:
            TrainingError: A part raised, naming reward and example, or returned the wrong number of scores.
        """
        asked = {name: _ask(name, part, examples, responses) for name, part in self._parts.items()}
        return [self._total({name: scores[i] for name, scores in asked.items()}) for i in range(len(responses))]

    def _total(self, parts: Parts) -> Score:
        raw = {name: part.score for name, part in parts.items()}
        answer = next((part.answer for part in parts.values() if part.answer is not None), None)
        terms: dict[str, float] = {}
        try:
            for term in self._terms:
                terms[term.text] = terms.get(term.text, 0.0) + term.evaluate(parts)
            total = finite(sum(terms.values()))
        except Unscored as error:
            return Score(None, raw, {}, answer, str(error))
        reason = "; ".join(f"{name}: {part.reason}" for name, part in parts.items() if part.reason)
        return Score(total, raw, terms, answer, reason)


def build_reward(config: RewardConfig, context: RewardContext | None = None) -> ExpressionReward:
    """Build the reward of a configuration.

    Args:
        config: Expression, lambda, r2.
        context: Reward models; None is enough for expressions without learned rewards.
    Raises:
        ExpressionError, ConfigError: As :func:`plan_reward`; ExpressionError also for bounds of ``clip`` that cross
            once lambda and quantiles are known, ConfigError also for a reward model that is missing.
    """
    plan = plan_reward(config)
    given = context or RewardContext(reading=config.reading)
    parts = {name: find_reward(name).build(given) for name in plan.names}
    for name, part in parts.items():
        if part.needs_gold and not find_reward(name).needs_gold:
            raise ConfigError(f"reward {name!r} reads gold labels and its entry says it does not; set needs_gold=True")
    return ExpressionReward(plan, parts, given)


def _ask(name: str, part: Reward, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
    try:
        scores = part(examples, responses)
    except RewardlabError:
        raise
    except Exception as error:
        place = _culprit(part, examples, responses)
        said = "; ".join([str(error), *getattr(error, "__notes__", [])])
        raise TrainingError(f"reward {name!r} raised {type(error).__name__} on {place}: {said}") from error
    if len(scores) != len(responses):
        raise TrainingError(f"reward {name!r} returned {len(scores)} scores for {len(responses)} responses")
    return scores


def _culprit(part: Reward, examples: Sequence[Example], responses: Sequence[str]) -> str:
    """Which example makes ``part`` raise when it stands alone."""
    for example, response in zip(examples, responses, strict=False):
        try:
            part([example], [response])
        except Exception:
            return f"task {example.task} example {example.id}"
    return f"a batch of {len(responses)} (no single example does)"
