"""Learned rewards: the raw score of a Bradley-Terry reward model, one name per pair kind it was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.registry import RewardEntry, rewards
from rewardlab.types import PAIR_KINDS, Example, PairKind, Score, Scorer

DESCRIPTIONS: Mapping[PairKind, str] = {
    "label": "raw score of the label RM, logits: trained on right against wrong labels (RLLR 3.2, r1)",
    "ranked": "raw score of the ranked RM, logits: trained on all untied pairs of ranked samples (RLHF's)",
    "rationale": "raw score of the rationale RM, logits: trained on the same-label pairs among the ranked ones",
}


class LearnedReward:
    """Ask one reward model.

    Args:
        name: The pair kind it was trained on.
        scorer: Gives one raw score per response; a score that is not finite means "could not judge".
    """

    needs_gold = False

    def __init__(self, name: str, scorer: Scorer) -> None:
        self.name = name
        self._scorer = scorer

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response; see :class:`rewardlab.types.Reward`."""
        return [self._score(float(raw)) for raw in self._scorer(examples, responses)] if responses else []

    def _score(self, raw: float) -> Score:
        if not math.isfinite(raw):
            return Score(None, parts={self.name: None}, reason=f"the {self.name} reward model gave {raw}")
        return Score(raw, parts={self.name: raw}, terms={self.name: raw})


def _entry(kind: PairKind) -> RewardEntry:
    def build(context: RewardContext) -> LearnedReward:
        return LearnedReward(kind, context.scorer(kind))

    return RewardEntry(kind, build, DESCRIPTIONS[kind], pair_kind=kind)


for _kind in PAIR_KINDS:
    rewards.add(_kind, _entry(_kind))
