"""Plain attention against a loop over single positions, and who gets it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rewardlab.config import ModelConfig
from rewardlab.models import attention, load_trunk
from rewardlab.models.attention import NAME, attend, grouped_attention
from rewardlab.models.cache import RoomyLayer, roomy_cache
from tests.support.models import tiny_model

KEEP = torch.tensor([[False, False, True, True, True], [True] * 5])
IDS = torch.tensor([[0, 0, 40, 41, 42], [50, 51, 52, 53, 54]])


def states(rows: int, heads: int, length: int, seed: int, width: int = 8) -> Tensor:
    return torch.randn(rows, heads, length, width, generator=torch.Generator().manual_seed(seed))


def slow_attention(query: Tensor, key: Tensor, value: Tensor, may_look: Any, scale: float) -> Tensor:
    """One output at a time; ``may_look(row, query, key)`` says what is seen."""
    out = query.new_zeros(*query.shape[:3], value.shape[-1])
    share = query.shape[1] // key.shape[1]
    for row in range(query.shape[0]):
        for head in range(query.shape[1]):
            for place in range(query.shape[2]):
                seen = [j for j in range(key.shape[2]) if may_look(row, place, j)]
                weights = [math.exp(scale * float(query[row, head, place] @ key[row, head // share, j])) for j in seen]
                for weight, j in zip(weights, seen, strict=True):
                    out[row, head, place] += weight / sum(weights) * value[row, head // share, j]
    return out


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_the_softmax_of_scaled_products(groups: int) -> None:
    query, key, value = states(2, 4, 5, 0), states(2, groups, 5, 1), states(2, groups, 5, 2)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    found = grouped_attention(query, key, value, mask, 0.3)
    torch.testing.assert_close(found, slow_attention(query, key, value, lambda r, i, j: j <= i, 0.3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [5, 13])
def test_values_may_be_narrower_or_wider_than_queries(width: int) -> None:
    query, key, value = states(2, 4, 5, 0), states(2, 2, 5, 1), states(2, 2, 5, 2, width)
    found, _ = attend(None, query.bfloat16(), key.bfloat16(), value.bfloat16(), None, 0.3)
    expected = slow_attention(query, key, value, lambda r, i, j: j <= i, 0.3)
    assert found.shape == (2, 5, 4, width)
    torch.testing.assert_close(found.float().transpose(1, 2), expected, atol=0.05, rtol=0)  # bfloat16: 1 in 256


def test_the_gradient_of_a_confident_query_is_that_of_unrounded_weights() -> None:
    """Scores 6.625 and 0 give the weights p = 0.998676 and 1 - p = 0.001324; p is 1 in bfloat16.

    With values 1 and -1 and the gradient 1 of the output, the first score's gradient is p (1 - p) 2 = 0.002644. With p
    rounded to 1 it would be 1 - (1 - 0.001324) = 0.001324, half of that.
    """
    query, key, value = (
        torch.tensor(numbers, dtype=torch.bfloat16)[None, None, :, None] for numbers in ([1.0], [6.625, 0.0], [1.0, -1])
    )
    key.requires_grad_()
    grouped_attention(query, key, value, None, 1.0).sum().backward()
    assert key.grad is not None
    assert key.grad[0, 0, 0, 0].item() == pytest.approx(0.002644, rel=0.01)


def test_rows_that_see_nothing_stay_finite() -> None:
    query, key, value = states(2, 4, 5, 0), states(2, 2, 5, 1), states(2, 2, 5, 2)
    query.requires_grad_()
    mask = torch.ones(5, 5, dtype=torch.bool).tril()[None, None] & KEEP[:, None, None, :]
    found = grouped_attention(query, key, value, mask, 0.3)
    assert found.isfinite().all()
    expected = slow_attention(query.detach(), key, value, lambda r, i, j: j <= i and bool(KEEP[r, j]), 0.3)
    for row in range(2):
        torch.testing.assert_close(found[row][:, KEEP[row]], expected[row][:, KEEP[row]], atol=1e-5, rtol=0)
    found.sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 6), (2, 6)])
def test_without_a_mask_it_is_causal(queries: int, keys: int) -> None:
    query, key, value = (states(2, h, n, s).bfloat16() for h, n, s in ((4, queries, 0), (2, keys, 1), (2, keys, 2)))
    found, weights = attend(None, query, key, value, None)
    assert weights is None
    assert found.shape == (2, queries, 4, 8)
    expected = slow_attention(
        query.float(), key.float(), value.float(), lambda r, i, j: j <= i + keys - queries, 8**-0.5
    )
    torch.testing.assert_close(found.float().transpose(1, 2), expected, atol=0.03, rtol=0)  # bfloat16: 1 in 256


@pytest.mark.parametrize("change", [{"position_bias": torch.ones(1)}, {"is_causal": False}, {"dropout": 0.1}])
def test_what_it_cannot_do_is_left_to_transformers(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import sdpa_attention

    asked: list[dict[str, Any]] = []

    def fused(*tensors: Any, **options: Any) -> tuple[str, None]:
        asked.append(options)
        return "fused", None

    monkeypatch.setattr(sdpa_attention, "sdpa_attention_forward", fused)
    short, heads = states(1, 2, 3, 0).bfloat16(), states(1, 2, 3, 1).bfloat16()
    assert attend(None, short, heads, heads, None, **change)[0] == "fused"
    assert change.items() <= asked[0].items()
    assert attend(None, short.float(), heads.float(), heads.float(), None)[0] == "fused"
    monkeypatch.setattr(attention, "LARGEST", 17)  # 1 x 2 x 3 x 3 scores are 18
    assert attend(None, short, heads, heads, None)[0] == "fused"


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gpt_neox", "bloom", "deepseek_v3"])
def test_bfloat16_models_give_what_their_own_attention_gives(family: str, tmp_path: Path) -> None:
    folder = tiny_model(family, tmp_path / "model")
    trunk = load_trunk(ModelConfig(name=str(folder), dtype="bfloat16", device="cpu"))
    own = trunk.model.config._attn_implementation
    assert own == ("eager" if family == "bloom" else NAME)
    found = trunk.hidden(IDS, KEEP, None)[KEEP].float()
    trunk.model.set_attn_implementation("eager" if family == "bloom" else "sdpa")
    expected = trunk.hidden(IDS, KEEP, None)[KEEP].float()
    assert float((found - expected).abs().max()) <= 0.05 * float(expected.abs().max())


def test_float32_models_keep_torchs_attention(tmp_path: Path) -> None:
    folder = tiny_model("llama", tmp_path / "model")
    assert (
        load_trunk(ModelConfig(name=str(folder), dtype="float32", device="cpu")).model.config._attn_implementation
        == "sdpa"
    )


def test_a_cache_with_room_holds_what_was_appended() -> None:
    layer = RoomyLayer()
    pieces = [(states(3, 2, n, n), states(3, 2, n, n + 100)) for n in (5, 1, 70, 1)]  # 70 exceeds the room
    for number, (key, value) in enumerate(pieces):
        keys, values = layer.update(key, value)
        assert torch.equal(keys, torch.cat([piece[0] for piece in pieces[: number + 1]], 2))
        assert torch.equal(values, torch.cat([piece[1] for piece in pieces[: number + 1]], 2))
    assert layer.get_seq_length() == 77


def test_a_cache_with_room_keeps_chosen_rows_and_goes_on() -> None:
    layer = RoomyLayer()
    layer.batch_select_indices(torch.tensor([0]))  # empty: nothing to choose from
    first, new = states(3, 2, 4, 0), states(2, 2, 1, 1)
    layer.update(first, first + 1)
    layer.batch_select_indices(torch.tensor([2, 0]))
    keys, values = layer.update(new, new + 1)
    assert torch.equal(keys, torch.cat([first[[2, 0]], new], 2))
    assert torch.equal(values, torch.cat([first[[2, 0]] + 1, new + 1], 2))


def test_a_cache_with_room_follows_rows_that_are_repeated_reordered_and_cut() -> None:
    layer = RoomyLayer()
    first, new = states(2, 2, 4, 0), states(4, 2, 1, 1)
    layer.update(first, first + 1)
    layer.batch_repeat_interleave(2)
    layer.reorder_cache(torch.tensor([3, 0, 1, 2]))
    layer.crop(-1)
    keys, values = layer.update(new, new + 1)
    kept = first[[1, 0, 0, 1], :, :3]
    assert torch.equal(keys, torch.cat([kept, new], 2))
    assert torch.equal(values, torch.cat([kept + 1, new + 1], 2))


def test_appending_does_not_copy_what_is_there() -> None:
    layer = RoomyLayer()
    keys, _ = layer.update(states(3, 2, 4, 0), states(3, 2, 4, 1))
    more, _ = layer.update(states(3, 2, 1, 2), states(3, 2, 1, 3))
    assert more.data_ptr() == keys.data_ptr()


def test_layers_with_a_sliding_window_keep_their_own_cache(tmp_path: Path) -> None:
    folder = tiny_model("mistral", tmp_path / "model", sliding_window=3)
    trunk = load_trunk(ModelConfig(name=str(folder), dtype="float32", device="cpu"))
    assert not any(isinstance(layer, RoomyLayer) for layer in roomy_cache(trunk.model.config).layers)
    plain = tiny_model("llama", tmp_path / "plain")
    layers = roomy_cache(load_trunk(ModelConfig(name=str(plain), device="cpu")).model.config).layers
    assert [type(layer) for layer in layers] == [RoomyLayer] * 2
