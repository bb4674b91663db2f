"""Frozen layers that multiply through oneDNN: the same products and gradients as torch's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.models import frozen as frozen_layers
from rewardlab.models import load_trunk, products
from rewardlab.models.frozen import SMALLEST, FrozenLinear, use_fastest_products
from tests.support.models import tiny_llama

pytestmark = pytest.mark.skipif(not products.HAS_ONEDNN, reason="torch was built without oneDNN")
INTO, OUT = 320, 256


def layers(*, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    """A frozen layer of torch's and one of ours with the same numbers."""
    torch.manual_seed(0)
    plain, ours = nn.Linear(INTO, OUT, bias=bias), nn.Linear(INTO, OUT, bias=bias)
    ours.load_state_dict(plain.state_dict())
    ours.requires_grad_(False)
    use_fastest_products(ours)
    assert type(ours) is FrozenLinear
    return plain.requires_grad_(False), ours


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(INTO,), (7, INTO), (2, 5, INTO), (0, INTO)])
def test_products_are_those_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    plain, ours = layers(bias=bias)
    states = torch.randn(shape)
    torch.testing.assert_close(ours(states), plain(states), atol=1e-5, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_torch(bias: bool) -> None:
    plain, ours = layers(bias=bias)
    states, weights = torch.randn(3, 5, INTO), torch.randn(OUT, 5, 3)
    found, expected = (gradient(layer, states, weights) for layer in (ours, plain))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def gradient(layer: nn.Module, states: Tensor, weights: Tensor) -> Tensor:
    states = states.clone().requires_grad_()
    (layer(states) * weights.permute(2, 1, 0)).sum().backward()  # a gradient that is not contiguous
    assert states.grad is not None
    return states.grad


def test_onednn_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    original = products.multiply

    def spying(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        asked.append(tuple(weight.shape))
        return original(input, weight, bias)

    monkeypatch.setattr(frozen_layers, "multiply", spying)
    _, ours = layers()
    states = torch.randn(4, INTO)
    with torch.inference_mode():
        ours(states)
    gradient(ours, torch.randn(3, 5, INTO), torch.randn(OUT, 5, 3))
    assert asked == [(OUT, INTO), (OUT, INTO), (INTO, OUT)]
    ours.bfloat16()(states.bfloat16())
    assert len(asked) == 3


def test_a_weight_that_is_trained_gets_its_gradient() -> None:
    _, ours = layers()
    ours.requires_grad_(True)
    ours(torch.randn(4, INTO)).sum().backward()
    assert ours.weight.grad is not None


def test_small_and_trained_layers_are_left_alone() -> None:
    small = nn.Linear(16, SMALLEST // 16 - 1).requires_grad_(False)
    trained = nn.Linear(INTO, OUT)
    use_fastest_products(nn.ModuleList([small, trained]))
    assert type(small) is type(trained) is nn.Linear


def test_a_trunk_uses_them_under_its_adapters(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model", width=256)
    trunk = load_trunk(ModelConfig(name=str(folder), dtype="float32", device="cpu"))
    trunk.roles.add("policy", LoraConfig(rank=2))
    kinds = {name: type(module) for name, module in trunk.model.named_modules() if isinstance(module, nn.Linear)}
    assert {kind for name, kind in kinds.items() if "lora_" not in name} == {FrozenLinear}
    assert {kind for name, kind in kinds.items() if "lora_" in name} == {nn.Linear}
