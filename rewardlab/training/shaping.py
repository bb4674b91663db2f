"""From scores to the reward of each token: normalisation, clipping, penalties, KL. B rows, R response tokens.

Normalised scores are centred: a constant added to a reward changes nothing, and a score above 0 is one above the mean
of the run so far. That mean lags behind a policy that improves, so the mean of the used scores rises with it; the
critic learns it. The missing-end penalty is in the unit of used scores and is subtracted after the clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

import torch
from torch import Tensor

from rewardlab.functional.kl import kl_k1
from rewardlab.online_config import OnlineConfig
from rewardlab.rewards.ledger import Shaped
from rewardlab.training.rollout import Rollout, SampledChunk

ROUNDING = 1e-6
"""Share of the mean below which scores do not differ: a reward model's float32 scores of one text in two batches do."""


@dataclass(frozen=True, slots=True)
class UsedScore:
    """What became of a score: its value in training, and whether ``score_clip`` moved it."""

    value: float
    is_clipped: bool


class ScoreScale:
    """Running mean and variance of all scores seen (Chan et al. 1979); part of every checkpoint.

    What the reward does in this run counts, and not what a reward model did on SFT samples: the expression, the policy
    and the prompts are others.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    @property
    def deviation(self) -> float:
        """Running standard deviation; 1 until two different scores were seen, beyond a float32's last digits."""
        spread = math.sqrt(self.squares / max(1, self.count - 1))
        return spread if spread > ROUNDING * abs(self.mean) else 1.0

    def used(self, score: float, config: OnlineConfig) -> UsedScore:
        """The score as used: at most ``score_clip`` deviations from the mean, and in that unit if normalised.

        Example:
            >>> scale = ScoreScale()
            >>> scale.update([4.0, 6.0])  # mean 5, deviation 1.414
            >>> round(scale.used(6.0, OnlineConfig()).value, 4)
            0.7071
        """
        distance = (score - self.mean) / self.deviation
        limit = math.inf if config.score_clip is None else config.score_clip
        clipped = max(-limit, min(limit, distance))
        is_clipped = clipped != distance
        if config.normalise_scores:
            return UsedScore(clipped, is_clipped)
        return UsedScore(self.mean + clipped * self.deviation if is_clipped else score, is_clipped)

    def update(self, scores: Sequence[float]) -> None:
        """Take in one batch."""
        for score in scores:
            self.count += 1
            delta = score - self.mean
            self.mean += delta / self.count
            self.squares += delta * (score - self.mean)

    def state(self) -> dict[str, float]:
        """For checkpoints."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def restore(self, state: dict[str, float]) -> None:
        """From a checkpoint."""
        self.count, self.mean, self.squares = int(state["count"]), state["mean"], state["squares"]


class KLController:
    """Beta, the coefficient of the KL penalty: fixed, or steered to a target; part of every checkpoint.

    Source:
        Ziegler et al. 2019, section 2.2; the error is clipped to +-0.2, as in TRL 0.7.2's ``AdaptiveKLController``.
    """

    def __init__(self, config: OnlineConfig) -> None:
        self.coef = config.kl_coef
        self._target = config.kl_target
        self._horizon = config.kl_horizon

    def update(self, kl: float, responses: int) -> None:
        """Raise beta where the KL of a batch lies above the target, lower it below.

        Args:
            kl: :func:`mean_response_kl` of the batch, nats a response.
            responses: In the batch.
        """
        if self._target is not None:
            error = max(-0.2, min(0.2, kl / self._target - 1))
            self.coef *= 1 + error * responses / self._horizon

    def metrics(self) -> dict[str, float]:
        """Beta where it moves; a fixed one stands in the configuration."""
        return {} if self._target is None else {"policy/kl_coef": self.coef}

    def state(self) -> dict[str, float]:
        """For checkpoints."""
        return {"coef": self.coef}

    def restore(self, state: dict[str, float]) -> None:
        """From a checkpoint."""
        self.coef = state["coef"]


@dataclass(frozen=True, slots=True)
class Shaping:
    """What the scores of a batch became.

    Attributes:
        rewards: Reward of each token, one (B, R) tensor per chunk; a row's rewards sum to its ``Shaped.total``.
        counts: True at the tokens that enter loss and averages: kept, and of a scored response. One (B, R) per chunk.
        shaped: What each response received in sum, in the rollout's order; None where it has no score.
    """

    rewards: Sequence[Tensor]
    counts: Sequence[Tensor]
    shaped: Sequence[Shaped | None]


def shape(
    scores: Sequence[float | None], rollout: Rollout, config: OnlineConfig, scale: ScoreScale, kl_coef: float
) -> Shaping:
    """Per-token rewards of every chunk, and what each response received in sum.

    The score sits on the last response token, the KL penalty on every token (RLLR eq. 5). Scores are centred on the
    running mean, divided by the running deviation and then clipped (pitfall 28 of docs/ppo.md). The batch is part of
    both. Token rewards are not whitened inside a batch (pitfall 13). A response that was cut at its budget has
    ``missing_end_penalty`` subtracted on top (pitfall 10).

    Args:
        scores: One per response; None where it could not be judged, and no token of it counts.
        rollout: The responses.
        config: Normalisation, clip, penalty.
        scale: Running mean and deviation, which the scores are part of already.
        kl_coef: Beta of the penalty in the reward; 0 where the method has it in the loss.
    """
    shaped: list[Shaped | None] = [None] * len(scores)
    rewards, counts = [], []
    for chunk in rollout.chunks:
        penalties = [0.0 if rollout.samples[row].is_finished else -config.missing_end_penalty for row in chunk.rows]
        raw = [scores[row] for row in chunk.rows]
        used = [None if score is None else scale.used(score, config) for score in raw]
        received = _token_rewards(chunk, used, penalties, kl_coef)
        rewards.append(received)
        is_scored = torch.tensor([score is not None for score in used], device=chunk.keep.device)
        counts.append(chunk.response_keep & is_scored[:, None])
        totals, kls = received.double().sum(1).tolist(), response_kls(chunk)
        for index, row in enumerate(chunk.rows):
            one = used[index]
            if one is not None:
                parts = (totals[index], one.value, -kl_coef * kls[index], penalties[index])
                shaped[row] = Shaped(*parts, is_clipped=one.is_clipped)
    return Shaping(rewards, counts, shaped)


def used_score_metrics(shaped: Sequence[Shaped | None]) -> dict[str, float]:
    """Deviation of the scores as they were used, and the share that was clipped; empty without a score."""
    scored = [one for one in shaped if one is not None]
    if not scored:
        return {}
    return {
        "reward/used_deviation": pstdev(one.score for one in scored),
        "reward/clip_share": fmean(one.is_clipped for one in scored),
    }


def _token_rewards(
    chunk: SampledChunk, used: Sequence[UsedScore | None], penalties: Sequence[float], kl_coef: float
) -> Tensor:
    """Rewards (B, R) of one chunk."""
    keep = chunk.response_keep
    rewards = -kl_coef * kl_k1(chunk.old, chunk.reference) * keep
    rows = torch.arange(len(used), device=rewards.device)
    ends = [(score.value if score else 0.0) + penalty for score, penalty in zip(used, penalties, strict=True)]
    rewards[rows, keep.sum(1) - 1] += torch.tensor(ends, dtype=rewards.dtype, device=rewards.device)
    return rewards


def response_kls(chunk: SampledChunk) -> list[float]:
    """k1 of each response, summed over its tokens, nats: what the penalty charges and the controller steers by."""
    sums: list[float] = (kl_k1(chunk.old, chunk.reference) * chunk.response_keep).double().sum(1).tolist()
    return sums


def mean_response_kl(rollout: Rollout) -> float:
    """KL from the reference at sampling time: :func:`response_kls`, mean over all responses, nats a response.

    A policy that is its reference gets 0. Responses without a score count, too: they were drawn from the policy.
    """
    return fmean(kl for chunk in rollout.chunks for kl in response_kls(chunk))
