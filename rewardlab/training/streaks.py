"""Warnings about metrics that go on being wrong: what one step may show by chance, and ten in a row do not.

What no chance brings about is said at once, and once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

logger = logging.getLogger(__name__)

PATIENCE = 10
"""Steps in a row after which a sign is reported; a fair coin shows one side that often once in a thousand times."""


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that should not last.

    Attributes:
        metric: Which metric shows it.
        is_wrong: True for metrics of a step that should not last; the step has ``metric``.
        message: What it means and what to look at.
        is_chance: False for what one step proves: it is said in the first such step and never again.
    """

    metric: str
    is_wrong: Callable[[Mapping[str, float]], bool]
    message: str
    is_chance: bool = True

    @property
    def patience(self) -> int:
        """Steps after which it is reported."""
        return PATIENCE if self.is_chance else 1


NOTHING_LEFT = 1e-4
"""Deviation of used scores below which nothing is learned: whitening adds 1e-8, its square, to the variance."""


SIGNS = (
    Sign(
        "policy/kl",
        lambda metrics: metrics["policy/kl"] < 0,
        "was negative: responses are not drawn from the distribution that their log-probabilities describe, and the KL "
        "penalty rewards that. Stop the run, check the model with `rewardlab doctor`, and try "
        "--set ppo.old_logprobs=recompute or --dtype float32",
    ),
    Sign(
        "reward/deviation",
        lambda metrics: metrics["reward/deviation"] == 0,
        "was 0: every response had the same score, so the policy is not trained. Check the samples and lambda",
    ),
    Sign(
        "reward/used_deviation",
        lambda metrics: metrics["reward/used_deviation"] < NOTHING_LEFT and bool(metrics.get("reward/deviation")),
        "was next to 0 although the raw scores differ: normalisation or ppo.score_clip made them equal, so the policy "
        "is not trained. Compare it with reward/deviation, look for single scores far from the rest, "
        "and give --set ppo.normalise_scores=true or --set ppo.score_clip=none",
        is_chance=False,
    ),
)


class Streaks:
    """Counts how long each sign has lasted and warns once per streak."""

    def __init__(self) -> None:
        self._streaks = dict.fromkeys((sign.metric for sign in SIGNS), 0)

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in one step; a metric that is missing ends its streak."""
        for sign in SIGNS:
            is_wrong = sign.metric in metrics and sign.is_wrong(metrics)
            before = self._streaks[sign.metric]
            self._streaks[sign.metric] = before + 1 if is_wrong else before * (not sign.is_chance)
            if is_wrong and self._streaks[sign.metric] == sign.patience:
                logger.warning("in steps %d to %d %s %s", step - sign.patience + 1, step, sign.metric, sign.message)

    def state(self) -> dict[str, int]:
        """For a checkpoint."""
        return dict(self._streaks)

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from :meth:`state`; a sign it does not know has not lasted."""
        self._streaks = {metric: state.get(metric, 0) for metric in self._streaks}
