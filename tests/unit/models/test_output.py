"""Logits as the model makes them: scaled and capped behind the output layer, found out on large states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rewardlab.config import ModelConfig
from rewardlab.errors import ModelError
from rewardlab.models import SamplingConfig, Trunk, load_trunk, sample
from rewardlab.models import output as output_module
from rewardlab.models.names import model_identity
from rewardlab.models.output import OutputHead
from tests.support.models import tiny_model

FOUND = {
    "llama": (1.0, None),
    "gemma2": (1.0, 3.0),
    "nanochat": (1.0, 3.0),
    "granite": (0.25, None),  # divides by 4
    "hyperclovax": (0.25, None),  # multiplies by it, under Granite's name for the divisor
    "cohere": (0.25, None),
    "falcon_h1": (0.25, None),
}
"""Family -> factor and cap; the numbers of ``tests/support/models.py``."""


def trunk_of(family: str, folder: Path, dtype: str = "float32", **changes: object) -> Trunk:
    return load_trunk(
        ModelConfig.model_validate(
            {"name": str(tiny_model(family, folder, **changes)), "dtype": dtype, "device": "cpu"},
        )
    )


@pytest.mark.filterwarnings("ignore:.*falling back")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FOUND)
def test_the_head_does_what_the_model_does(family: str, dtype: str, tmp_path: Path) -> None:
    trunk = trunk_of(family, tmp_path / "model", dtype)
    assert (trunk.head.scale, trunk.head.cap) == FOUND[family]
    ids = torch.tensor([[40, 41, 42, 43]])
    states = trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), None)
    torch.testing.assert_close(trunk.logits(states), trunk.model(ids).logits.float(), atol=0.02, rtol=0.02)


def test_capped_logits_are_worked_out_by_hand() -> None:
    """x = 3 and 6, times 0.5, capped at 2: 2 tanh(0.75) = 1.270298, 2 tanh(1.5) = 1.810297."""
    layer = torch.nn.Linear(1, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0], [2.0]])
    assert OutputHead(layer, 0.5, 2.0)(torch.tensor([[3.0]])).tolist() == [
        pytest.approx([1.270298, 1.810297], abs=1e-6)
    ]


def bfloat16_head(rows: int = 3, *, bias: bool = False) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    """A layer of 300 outputs, states for it, and the logits that float64 gives for the same numbers."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(40, 300, bias=bias).to(torch.bfloat16).requires_grad_(False)
    states = 10 * torch.randn(rows, 40, dtype=torch.bfloat16)
    exact = states.double() @ layer.weight.double().t()
    return layer, states, exact + layer.bias.double() if bias else exact


@pytest.mark.parametrize("bias", [False, True])
def test_float32_logits_are_not_rounded(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    """Also when the weights are cast a few rows at a time."""
    layer, states, exact = bfloat16_head(bias=bias)
    rounded, kept = OutputHead(layer)(states), OutputHead(layer, is_float32=True)(states)
    monkeypatch.setattr(output_module, "CAST", 1000)
    assert kept.dtype is torch.float32
    for found in (kept, OutputHead(layer, is_float32=True)(states)):
        torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=1e-5)
    assert float((rounded.double() - exact).abs().max()) > 0.01


def test_cuda_leaves_the_sum_of_a_product_as_it_is() -> None:
    """On no device, for there is no GPU: torch takes the call and gives the shape and dtype; no weight is cast."""
    layer = torch.nn.Linear(40, 300, bias=False, dtype=torch.bfloat16, device="meta").requires_grad_(False)
    states = torch.empty(2, 5, 40, dtype=torch.bfloat16, device="meta")
    with Casts() as casts:
        logits = OutputHead(layer, is_float32=True)(states)
    assert (logits.shape, logits.dtype, logits.device.type) == ((2, 5, 300), torch.float32, "meta")
    assert casts.numbers == 0


