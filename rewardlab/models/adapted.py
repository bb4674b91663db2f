"""A frozen linear layer with one LoRA adapter, in float32 on CPUs: PEFT's products, with fewer passes over memory.

PEFT multiplies three times through MKL, scales and adds, and keeps each result for the backward pass. With the small
widths that run on CPUs these passes took half of a training step (``experiments/LOG.md``).
N rows, I in, O out, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn

from rewardlab import processes
from rewardlab.models.products import HAS_ONEDNN, multiply

FEWEST_ROWS = 128
"""With fewer, as when a token is decoded, PEFT's way is as fast."""


class AdaptedLinear(PeftLinear):  # type: ignore[misc]  # peft is untyped here
    """PEFT's layer; whatever is not the plain case is left to it."""

    def forward(self, x: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """(..., I) -> (..., O)."""
        adapter = None if arguments or named else self._plain_adapter(x)
        if adapter is None:
            result: Tensor = super().forward(x, *arguments, **named)
            return result
        down, up = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        adapted: Tensor = _Adapted.apply(  # type: ignore[no-untyped-call]  # torch's
            x.reshape(-1, x.shape[-1]), self.base_layer.weight, self.base_layer.bias, down, up, self.scaling[adapter]
        )
        return adapted.view(*x.shape[:-1], -1)

    def _plain_adapter(self, x: Tensor) -> str | None:
        """The one adapter that is active, where nothing but its two matrices is to be added; else None."""
        active = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters or self.merged or len(active) != 1 or x.numel() < FEWEST_ROWS * x.shape[-1]:
            return None
        [name] = active
        dropout = self.lora_dropout[name]
        draws = isinstance(dropout, nn.Dropout) and dropout.training and dropout.p > 0
        if draws or name in self.lora_variant or self.lora_B[name].bias is not None:
            return None
        bias = self.base_layer.bias
        if bias is not None and bias.requires_grad:  # PEFT's ``bias = "all"``: the function has no gradient of it
            return None
        weights = (x, self.base_layer.weight, self.lora_A[name].weight, self.lora_B[name].weight)
        is_float = all(each.dtype == torch.float32 and each.device.type == "cpu" for each in weights)
        return name if is_float and not self.base_layer.weight.requires_grad else None


class _Adapted(torch.autograd.Function):
    """x W^T + b + s (x A^T) B^T, and the gradients of x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        inner = multiply(x, down, None)
        ctx.save_for_backward(x, weight, down, up, inner)
        ctx.scale = scale
        return multiply(x, weight, bias).addmm_(inner, up.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, inner = ctx.saved_tensors
        grad = grads[0].contiguous()
        of_inner = multiply(grad, (up * ctx.scale).t(), None)
        needs_x, _, _, needs_down, needs_up, _ = ctx.needs_input_grad
        of_x = multiply(grad, weight.t(), None).addmm_(of_inner, down) if needs_x else None
        of_down = of_inner.t() @ x if needs_down else None
        of_up = (grad.t() @ inner).mul_(ctx.scale) if needs_up else None
        return of_x, None, None, of_down, of_up, None


def use_fewer_passes(model: nn.Module) -> None:
    """Let the adapted linear layers of ``model`` work as above, where torch was built with oneDNN.

    FSDP gives a weight to nobody but its own layer, so layers stay PEFT's where weights are cut into pieces.
    """
    if not HAS_ONEDNN or processes.is_sharded():
        return
    for module in model.modules():
        if type(module) is PeftLinear and isinstance(module.base_layer, nn.Linear):
            module.__class__ = AdaptedLinear  # in place, as in ``frozen.use_fastest_products``
