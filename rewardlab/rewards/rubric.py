"""``rubric``: a model grades the response by written criteria; who asks it stands in ``rewardlab.annotate.grading``."""

from __future__ import annotations

from rewardlab.errors import ConfigError
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.registry import RewardEntry, rewards
from rewardlab.types import Reward

NAME = "rubric"


def _build(context: RewardContext) -> Reward:
    if context.rubric is None:
        raise ConfigError(
            "reward 'rubric' needs somebody who grades, and nobody does here; it is for training, `rewardlab reward "
            "score` and best-of-N, with the settings [rubric]"
        )
    return context.rubric


rewards.add(
    NAME,
    RewardEntry(
        NAME,
        _build,
        "grade by a written rubric, as a share of its scale, 0 to 1: a hosted or local model, settings [rubric]",
        needs_rubric=True,
    ),
)
