"""Preference losses: Bradley-Terry on rewards, and those that train a policy on pairs without a reward model.

The latter ask how far a policy has moved from its reference on the chosen response, and how far on the rejected one.
P pairs; log-probabilities are sums over the tokens of a response, its end token included. Unit: nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rewardlab.errors import ShapeError

PreferenceLoss = Literal["sigmoid", "ipo", "robust", "hinge"]


def preference_loss(chosen: Tensor, rejected: Tensor, margin: float = 0.0) -> Tensor:
    """Mean negative log-likelihood that each chosen response beats its rejected one.

    Args:
        chosen: Reward of the preferred response. Shape (pairs,), logits.
        rejected: Reward of the other response. Shape (pairs,), logits.
        margin: Gap each pair should reach, logits; 0 is plain Bradley-Terry.
    Returns:
        Scalar, nats. A scorer that cannot tell the two apart gets ln 2 = 0.693.
    Raises:
        ShapeError: No pairs, or ``chosen`` and ``rejected`` differ in shape.
    Source:
        Bradley & Terry 1952; RLLR eq. 3; margin from Touvron et al. 2023 (Llama 2), eq. 2.
    Example:
        >>> round(preference_loss(torch.tensor([2.0]), torch.tensor([0.0])).item(), 4)
        0.1269
    """
    if chosen.shape != rejected.shape or chosen.numel() == 0:
        raise ShapeError(f"chosen {tuple(chosen.shape)} and rejected {tuple(rejected.shape)} must be equal, not empty")
    return -logsigmoid(chosen - rejected - margin).mean()


@dataclass(frozen=True, slots=True)
class PairLogprobs:
    """Log-probabilities of both responses of P pairs, each of shape (P,).

    Attributes:
        chosen, rejected: Under the policy, nats a response.
        reference_chosen, reference_rejected: The same under the reference.
        chosen_tokens, rejected_tokens: Lengths of the responses, tokens.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    def __post_init__(self) -> None:
        shapes = {name: tuple(getattr(self, name).shape) for name in self.__slots__}
        if len(set(shapes.values())) > 1 or not self.chosen.numel():
            raise ShapeError(f"log-probabilities of pairs must have one shape and not be empty, found {shapes}")

    @property
    def margin(self) -> Tensor:
        """By how much more the policy has raised the chosen response than the rejected one, nats; 0 at the start."""
        return (self.chosen - self.reference_chosen) - (self.rejected - self.reference_rejected)

    @property
    def margin_per_token(self) -> Tensor:
        """The same of the responses' mean log-probabilities, nats a token."""
        chosen = (self.chosen - self.reference_chosen) / self.chosen_tokens
        return chosen - (self.rejected - self.reference_rejected) / self.rejected_tokens


def pair_losses(kind: PreferenceLoss, pairs: PairLogprobs, *, beta: float, flip_rate: float = 0.0) -> Tensor:
    """Loss of each pair; with m its margin and m' its margin per token:

    * ``sigmoid``: -log sigmoid(beta m), the negative log-likelihood of the preference under the implicit reward.
    * ``robust``: ((1 - e) L(m) - e L(-m)) / (1 - 2 e), with L the sigmoid loss and e the flip rate: over preferences of
      which the share e was flipped at random, its mean is that of L over unflipped ones. Not bounded below for e > 0.
    * ``hinge``: max(0, 1 - beta m).
    * ``ipo``: (m' - 1 / (2 beta))^2; beta is the paper's tau, and a target of 1 / (2 beta) nats a TOKEN, as in the
      published results. Sums in place of means would want another tau.

    Args:
        kind: Which loss.
        pairs: Log-probabilities.
        beta: Strength of the pull to the reference, per nat.
        flip_rate: Share of the preferences that are flipped, below 0.5; used by ``robust`` alone. At 0 that is
            ``sigmoid``.
    Returns:
        Shape (P,), nats (ipo: squared nats). At the start, where m = 0: ln 2 for sigmoid and robust, 1 for hinge,
        1 / (4 beta^2) for ipo.
    Source:
        Rafailov et al. 2023, eq. 7 (sigmoid); Chowdhury et al. 2024, rDPO (robust); SLiC (Zhao et al. 2023) on
        normalised likelihoods, after Liu et al. 2023, RSO (hinge); Azar et al. 2023, eq. 17 (ipo).
    Example:
        >>> zero, two = torch.zeros(1), torch.tensor([2.0])
        >>> pairs = PairLogprobs(two, zero, zero, zero, two, two)
        >>> [round(pair_losses(kind, pairs, beta=0.5).item(), 4) for kind in ("sigmoid", "hinge", "ipo")]
        [0.3133, 0.0, 0.0]
    """
    if kind == "ipo":
        return (pairs.margin_per_token - 1 / (2 * beta)).square()
    scaled = beta * pairs.margin
    if kind == "hinge":
        return torch.relu(1 - scaled)
    kept = -logsigmoid(scaled)
    if kind == "sigmoid":
        return kept
    return ((1 - flip_rate) * kept + flip_rate * logsigmoid(-scaled)) / (1 - 2 * flip_rate)
