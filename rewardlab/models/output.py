"""``OutputHead``: hidden states to logits as the model makes them, behind its output layer too.

Some models multiply, divide or cap what their output layer gives (Granite, Cohere, Falcon-H1; Gemma, nanochat). Their
configurations name the numbers, not the operation: ``logits_scaling`` divides in Granite and multiplies in HyperCLOVA.
So each reading of them is tried against the model's own logits, on states large enough for a cap to show.
N positions, H width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab.errors import ModelError

SCALES = ("logits_scaling", "logit_scale", "lm_head_multiplier", "output_multiplier", "logits_mup_width_multiplier")
"""Names under which configurations give a factor of the logits, or its inverse."""
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Names under which configurations give the bound of capped logits."""
REACHES = (None, 30.0, 300.0)
"""Largest output of the layer for which the check compares logits; None leaves the states as the model makes them.
Published caps lie between 15 and 50."""
TOKENS = 8
"""Tokens that the check reads for each reach."""
UNROUNDED = ("cuda", "meta")
"""Devices where torch has a product of low precision with a float32 result; on meta it has a shape alone."""
CAST = 1 << 22
"""Weights that are cast to float32 at a time."""
TOLERANCE = 0.01
"""How far our logits may be from the model's own, relative to the largest: bfloat16 rounds to a share of 0.004."""


@dataclass(frozen=True, slots=True)
class OutputHead:
    """Frozen output layer, then a factor, then a soft cap: cap * tanh(scale * (W x + b) / cap).

    Attributes:
        layer: Hidden states to its outputs.
        scale: Multiplies the outputs.
        cap: Bound of the logits; None leaves them unbounded.
        is_float32: Outputs are never rounded to the layer's dtype; inputs and weights stay as they are.
    """

    layer: nn.Linear
    scale: float = 1.0
    cap: float | None = None
    is_float32: bool = False

    @property
    def is_plain(self) -> bool:
        """True when logits are what the layer gives."""
        return self.scale == 1 and self.cap is None and not self.is_float32

    def __call__(self, states: Tensor) -> Tensor:
        """States (..., H) to logits (..., V), float32."""
        if self.is_float32 and states.dtype != torch.float32:
            outputs: Tensor = _Float32Product.apply(states, self.layer.weight)  # type: ignore[no-untyped-call]
            return self.shaped(outputs if self.layer.bias is None else outputs + self.layer.bias.float())
        return self.shaped(self.layer(states).float())

    def shaped(self, outputs: Tensor) -> Tensor:
        """Outputs of the layer (..., V), float32, to logits (..., V)."""
        if self.scale != 1:
            outputs = outputs * self.scale
        return outputs if self.cap is None else self.cap * torch.tanh(outputs / self.cap)

    def shape_gradient(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """The gradient in the logits (..., V) as one in the layer's outputs; ``gradient`` is overwritten."""
        if self.scale != 1:
            gradient.mul_(self.scale)
        if self.cap is not None:
            gradient.mul_(1 - (logits / self.cap).square())  # of cap * tanh(x / cap), by its value
        return gradient


class _Float32Product(torch.autograd.Function):
    """States times a frozen weight, summed up in float32 and kept so; the gradient is what ``nn.Linear`` gives."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.dtype = states.dtype
        return float32_product(states.reshape(-1, states.shape[-1]), weight).view(*states.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return grads[0].to(ctx.dtype) @ weight, None


def float32_product(states: Tensor, weight: Tensor) -> Tensor:
    """States (N, H) times weights (V, H) in one low precision: (N, V), float32.

    CUDA's kernels sum up in float32 and can leave the sum as it is. Elsewhere weights are cast, a few rows at a time.
    """
    if states.device.type in UNROUNDED:
        return torch.mm(states, weight.t(), out_dtype=torch.float32)
    rows = max(1, CAST // weight.shape[1])
    return torch.cat([states.float() @ part.float().t() for part in torch.split(weight, rows)], 1)


@torch.no_grad()
def output_head(model: Any, name: str) -> OutputHead:
    """The head that gives the logits of ``model``, a causal language model without adapters.

    Args:
        model: Reads a few tokens here.
        name: The name the user gave; for messages.
    Raises:
        ModelError: Its logits are not a scaled and capped output of its output layer.
    """
    states, expected = _states_and_logits(model)
    gaps = {}
    for head in _readings(model):
        gaps[head] = max(_gap(head(own), logits) for own, logits in zip(states, expected, strict=True))
        if gaps[head] <= TOLERANCE:
            return head
    raise ModelError(
        f"model {name!r}: its logits are not its output layer's, scaled or capped by what its configuration names "
        f"({', '.join(SCALES + CAPS)}); they differ by {min(gaps.values()):.0%} of the largest. rewardlab cannot "
        "train such models, choose another"
    )


def _readings(model: Any) -> Iterator[OutputHead]:
    """Every head that the configuration may mean, the plain one first."""
    layer, config = model.get_output_embeddings(), model.config.get_text_config()
    named = [float(value) for name in SCALES if isinstance(value := getattr(config, name, None), int | float) and value]
    if isinstance(base := getattr(config, "dim_model_base", None), int):  # MiniCPM divides by hidden_size over it
        named.append(config.hidden_size / base)
    caps = [float(value) for name in CAPS if isinstance(value := getattr(config, name, None), int | float) and value]
    scales = [scale for value in named for scale in (value, 1 / value) if scale != 1]
    for cap, scale in product((None, *caps), (1.0, *scales)):
        yield OutputHead(layer, scale, cap)


def _states_and_logits(model: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """States (N, H) and the model's own logits (N, V), for each of :data:`REACHES`.

    The model reads tokens once; its states are stretched on their way to its output layer.
    """
    states: list[Tensor] = []

    def stretch(module: Any, arguments: Any, out: Any) -> Any:
        given = out.last_hidden_state.clone()
        for part, reach in zip(torch.split(given, TOKENS, dim=1), REACHES, strict=True):
            if reach is not None:
                part.mul_(reach / model.get_output_embeddings()(part).abs().max())
        states.append(given[0])
        out.last_hidden_state = given
        return out

    rows, count = model.get_input_embeddings().weight.shape[0], len(REACHES) * TOKENS
    # all over the vocabulary, also where it has fewer tokens: padding alone has states of 0, which nothing stretches
    ids = torch.arange(count, device=model.device).mul(rows).div(count, rounding_mode="floor")[None]
    handle = model.base_model.register_forward_hook(stretch)
    try:
        logits = model(ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()
    finally:
        handle.remove()
    return torch.split(states[0], TOKENS), torch.split(logits, TOKENS)


def _gap(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())
