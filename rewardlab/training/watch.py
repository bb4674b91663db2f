"""Warnings about metrics that go on being wrong: what one step may show by chance, and ten in a row do not."""

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
        is_wrong: True for a value that should not last.
        message: What it means and what to look at.
    """

    metric: str
    is_wrong: Callable[[float], bool]
    message: str


SIGNS = (
    Sign(
        "policy/kl",
        lambda value: value < 0,
        "was negative: responses are not drawn from the distribution that their log-probabilities describe, and the KL "
        "penalty now pays the policy for it; stop, let `rewardlab doctor` examine the model, and try "
        "--set ppo.old_logprobs=recompute or --dtype float32",
    ),
    Sign(
        "reward/deviation",
        lambda value: value == 0,
        "was 0: every response had the same score, so that nothing is learned; look at the samples and at lambda",
    ),
)


class Watch:
    """Counts how long each sign has lasted and warns once per streak."""

    def __init__(self) -> None:
        self._streaks = dict.fromkeys((sign.metric for sign in SIGNS), 0)

    def look(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in one step; a metric that is missing ends its streak."""
        for sign in SIGNS:
            is_wrong = sign.metric in metrics and sign.is_wrong(metrics[sign.metric])
            self._streaks[sign.metric] = self._streaks[sign.metric] + 1 if is_wrong else 0
            if self._streaks[sign.metric] == PATIENCE:
                logger.warning("in steps %d to %d %s %s", step - PATIENCE + 1, step, sign.metric, sign.message)

    def state(self) -> dict[str, int]:
        """For a checkpoint."""
        return dict(self._streaks)

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from :meth:`state`; a sign it does not know has not lasted."""
        self._streaks = {metric: state.get(metric, 0) for metric in self._streaks}
