"""Learned rewards: the raw score of a Bradley-Terry reward model, one name per pair kind it was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardlab.errors import ConfigError
from rewardlab.rewards.context import LabelShares, RewardContext
from rewardlab.rewards.plan import RewardPlan
from rewardlab.rewards.registry import RewardEntry, rewards
from rewardlab.types import PAIR_KINDS, Example, PairKind, Reading, Reward, Score, Scorer

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


def reward_context(
    plans: Sequence[RewardPlan],
    given: Mapping[PairKind, Path],
    reading: Reading,
    shares: LabelShares | None = None,
    rubric: Reward | None = None,
) -> RewardContext:
    """Load the reward models that expressions need, each once.

    Args:
        plans: What the expressions need.
        given: Folders of reward models.
        reading: How the rule reads answers.
        shares: Of the gold labels among the prompts, where they are known.
        rubric: Who grades by the rubric, where an expression asks for it.
    Raises:
        ConfigError: One of them was not given.
    """
    kinds = sorted({kind for plan in plans for kind in plan.pair_kinds})
    missing = [kind for kind in kinds if kind not in given]
    if missing:
        expressions = ", ".join(repr(plan.expression) for plan in plans if plan.pair_kinds)
        options = " ".join(f"--rm {kind}=DIR" for kind in missing)
        raise ConfigError(
            f"reward {expressions} needs trained reward models; add {options} (made by `rewardlab rm train`; in Python "
            f"rm={{{', '.join(f'{kind!r}: DIR' for kind in missing)}}})"
        )
    folders: dict[str, Path] = {kind: given[kind] for kind in kinds}
    if not folders:
        return RewardContext(reading=reading, label_shares=shares or {}, rubric=rubric)
    from rewardlab.models.scoring import load_scorers

    loaded = load_scorers(folders)
    return RewardContext(loaded.scorers, loaded.sft_scores, reading, shares or {}, rubric)


def _entry(kind: PairKind) -> RewardEntry:
    def build(context: RewardContext) -> LearnedReward:
        return LearnedReward(kind, context.scorer(kind))

    return RewardEntry(kind, build, DESCRIPTIONS[kind], pair_kind=kind)


for _kind in PAIR_KINDS:
    rewards.add(_kind, _entry(_kind))
