"""Scalar heads by hand: a new one says 0, a stored one says the same again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file

from rewardlab.models.heads import HEAD_FILE, ScalarHead

KINDS: tuple[Literal["linear", "mlp"], ...] = ("linear", "mlp")
STATES = torch.tensor([[[1.0, 2.0], [0.0, 1.0], [2.0, 0.0]], [[0.0, 0.0], [1.0, 1.0], [3.0, 1.0]]])
"""Two sequences of three tokens, width 2."""


def head(kind: Literal["linear", "mlp"]) -> ScalarHead:
    """3 a - b + 0.5; behind a hidden layer of tanh(b + 0.25) and tanh(2 a + 0.75) where there is one."""
    made = ScalarHead(2, kind)
    made.out.weight.data = torch.tensor([[3.0, -1.0]])
    made.out.bias.data = torch.tensor([0.5])
    if made.hidden is not None:
        made.hidden.weight.data = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
        made.hidden.bias.data = torch.tensor([0.25, 0.75])
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_head_says_0_everywhere(kind: Literal["linear", "mlp"]) -> None:
    assert ScalarHead(2, kind)(STATES).tolist() == [[0.0] * 3] * 2


def test_numbers_by_hand() -> None:
    assert head("linear")(STATES).tolist() == [[1.5, -0.5, 6.5], [0.5, 2.5, 8.5]]
    assert head("mlp")(STATES[0, 0]).item() == pytest.approx(3 * math.tanh(2.25) - math.tanh(2.75) + 0.5, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_head_says_the_same(kind: Literal["linear", "mlp"], tmp_path: Path) -> None:
    head(kind).save(tmp_path)
    found = ScalarHead.load(tmp_path)
    assert found.kind == kind
    assert torch.equal(found(STATES), head(kind)(STATES))


def test_a_missing_bias_is_zero(tmp_path: Path) -> None:
    save_file({"weight": torch.tensor([[3.0, -1.0]])}, tmp_path / HEAD_FILE)
    assert ScalarHead.load(tmp_path)(STATES[0, 0]).item() == 1.0
