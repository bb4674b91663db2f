"""Policy, reference and critic on one trunk, and the roles behind them.

The same :class:`Actor` computes log-probabilities when a response is sampled and when it is trained on, over the same
chunks with the same padding, so the first ratio is 1 (pitfall 2 of docs/ppo.md). B rows of a chunk, P prompt columns
(left-padded), R response columns (right-padded), H width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rewardlab.config import RunConfig
from rewardlab.errors import TrainingError
from rewardlab.models.heads import ScalarHead
from rewardlab.models.prompts import response_states, shares_prompts
from rewardlab.models.trunk import Trunk
from rewardlab.online_config import CriticConfig, OnlineConfig

POLICY, VALUE = "policy", "value"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens of a micro-batch of finished sequences.

    Attributes:
        rows: Where its rows stand in the rollout.
        ids: Prompt and response tokens. Shape (B, P + R).
        keep: True at real tokens. Shape (B, P + R).
        width: P.
        owners: For each row the first row of the chunk with the same prompt, where prompts may be read once for all
            their responses; None reads whole rows.
    """

    rows: list[int]
    ids: Tensor
    keep: Tensor
    width: int
    owners: Sequence[int] | None = field(default=None, kw_only=True)

    @property
    def response_ids(self) -> Tensor:
        """Response tokens. Shape (B, R)."""
        return self.ids[:, self.width :]

    @property
    def response_keep(self) -> Tensor:
        """True at response tokens. Shape (B, R)."""
        return self.keep[:, self.width :]


@dataclass(frozen=True, slots=True)
class PolicyOutput:
    """The policy on one chunk.

    Attributes:
        logprobs: Log-probability of each response token. Shape (B, R), nats, 0 where not kept.
        states: Last hidden states that predict the N kept tokens. Shape (N, H).
        entropies: Entropy of each of those predictions, when asked for. Shape (B, R), nats, 0 where not kept.
    """

    logprobs: Tensor
    states: Tensor
    entropies: Tensor | None


class Actor:
    """Policy, reference and critic on one trunk.

    Args:
        trunk: Carries the role ``policy``, and ``value`` when the critic has an adapter.
        critic: ``head`` puts ``value_head`` on the policy's states, ``adapter`` uses the role ``value``; None for
            methods without a critic.
        temperature: Sampling temperature; divides the logits in every log-probability.
        value_head: The head for ``critic="head"``.
    """

    def __init__(
        self,
        trunk: Trunk,
        critic: Literal["head", "adapter"] | None,
        temperature: float,
        value_head: ScalarHead | None = None,
    ) -> None:
        self.trunk = trunk
        self.critic = critic
        self.temperature = temperature
        self.value_head = value_head

    def parameters(self) -> dict[str, list[nn.Parameter]]:
        """What each optimiser moves: the policy's adapter, and the head on it or the role ``value`` with its head."""
        roles = self.trunk.roles
        if self.critic is None:
            return {POLICY: roles.parameters(POLICY)}
        critic = roles.parameters(VALUE) if self.value_head is None else list(self.value_head.parameters())
        return {POLICY: roles.parameters(POLICY), VALUE: critic}

    def policy(self, chunk: Chunk, *, role: str | None = POLICY, with_entropy: bool = False) -> PolicyOutput:
        """Log-probabilities of the chunk's response tokens under ``role``; logits only where a token is kept."""
        states = self._response_states(chunk, role)
        kept = self.trunk.logprobs(states, chunk.response_ids[chunk.response_keep], self.temperature)
        spread = self.scatter(self.trunk.entropies(states, self.temperature), chunk) if with_entropy else None
        return PolicyOutput(self.scatter(kept, chunk), states, spread)

    def values(self, chunk: Chunk, policy_states: Tensor) -> Tensor:
        """Critic's estimate before each response token. Shape (B, R).

        Args:
            chunk: The sequences.
            policy_states: What :meth:`policy` returned, used when the critic is a head on the policy.
        """
        if self.critic == "head":
            assert self.value_head is not None
            return self.scatter(self.value_head(policy_states), chunk)
        head = self.trunk.roles[VALUE].head
        assert head is not None
        return self.scatter(head(self._response_states(chunk, VALUE)), chunk)

    def _response_states(self, chunk: Chunk, role: str | None) -> Tensor:
        """States that predict the kept response tokens: one column to the left of each. Shape (N, H)."""
        owners = chunk.owners
        if owners is not None and len(set(owners)) < len(owners) and shares_prompts(self.trunk):
            states = response_states(self.trunk, chunk.ids, chunk.keep, chunk.width, owners, role)
        else:
            states = self.trunk.hidden(chunk.ids, chunk.keep, role)[:, chunk.width - 1 : -1]
        return states[chunk.response_keep]

    @staticmethod
    def scatter(kept: Tensor, chunk: Chunk) -> Tensor:
        """Numbers of the kept response tokens, row by row (N,), to (B, R) with 0 elsewhere."""
        full = kept.new_zeros(chunk.response_keep.shape)
        return full.masked_scatter(chunk.response_keep, kept)

    def state(self) -> dict[str, Any]:
        """Adapters, heads and how much was read, for a checkpoint."""
        roles = self.trunk.roles
        return {
            "adapters": {name: roles.state(name) for name in (POLICY, VALUE) if name in roles},
            "heads": {name: head.state_dict() for name, head in self._heads().items()},
            "rows_read": self.trunk.rows_read,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for name, adapter in state["adapters"].items():
            self.trunk.roles.restore(name, adapter)
        for name, head in self._heads().items():
            head.load_state_dict(state["heads"][name])
        self.trunk.rows_read = state["rows_read"]

    def _heads(self) -> dict[str, nn.Module]:
        if self.critic is None:
            return {}
        head = self.trunk.roles[VALUE].head if self.value_head is None else self.value_head
        return {} if head is None else {VALUE: head}


@dataclass(frozen=True, slots=True)
class CriticStart:
    """The reward model that an adapter critic starts from.

    Attributes:
        folder: Where its adapter and head lie.
        scale, mean: The started critic says (its reward model - mean) / scale, so that it speaks the unit of the
            scores that it will be fitted to.
    """

    folder: Path
    scale: float = 1.0
    mean: float = 0.0


def build_actor(trunk: Trunk, config: RunConfig, section: OnlineConfig, start: CriticStart | None = None) -> Actor:
    """Add policy and, where the method has one, critic to the trunk.

    Args:
        trunk: Gets the role ``policy``, and ``value`` for an adapter critic.
        config: Adapters, and the seed of their start.
        section: The method's: temperature, kind of critic.
        start: Where an adapter critic starts; None starts it at zero.
    Raises:
        TrainingError: What lies in ``start`` has no scalar head.
    """
    torch.manual_seed(config.seed)  # adapters' A matrices
    trunk.roles.add(POLICY, config.lora)
    if not isinstance(section, CriticConfig):
        return Actor(trunk, None, section.temperature)
    if section.value == "head":
        return Actor(trunk, "head", section.temperature, ScalarHead(trunk.width, "mlp").to(trunk.device))
    if start is None:
        trunk.roles.add(VALUE, config.lora, head=ScalarHead(trunk.width))
    else:
        _rescale(trunk.roles.load(VALUE, start.folder, is_trainable=True).head, start)
    return Actor(trunk, "adapter", section.temperature)


def _rescale(head: ScalarHead | None, start: CriticStart) -> None:
    if head is None:
        raise TrainingError("the critic's start has no scalar head; expected a reward model")
    with torch.no_grad():
        head.out.weight.div_(start.scale)
        head.out.bias.sub_(start.mean).div_(start.scale)
