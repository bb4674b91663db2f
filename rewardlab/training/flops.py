"""Floating-point operations that PPO needs on work of a fixed size, and what devices can do at most.

Counted are products of matrices in what the method asks for; work that is done twice to save memory is not. A product
of (m, k) and (k, n) is 2 m k n operations. The trunk is frozen, so a backward pass makes gradients of activations
alone: as much as the forward pass, in attention twice as much. Adapters, heads, norms and optimisers are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from rewardlab.models.roles import adapter_of
from rewardlab.models.trunk import Trunk

PEAKS: dict[tuple[str, ...], dict[str, float]] = {
    ("H200",): {"bfloat16": 989, "float32": 67},
    ("H100", "PCIe"): {"bfloat16": 756, "float32": 51},
    ("H100", "HBM3"): {"bfloat16": 989, "float32": 67},
    ("A100",): {"bfloat16": 312, "float32": 19.5},
    ("L40S",): {"bfloat16": 362, "float32": 91.6},
    ("L4",): {"bfloat16": 121, "float32": 30.3},
}
"""Words of a GPU's name -> dtype -> dense TFLOP/s by its maker's data sheet; float32 without TF32."""
OTHER_KINDS = {"NVL", "MIG", "Laptop"}
"""Words of names of GPUs that do less than their namesakes."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides how much a pass over a trunk costs.

    Attributes:
        matrices: Numbers in the matrices that every token is multiplied by.
        attention: Layers times query heads times the width of a head.
        logits: Numbers in the output layer's matrix.
    """

    matrices: int
    attention: int
    logits: int

    @classmethod
    def of(cls, trunk: Trunk) -> Sizes:
        """Read them off a trunk."""
        config = trunk.model.config.get_text_config()
        tables = {
            id(module.weight) for module in trunk.model.get_decoder().modules() if isinstance(module, nn.Embedding)
        }
        named = trunk.model.get_decoder().named_parameters()
        matrices = sum(p.numel() for name, p in named if p.ndim == 2 and not adapter_of(name) and id(p) not in tables)
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(matrices, config.num_hidden_layers * heads * width, trunk.head.layer.weight.numel())

    def forward(self, tokens: int, outputs: int) -> float:
        """Operations of reading one row of so many tokens, with logits at ``outputs`` of them.

        A token looks at itself and those before it: half of tokens x tokens, in two products.
        """
        return 2.0 * (self.matrices * tokens + self.attention * tokens * tokens + self.logits * outputs)

    def both(self, tokens: int, outputs: int) -> float:
        """The same with the backward pass."""
        return 2 * self.forward(tokens, outputs) + 2.0 * self.attention * tokens * tokens


@dataclass(frozen=True, slots=True)
class Passes:
    """What one PPO step does with every row.

    Attributes:
        prompt, response: Tokens.
        epochs: Passes of the update.
        reward_models: How many read the row.
        has_value_adapter: The critic reads the row on its own.
        trusts_sampler: The policy's log-probabilities come from the sampler.
    """

    prompt: int
    response: int
    epochs: int
    reward_models: int
    has_value_adapter: bool
    trusts_sampler: bool

    def operations(self, sizes: Sizes) -> dict[str, float]:
        """Operations of each phase of a step, for one row."""
        tokens, drawn = self.prompt + self.response, self.response
        critic = sizes.forward(tokens, 0) if self.has_value_adapter else 0.0
        critic_update = sizes.both(tokens, 0) if self.has_value_adapter else 0.0
        return {
            "generate": sizes.forward(tokens - 1, drawn),  # the last token is not read
            "score": self.reward_models * sizes.forward(tokens, 0),
            "reference": sizes.forward(tokens, drawn),
            "old": critic + (0.0 if self.trusts_sampler else sizes.forward(tokens, drawn)),
            "update": self.epochs * (sizes.both(tokens, drawn) + critic_update),
        }


def peak_tflops(device: str, dtype: str) -> float | None:
    """Most dense TFLOP/s of a device by its name; None when they are not known here."""
    words = set(device.replace("-", " ").split())
    if words & OTHER_KINDS:
        return None
    return next((rates.get(dtype) for name, rates in PEAKS.items() if words >= set(name)), None)
