"""What a reward is built from: scorers of trained reward models and their stored scores on SFT samples.

Nothing here needs torch: a scorer is a plain function, made in ``rewardlab.models.scoring`` or in a test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev

from rewardlab.errors import ConfigError
from rewardlab.types import Label, Reading, Reward, Scorer

LabelShares = Mapping[str, Mapping[Label, float]]
"""Task -> gold label -> its share among the prompts."""


@dataclass(frozen=True, slots=True)
class RewardContext:
    """Everything a reward may read beside examples and responses.

    Attributes:
        scorers: Pair kind -> scorer of the reward model trained on it.
        sft_scores: Pair kind -> raw scores of that reward model on SFT samples, stored when it was trained.
        reading: How the rule reward reads answers.
        label_shares: Shares of the gold labels among the prompts, for rewards that weigh by them.
        rubric: The reward that an annotator gives by a written rubric.
    """

    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    sft_scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reading: Reading = "lenient"
    label_shares: LabelShares = field(default_factory=dict)
    rubric: Reward | None = None

    def scorer(self, name: str) -> Scorer:
        """The scorer of one pair kind; raises ConfigError when there is none."""
        if name not in self.scorers:
            raise ConfigError(
                f"reward {name!r} needs a trained reward model; run `rewardlab rm train --kind {name}` "
                f"or give its folder with --rm {name}=DIR"
            )
        return self.scorers[name]

    def quantile(self, name: str, percent: float) -> float:
        """The ``percent`` quantile (0 to 100) of the stored scores, linear between neighbours.

        Example:
            >>> RewardContext(sft_scores={"label": [1.0, 3.0]}).quantile("label", 25)
            1.5
        """
        scores = sorted(self._stored(name))
        place = (len(scores) - 1) * percent / 100
        low, high = math.floor(place), math.ceil(place)
        return scores[low] + (scores[high] - scores[low]) * (place - low)

    def zscore(self, name: str, z: float) -> float:
        """The stored scores' mean plus ``z`` (population) standard deviations.

        Example:
            >>> RewardContext(sft_scores={"label": [1.0, 3.0]}).zscore("label", 1.5)
            3.5
        """
        return fmean(self._stored(name)) + z * self.spread(name)

    def spread(self, name: str) -> float:
        """The stored scores' (population) standard deviation.

        Example:
            >>> RewardContext(sft_scores={"label": [1.0, 3.0]}).spread("label")
            1.0
        """
        return pstdev(self._stored(name))

    def _stored(self, name: str) -> Sequence[float]:
        scores = [score for score in self.sft_scores.get(name, ()) if math.isfinite(score)]
        if not scores:
            raise ConfigError(
                f"the {name} reward model has no stored scores on SFT samples, which quantiles, z-scores of lambda and "
                "ppo.normalise_scores need; run `rewardlab rm calibrate` on its folder"
            )
        return scores
