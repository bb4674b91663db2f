"""Adapted layers with fewer passes over memory: the same numbers and gradients as PEFT's own layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rewardlab.models import products

pytestmark = pytest.mark.skipif(not products.HAS_ONEDNN, reason="torch was built without oneDNN")
INTO, OUT, RANK = 24, 40, 4
FEWEST = 128
"""Rows from which on a layer goes our way."""
NAME = "role"


def layers(*, bias: bool = True, **lora: Any) -> tuple[Any, Any]:
    """PEFT's layer and ours with the same numbers, B drawn and not 0."""
    from peft import LoraConfig
    from peft.tuners.lora.layer import Linear as PeftLinear

    from rewardlab.models.adapted import AdaptedLinear, use_fewer_passes

    made = []
    for _ in range(2):
        torch.manual_seed(0)
        base = nn.Linear(INTO, OUT, bias=bias).requires_grad_(False)
        config = LoraConfig(r=RANK, lora_alpha=12, **lora)
        layer = PeftLinear(base, NAME, config=config, r=RANK, lora_alpha=12)
        nn.init.normal_(layer.lora_B[NAME].weight)
        made.append(layer)
    theirs, ours = made
    use_fewer_passes(ours)
    assert type(ours) is AdaptedLinear
    return theirs, ours


def outcome(layer: nn.Module, states: Tensor, weights: Tensor) -> list[Tensor]:
    """What comes out, and the gradients of the input, A and B."""
    states = states.clone().requires_grad_()
    result = layer(states)
    (result * weights).sum().backward()
    trained = [states, layer.lora_A[NAME].weight, layer.lora_B[NAME].weight]
    return [result.detach(), *(tensor.grad for tensor in trained if tensor.grad is not None)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with each pass that took our way."""
    from rewardlab.models import adapted

    found: list[str] = []
    original = adapted._Adapted.apply
    monkeypatch.setattr(adapted._Adapted, "apply", lambda *given: (found.append("ours"), original(*given))[1])
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(FEWEST, INTO), (3, 50, INTO)])
def test_numbers_and_gradients_are_those_of_peft(shape: tuple[int, ...], bias: bool, calls: list[str]) -> None:
    theirs, ours = layers(bias=bias)
    states, weights = torch.randn(shape), torch.randn(*shape[:-1], OUT)
    found, expected = outcome(ours, states, weights), outcome(theirs, states, weights)
    assert len(found) == len(expected) == 4
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5 * float(other.abs().max()), rtol=0)
    assert calls == ["ours"]


def test_a_gradient_that_is_not_contiguous_is_read_in_order(calls: list[str]) -> None:
    theirs, ours = layers()
    states, weights = torch.randn(200, INTO), torch.randn(OUT, 200)
    found, expected = (outcome(layer, states, weights.t()) for layer in (ours, theirs))
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5 * float(other.abs().max()), rtol=0)
    assert calls == ["ours"]


def test_a_new_adapter_changes_no_bit() -> None:
    _, ours = layers()
    nn.init.zeros_(ours.lora_B[NAME].weight)
    states = torch.randn(200, INTO)
    assert torch.equal(ours(states), products.multiply(states, ours.base_layer.weight, ours.base_layer.bias))


def test_gradients_that_nobody_asked_for_are_not_there() -> None:
    _, ours = layers()
    states = torch.randn(200, INTO)  # as the first layer of a frozen model gets it
    ours.lora_A[NAME].weight.requires_grad_(False)
    ours(states).sum().backward()
    assert ours.lora_A[NAME].weight.grad is None
    assert ours.lora_B[NAME].weight.grad is not None
    assert states.grad is None


def two_adapters(layer: Any) -> None:
    from peft import LoraConfig

    layer.update_layer("other", RANK, lora_alpha=12, config=LoraConfig(r=RANK))
    layer.set_adapter([NAME, "other"])


OTHER_CASES: dict[str, tuple[dict[str, Any], Callable[[Any], object]]] = {
    "dropout": ({"lora_dropout": 0.5}, lambda layer: layer.train()),
    "a bias of its own": ({"lora_bias": True}, lambda layer: None),
    "DoRA": ({"use_dora": True}, lambda layer: None),
    "two adapters": ({}, two_adapters),
    "no adapter": ({}, lambda layer: layer.enable_adapters(False)),
    "merged": ({}, lambda layer: layer.merge()),
    "a base in training": ({}, lambda layer: layer.base_layer.requires_grad_(True)),
    "a bias in training": ({}, lambda layer: layer.base_layer.bias.requires_grad_(True)),
}


@pytest.mark.parametrize("case", OTHER_CASES)
def test_what_is_not_plain_is_left_to_peft(case: str, calls: list[str]) -> None:
    config, prepare = OTHER_CASES[case]
    states = torch.randn(200, INTO)
    results = []
    for layer in layers(**config):
        prepare(layer)
        torch.manual_seed(1)
        results.append(layer(states))
    assert calls == []
    assert torch.equal(*results)


def test_few_rows_and_other_dtypes_are_left_to_peft(calls: list[str]) -> None:
    _, ours = layers()
    ours(torch.randn(FEWEST - 1, INTO))
    ours.base_layer.to(torch.bfloat16)
    ours(torch.randn(200, INTO, dtype=torch.bfloat16))
    assert calls == []


def test_shards_of_weights_stay_with_their_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardlab.models.adapted import AdaptedLinear, use_fewer_passes

    theirs, _ = layers()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    use_fewer_passes(theirs)
    assert not isinstance(theirs, AdaptedLinear)
