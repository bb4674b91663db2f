"""From scores to the reward of each token: normalisation, clipping, penalties, KL. B rows, R response tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rewardlab.config import PPOConfig
from rewardlab.functional.kl import kl_k1
from rewardlab.rewards.ledger import Shaped
from rewardlab.training.rollout import Chunk, Rollout


class ScoreScale:
    """Running variance of all scores seen (Chan et al. 1979); part of every checkpoint."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    @property
    def deviation(self) -> float:
        """Running standard deviation; 1 until two different scores were seen."""
        if self.count < 2 or self.squares <= 0:
            return 1.0
        return math.sqrt(self.squares / (self.count - 1))

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
        Ziegler et al. 2019, section 2.2; the error is clipped to +-0.2.
    """

    def __init__(self, config: PPOConfig) -> None:
        self.coef = config.kl_coef
        self._target = config.kl_target
        self._horizon = config.kl_horizon

    def update(self, kl: float, responses: int) -> None:
        """Raise beta where the mean KL of a batch, nats a response, lies above the target, lower it below."""
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


def shape(
    scores: Sequence[float | None], rollout: Rollout, config: PPOConfig, scale: ScoreScale, kl_coef: float
) -> tuple[list[Shaped | None], list[Tensor]]:
    """Per-token rewards of every chunk, and what each response received in sum.

    The score sits on the last response token, the KL penalty on every token (RLLR eq. 5). Scores are scaled, not
    shifted (PITFALLS row 13); a response that was cut at its budget has ``missing_end_penalty`` subtracted on top
    (row 10). Responses without a score get ``counts`` False everywhere.

    Returns:
        One Shaped per response in the rollout's order (None where it was not judged), and one (B, R) tensor of
        rewards per chunk; the row's rewards sum to ``Shaped.total``.
    """
    if config.normalise_scores:
        scale.update([score for score in scores if score is not None])
    shaped: list[Shaped | None] = [None] * len(scores)
    rewards = []
    for chunk in rollout.chunks:
        penalties = [0.0 if rollout.samples[row].is_finished else -config.missing_end_penalty for row in chunk.rows]
        used = [_normalised(scores[row], config, scale) for row in chunk.rows]
        rewards.append(_token_rewards(chunk, used, penalties, kl_coef))
        totals, kls = rewards[-1].double().sum(-1).tolist(), _kl_sums(chunk)
        for index, row in enumerate(chunk.rows):
            score = used[index]
            if score is not None:
                shaped[row] = Shaped(totals[index], score, -kl_coef * kls[index], penalties[index])
    return shaped, rewards


def _normalised(score: float | None, config: PPOConfig, scale: ScoreScale) -> float | None:
    if score is None:
        return None
    scaled = score / scale.deviation if config.normalise_scores else score
    return max(-config.score_clip, min(config.score_clip, scaled))


def _token_rewards(chunk: Chunk, used: Sequence[float | None], penalties: Sequence[float], kl_coef: float) -> Tensor:
    """Rewards (B, R) of one chunk; sets ``chunk.counts``."""
    keep = chunk.response_keep
    rewards = -kl_coef * kl_k1(chunk.old, chunk.reference) * keep
    rows = torch.arange(len(used), device=rewards.device)
    ends = [(score or 0.0) + penalty for score, penalty in zip(used, penalties, strict=True)]
    rewards[rows, keep.sum(-1) - 1] += torch.tensor(ends, dtype=rewards.dtype, device=rewards.device)
    is_scored = torch.tensor([score is not None for score in used], device=keep.device)
    chunk.counts = keep & is_scored[:, None]
    return rewards


def _kl_sums(chunk: Chunk) -> list[float]:
    sums: list[float] = (kl_k1(chunk.old, chunk.reference) * chunk.response_keep).double().sum(-1).tolist()
    return sums
