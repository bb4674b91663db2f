"""What moves in an expression while a policy is trained: ``step``, ``progress``, and lambda as a multiplier.

``--lambda auto:5`` makes lambda a multiplier that holds the mean score of the label RM at 5: ``mixed`` is then
``lam * label + r2``, the constraint in place of a cap. What moved stands in the ledger among the parts of each
response, so that stored responses can be scored again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rewardlab.types import Example, Score

TIMES = ("step", "progress")
"""Names of an expression that only training has values for."""
MULTIPLIER = "lam"
LARGEST_CHANGE = 0.1
"""Of the multiplier's logarithm in one step."""
WIDEST = 100.0
"""The multiplier stays between 1 / WIDEST and WIDEST."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in training.

    Attributes:
        step: From 1.
        progress: Share of the training that was done before this step: of its steps, or of its budget. 0 to 1.
        multiplier: Lambda where it is one.
    """

    step: int
    progress: float
    multiplier: float = 1.0

    def values(self) -> Mapping[str, float]:
        """Name in an expression -> its value."""
        return {"step": float(self.step), "progress": self.progress, MULTIPLIER: self.multiplier}


class Constant:
    """A reward that is one number for every response."""

    needs_gold = False

    def __init__(self, name: str, value: float) -> None:
        self.name, self._value = name, value

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        return [Score(self._value, {self.name: self._value}) for _ in responses]


@dataclass(frozen=True, slots=True)
class Target:
    """What a multiplier holds.

    Attributes:
        part: The reward whose mean score is held.
        mean: Where, in its unit.
        spread: A deviation of its scores that counts as far, in its unit: that of the scores on SFT samples.
    """

    part: str
    mean: float
    spread: float


class Multiplier:
    """Lambda as a multiplier, raised while a reward's mean lies below its target and lowered above it.

    A step changes its logarithm by at most ``LARGEST_CHANGE``, in proportion to the distance where that is less than
    one spread. It starts at 1; it is part of every checkpoint.

    Source:
        Moskovitz et al. 2023 (arXiv 2310.04373), who learn Lagrange multipliers of reward models beside the policy; the
        proportional step in the logarithm is that of KL controllers (Ziegler et al. 2019, section 2.2).
    """

    def __init__(self, target: Target | None) -> None:
        self.value = 1.0
        self._target = target

    def update(self, scores: Iterable[Score]) -> None:
        """Take in the scores of one batch; nothing happens without a target, or where nothing was scored."""
        if self._target is None:
            return
        seen = [value for score in scores if (value := score.parts.get(self._target.part)) is not None]
        if not seen:
            return
        distance = (self._target.mean - fmean(seen)) / (self._target.spread or 1.0)
        moved = self.value * math.exp(LARGEST_CHANGE * max(-1.0, min(1.0, distance)))
        self.value = max(1 / WIDEST, min(WIDEST, moved))

    def state(self) -> dict[str, float]:
        """For checkpoints."""
        return {"value": self.value}

    def restore(self, state: Mapping[str, float]) -> None:
        """From a checkpoint; one without it was written for a reward that has none."""
        self.value = state.get("value", 1.0)
