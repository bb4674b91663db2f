"""Logits as the model makes them: scaled and capped behind the output layer, found out on large states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewardlab.config import ModelConfig
from rewardlab.errors import ModelError
from rewardlab.models import SamplingConfig, Trunk, load_trunk, sample
from rewardlab.models import output as output_module
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
