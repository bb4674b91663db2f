"""Lambda, the cap of the label RM in the mixed reward: a raw number, a quantile or a z-score on SFT samples.

Behind ``auto:`` it is the mean that the label RM's score is held at, by a multiplier (:mod:`rewardlab.rewards.moving`).
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from typing import Final, Literal

from rewardlab.errors import ConfigError
from rewardlab.rewards.context import RewardContext

CAPPED: Final = "label"
"""The reward model that lambda caps (r1 of RLLR eq. 4)."""

logger = logging.getLogger(__name__)
_FORM = re.compile(r"(?P<auto>auto:)?(?P<q>q)?(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?P<z>z)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Lambda:
    """A lambda as it was asked for.

    Attributes:
        kind: ``raw`` (logits of the label RM), ``quantile`` (percent) or ``zscore`` (standard deviations).
        value: In the unit of its kind.
        is_target: Lambda is a multiplier, and this is the mean score of the label RM that it holds.
    """

    kind: Literal["raw", "quantile", "zscore"]
    value: float
    is_target: bool = False


def parse_lambda(text: str) -> Lambda:
    """Read ``--lambda``.

    Raises:
        ConfigError: It is neither a number, nor q0 to q100, nor a number followed by z, nor one of them behind auto:.
    Example:
        >>> parse_lambda("q90")
        Lambda(kind='quantile', value=90.0, is_target=False)
    """
    match = _FORM.fullmatch(text.strip().lower())
    value = float(match["number"]) if match else math.nan
    if match is None or (match["q"] and match["z"]) or not math.isfinite(value):
        raise ConfigError(
            f"--lambda {text!r:.60}: expected a number (5), a quantile (q90), a z-score (1.5z), or one of them as the "
            "mean to hold (auto:5)"
        )
    if match["q"] and not 0 <= value <= 100:
        raise ConfigError(f"--lambda {text!r:.60}: expected a quantile from q0 to q100")
    kind: Literal["raw", "quantile", "zscore"] = "quantile" if match["q"] else "zscore" if match["z"] else "raw"
    return Lambda(kind, value, match["auto"] is not None)


def resolve_lambda(lam: Lambda, context: RewardContext) -> float:
    """Lambda on the raw scale of the label RM, logits; warns of a cap above q99, since it will never bind.

    Raises:
        ConfigError: A quantile or z-score without stored scores.
    """
    value = _raw(lam, context)
    if context.sft_scores.get(CAPPED) and not lam.is_target:
        highest = context.quantile(CAPPED, 99)
        if value > highest:
            logger.warning(
                "lambda %.4g lies above %.4g, the 99 %% quantile of the label RM on SFT samples: it will never bind; "
                "--lambda q75 would",
                value,
                highest,
            )
    return value


def _raw(lam: Lambda, context: RewardContext) -> float:
    if lam.kind == "quantile":
        return context.quantile(CAPPED, lam.value)
    return context.zscore(CAPPED, lam.value) if lam.kind == "zscore" else lam.value
