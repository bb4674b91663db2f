"""Losses of pairs: by hand, against TRL's DPOTrainer, and what follows from their formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from rewardlab.errors import ShapeError
from rewardlab.functional.preference import PairLogprobs, PreferenceLoss, pair_losses
from tests.support.trl_trainers import pair_loss

KINDS: tuple[PreferenceLoss, ...] = get_args(PreferenceLoss)
RECORDED = Path(__file__).parents[1] / "recorded" / "trl_1_16_0_dpo.json"


def one_pair(chosen: float, rejected: float) -> PairLogprobs:
    """Raised by so many nats over the reference; 2 and 4 tokens."""
    numbers = (chosen - 3.0, rejected - 2.5, -3.0, -2.5, 2, 4)
    return PairLogprobs(*(torch.tensor([number], dtype=torch.float64) for number in numbers))


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (8, 5) of four pairs, the reference's sums (8,), and which tokens are kept."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([5, 2, 3, 1, 4, 5, 1, 2])
    keep = torch.arange(5)[None] < lengths[:, None]
    logprobs = -2 * torch.rand(8, 5, generator=generator, dtype=torch.float64) * keep
    return logprobs, logprobs.sum(-1) + 3 * torch.randn(8, generator=generator, dtype=torch.float64), keep


def as_pairs(logprobs: Tensor, reference: Tensor, keep: Tensor) -> PairLogprobs:
    (chosen, rejected), (low, high), tokens = (t.chunk(2) for t in (logprobs.sum(-1), reference, keep.sum(-1)))
    return PairLogprobs(chosen, rejected, low, high, *tokens)


@pytest.mark.parametrize(
    ("kind", "flip_rate", "expected"),
    [
        # margin 1 + 0.5 = 1.5 nats, times beta 0.5 is 0.75; per token 1/2 + 0.5/4 = 0.625
        ("sigmoid", 0.0, 0.386871),  # ln(1 + e^-0.75)
        ("robust", 0.0, 0.386871),
        ("robust", 0.1, 0.293121),  # (0.9 * 0.386871 - 0.1 * (0.386871 + 0.75)) / 0.8
        ("hinge", 0.0, 0.25),  # 1 - 0.75
        ("ipo", 0.0, 0.140625),  # (0.625 - 1 / (2 * 0.5))^2
    ],
)
def test_by_hand(kind: PreferenceLoss, flip_rate: float, expected: float) -> None:
    found = pair_losses(kind, one_pair(1.0, -0.5), beta=0.5, flip_rate=flip_rate)
    assert found.tolist() == pytest.approx([expected], abs=1e-6)


def test_at_the_reference() -> None:
    """As the docstring says; the flip rate does not matter where the margin is 0."""
    landmarks = {"sigmoid": math.log(2), "robust": math.log(2), "hinge": 1.0, "ipo": 1 / (4 * 0.2**2)}
    for kind in KINDS:
        found = pair_losses(kind, one_pair(0.0, 0.0), beta=0.2, flip_rate=0.3)
        assert float(found) == pytest.approx(landmarks[kind], abs=1e-12)


def test_the_hinge_is_silent_beyond_its_margin() -> None:
    assert float(pair_losses("hinge", one_pair(3.0, 0.0), beta=0.5)) == 0.0
    assert float(pair_losses("hinge", one_pair(-3.0, 0.0), beta=0.5)) == 2.5


def test_robust_at_rate_zero_is_plain_sigmoid() -> None:
    pairs = as_pairs(*drawn())
    assert torch.equal(pair_losses("robust", pairs, beta=0.3), pair_losses("sigmoid", pairs, beta=0.3))
    assert not torch.allclose(
        pair_losses("robust", pairs, beta=0.3, flip_rate=0.2), pair_losses("sigmoid", pairs, beta=0.3)
    )


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_robust_undoes_random_flips_on_average(rate: float) -> None:
    """Each pair is seen as it is with probability 1 - rate and turned round with probability rate."""
    pairs = as_pairs(*drawn())
    turned = PairLogprobs(
        *(pairs.rejected, pairs.chosen, pairs.reference_rejected, pairs.reference_chosen),
        *(pairs.rejected_tokens, pairs.chosen_tokens),
    )
    seen, flipped = (pair_losses("robust", each, beta=0.3, flip_rate=rate) for each in (pairs, turned))
    expected = pair_losses("sigmoid", pairs, beta=0.3)
    torch.testing.assert_close((1 - rate) * seen + rate * flipped, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_equals_trl(kind: PreferenceLoss, seed: int) -> None:
    """Loss, gradient, margins and accuracy of the installed DPOTrainer; its margins are beta times ours."""
    logprobs, reference, keep = drawn(seed)
    own, other = logprobs.clone().requires_grad_(), logprobs.clone().requires_grad_()
    pairs = as_pairs(own, reference, keep)
    loss = pair_losses(kind, pairs, beta=0.3, flip_rate=0.15).mean()
    theirs, logged = pair_loss(kind, other, reference, keep, beta=0.3, smoothing=0.15)
    assert float(loss.detach()) == pytest.approx(float(theirs.detach()), abs=1e-9)
    gradients = torch.autograd.grad(loss, own)[0], torch.autograd.grad(theirs, other)[0]
    torch.testing.assert_close(*gradients, atol=1e-9, rtol=0)
    assert float(gradients[0].abs().max()) > 1e-3
    pairs = as_pairs(logprobs, reference, keep)
    assert 0.3 * float(pairs.margin.mean()) == pytest.approx(logged["rewards/margins"], abs=1e-9)
    assert float((pairs.margin > 0).double().mean()) == pytest.approx(logged["rewards/accuracies"])
    assert float(pairs.chosen.mean()) == pytest.approx(logged["logps/chosen"], abs=1e-9)
    assert float(pairs.rejected.mean()) == pytest.approx(logged["logps/rejected"], abs=1e-9)


@pytest.mark.parametrize("number", range(8))
def test_equals_what_trl_computed_when_it_was_recorded(number: int) -> None:
    stored: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert stored["trl"] == "1.16.0"
    case = stored["found"][number]
    logprobs, reference = (torch.tensor(stored[name], dtype=torch.float64) for name in ("logprobs", "reference"))
    pairs = as_pairs(logprobs, reference, torch.tensor(stored["keep"]))
    found = pair_losses(case["loss_type"], pairs, beta=case["beta"], flip_rate=case["label_smoothing"]).mean()
    assert float(found) == pytest.approx(case["loss"], abs=1e-9)


def test_refuses_what_does_not_pair() -> None:
    two, three = torch.zeros(2), torch.zeros(3)
    with pytest.raises(ShapeError, match=r"'rejected': \(3,\)"):
        PairLogprobs(two, three, two, two, two, two)
    with pytest.raises(ShapeError, match="not be empty"):
        PairLogprobs(*[torch.zeros(0)] * 6)
