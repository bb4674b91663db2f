"""Frozen linear layers that multiply by oneDNN or by torch's own library on CPUs, whichever is faster.

MKL takes its AVX2 path on processors of other makers; on an AMD core with AVX-512 oneDNN multiplied float32 matrices
1.6 to 2.4 times as fast, on one with AVX2 alone MKL is up to twice as fast below 64 rows (``experiments/LOG.md``).
torch reaches oneDNN by itself in bfloat16 only. N rows, I in, O out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rewardlab.models.products import HAS_ONEDNN, multiply

SMALLEST = 1 << 16
"""Weights with fewer numbers stay with torch: there the call costs more than the product."""


class FrozenLinear(nn.Linear):
    """A linear layer whose weight gets no gradient; on anything but float32 on a CPU it is ``nn.Linear``."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        if input.dtype != torch.float32 or input.device.type != "cpu" or self.weight.requires_grad:
            return super().forward(input)
        if input.requires_grad and torch.is_grad_enabled():
            product: Tensor = _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]  # torch's
            return product
        return multiply(input, self.weight, self.bias)


class _Product(torch.autograd.Function):
    """x W^T + b, and the gradient of x alone."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return multiply(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return multiply(grads[0].contiguous(), weight.t(), None), None, None


def use_fastest_products(model: nn.Module) -> None:
    """Let the large frozen linear layers of ``model`` choose their library, where torch was built with oneDNN."""
    if not HAS_ONEDNN:
        return
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.numel() >= SMALLEST and not module.weight.requires_grad:
            module.__class__ = FrozenLinear  # in place: names, weights and ties stay, and PEFT still sees a Linear
