"""Scalar heads: a reward or a value per hidden state, in float32. B batch, T tokens, H width."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rewardlab import processes
from rewardlab.disk import whole_file

HEAD_FILE = "head.safetensors"


class ScalarHead(nn.Module):
    """Maps hidden states to one number each.

    Args:
        width: H.
        kind: ``linear`` (reward models, a value adapter started from one) or ``mlp`` (PPO-NLU's value head).
    The last layer starts at zero, so a new head says 0 everywhere.
    """

    def __init__(self, width: int, kind: Literal["linear", "mlp"] = "linear") -> None:
        super().__init__()
        self.kind = kind
        self.hidden = nn.Linear(width, width) if kind == "mlp" else None
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states (..., H) of any dtype -> numbers (...), float32."""
        states = states.float()
        if self.hidden is not None:
            states = torch.tanh(self.hidden(states))
        scores: Tensor = self.out(states).squeeze(-1)
        return scores

    def save(self, folder: Path) -> None:
        """Store the weights beside an adapter; a linear head as ``weight`` (1, H) and ``bias`` (1).

        All processes call this, the main one writes.
        """
        state = {"weight": self.out.weight, "bias": self.out.bias}
        if self.hidden is not None:
            state |= {"hidden.weight": self.hidden.weight, "hidden.bias": self.hidden.bias}
        whole = {name: processes.whole(tensor).detach().cpu().contiguous() for name, tensor in state.items()}
        if processes.is_main():
            with whole_file(folder / HEAD_FILE) as part:
                save_file(whole, part)

    @classmethod
    def load(cls, folder: Path) -> ScalarHead:
        """Read what :meth:`save` stored; a missing bias is zero."""
        state = load_file(folder / HEAD_FILE)
        width = state["weight"].shape[1]
        head = cls(width, "mlp" if "hidden.weight" in state else "linear")
        head.out.weight.data.copy_(state["weight"].float())
        head.out.bias.data.copy_(state.get("bias", torch.zeros(1)).float())
        if head.hidden is not None:
            head.hidden.weight.data.copy_(state["hidden.weight"].float())
            head.hidden.bias.data.copy_(state["hidden.bias"].float())
        return head