class Casts(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the numbers that are cast to another dtype."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self.numbers += made.numel()
        return made


def test_float32_logits_have_the_gradient_of_the_layer() -> None:
    layer, states, _ = bfloat16_head()
    gradients = []
    for head in (OutputHead(layer), OutputHead(layer, is_float32=True)):
        own = states.clone().requires_grad_()
        head(own[None]).square().sum().backward()
        gradients.append(own.grad)
    assert gradients[1].dtype is torch.bfloat16
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.05, atol=0.5)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_model_has_float32_logits_where_that_is_asked(family: str, tmp_path: Path) -> None:
    """A tiny Gemma's logits are capped at 3: the cap comes behind the product that is not rounded."""
    plain, kept = (trunk_with(tmp_path, family, dtype="bfloat16", float32_logits=asked) for asked in (False, True))
    weight = plain.head.layer.weight
    exact = plain.head.shaped(STATES.float() @ weight.float().t())
    assert float((plain.logits(STATES) - exact).abs().max()) > 1e-3
    torch.testing.assert_close(kept.logits(STATES), exact, atol=1e-5, rtol=1e-5)
    assert not kept.head.is_plain


STATES = torch.linspace(-3, 3, 64, dtype=torch.bfloat16).view(2, 32)


def trunk_with(folder: Path, family: str, **given: object) -> Trunk:
    """A trunk of one saved model with other settings."""
    place = folder / family
    if not place.exists():
        tiny_model(family, place)
    return load_trunk(ModelConfig.model_validate({"name": str(place), "device": "cpu", **given}))


def test_float32_logits_are_another_identity_where_they_change_anything(tmp_path: Path) -> None:
    name = str(tiny_model("llama", tmp_path / "model"))

    def identity(**given: object) -> dict[str, str]:
        return model_identity(ModelConfig.model_validate({"name": name, "device": "cpu", **given}))

    assert identity(dtype="bfloat16", float32_logits=True) != identity(dtype="bfloat16")
    assert identity(dtype="float32", float32_logits=True) == identity(dtype="float32")


@pytest.mark.parametrize("cap", [15.0, 50.0])
def test_a_cap_far_above_the_logits_of_a_token_is_found(cap: float, tmp_path: Path) -> None:
    """Logits of this model are near 0.1, where a cap of 15 changes them by a share of 1e-5."""
    trunk = trunk_of("gemma2", tmp_path / "model", final_logit_softcapping=cap, initializer_range=0.02)
    assert trunk.head.cap == cap


def test_what_no_reading_explains_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "CAPS", ())
    with pytest.raises(ModelError, match=r"its logits are not its output layer's, scaled or capped .* choose another"):
        trunk_of("gemma2", tmp_path / "model", final_logit_softcapping=30.0, initializer_range=0.02)


def test_a_name_that_the_model_does_not_use_changes_nothing(tmp_path: Path) -> None:
    """MPT's configuration has ``logit_scale``, its code does not read it."""
    trunk = trunk_of("mpt", tmp_path / "model", logit_scale=0.5)
    assert (trunk.head.scale, trunk.head.cap) == (1.0, None)


@pytest.mark.parametrize("family", ["gemma2", "granite", "cohere"])
def test_sampled_tokens_and_their_measures_are_the_models_own(family: str, tmp_path: Path) -> None:
    trunk = trunk_of(family, tmp_path / "model")
    prompt = [40, 41, 42]
    [drawn] = sample(trunk, [prompt], [7], SamplingConfig(8, 0.7, is_fixed_length=True, is_measured=True), None)
    ids = torch.tensor([[*prompt, *drawn.ids]])
    expected = torch.log_softmax(trunk.model(ids).logits[0, 2:-1].double() / 0.7, -1)
    assert drawn.measured is not None
    own = expected.gather(-1, ids[0, 3:, None])[:, 0]
    torch.testing.assert_close(drawn.measured.logprobs.double(), own, atol=1e-4, rtol=0)
    entropies = -(expected.exp() * expected).sum(-1)
    torch.testing.assert_close(drawn.measured.entropies.double(), entropies, atol=1e-4, rtol=0)
