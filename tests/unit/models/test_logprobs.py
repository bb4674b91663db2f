"""Log-probabilities without kept logits: the numbers and gradients of the plain formula, and layers that run twice."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.models import Trunk, load_trunk, logprobs
from rewardlab.models.logprobs import state_entropies, state_logprobs
from rewardlab.models.output import OutputHead
from tests.support import slow
from tests.support.models import tiny_model
from tests.support.training import ppo_trainer

ROWS, WIDTH, WORDS = 7, 6, 11


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def output(request: pytest.FixtureRequest) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, WORDS, bias=request.param).requires_grad_(False)


def states() -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()


TOKENS = torch.tensor([0, 10, 3, 3, 7, 1, 5])


@pytest.mark.parametrize("largest", [1, 3 * WORDS, 1 << 24])
def test_numbers_and_gradients_are_those_of_the_formula(
    output: nn.Linear, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "LARGEST", largest)
    mine, theirs = states(), states()
    found = state_logprobs(mine, TOKENS, output, 0.7)
    expected = [math.log(slow.softmax(row, 0.7)[t]) for row, t in zip(output(mine).tolist(), TOKENS, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    weights = torch.linspace(-1, 2, ROWS)
    (found * weights).sum().backward()
    plain = torch.log_softmax(output(theirs) / 0.7, -1)[range(ROWS), TOKENS]
    (plain * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=0)
    with torch.no_grad():
        assert torch.equal(state_logprobs(mine, TOKENS, output, 0.7), found)


@pytest.mark.parametrize("largest", [1, 1 << 24])
def test_entropies_are_those_of_the_formula(output: nn.Linear, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "LARGEST", largest)
    rows = [slow.softmax(row, 0.7) for row in output(states()).tolist()]
    expected = [-sum(p * math.log(p) for p in row) for row in rows]
    with torch.no_grad():
        assert state_entropies(states(), output, 0.7).tolist() == pytest.approx(expected, abs=1e-5)
    assert state_entropies(states(), output, 0.7).requires_grad


def test_no_tensor_over_the_vocabulary_is_kept(output: nn.Linear) -> None:
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        state_logprobs(states(), TOKENS, output, 1.0)
    assert kept == [(ROWS, WIDTH)]


def test_slopes_are_worked_out_only_where_a_gradient_is_asked_for(
    output: nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "_shares_of_others", None)  # whoever calls it fails
    state_logprobs(states().detach(), TOKENS, output, 1.0)
    with torch.no_grad():
        state_logprobs(states(), TOKENS, output, 1.0)


def test_entropies_without_a_gradient_are_worked_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "LARGEST", 2 * WORDS)
    layer, seen = nn.Linear(WIDTH, WORDS).requires_grad_(False), list[int]()
    layer.register_forward_hook(lambda module, given, found: seen.append(len(given[0])))
    state_entropies(states().detach(), layer, 1.0)
    with torch.no_grad():
        state_entropies(states(), layer, 1.0)
    assert seen == [2, 2, 2, 1] * 2
    state_entropies(states(), layer, 1.0)
    assert seen[8:] == [ROWS]


@pytest.mark.parametrize(("words", "sizes"), [(1 << 23, [2, 1]), (1 << 24, [1, 1, 1]), (1 << 25, [1, 1, 1])])
def test_a_piece_has_at_most_sixteen_million_logits(words: int, sizes: list[int]) -> None:
    layer = nn.Linear(1, words, device="meta")
    pieces = logprobs._pieces(torch.zeros(3, 1), torch.zeros(3), OutputHead(layer))
    assert [len(piece) for piece, _ in pieces] == sizes


HEADS = {"plain": (1.0, None), "divided": (0.25, None), "capped": (1.0, 20.0), "both": (2.0, 30.0)}
"""Factor and cap of the logits."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("p", [0.3, 0.9, 0.99, 0.9987, 0.9999])
def test_gradients_of_confident_tokens_are_those_of_float64(p: float, kind: str, dtype: torch.dtype) -> None:
    """Rows of 96 numbers and 500 words; each state is moved along its token's row until the token has about ``p``."""
    (scale, cap), generator = HEADS[kind], torch.Generator().manual_seed(3)
    output = nn.Linear(96, 500, bias=False, dtype=dtype).requires_grad_(False)
    output.weight.copy_(torch.randn(500, 96, generator=generator) / 96**0.5)
    weight, tokens = output.weight.double(), torch.randint(500, (16,), generator=generator)
    noise = torch.randn(16, 96, generator=generator, dtype=torch.float64)

    def logprobs(states: Tensor) -> Tensor:
        logits = states @ weight.T * scale
        logits = logits if cap is None else cap * torch.tanh(logits / cap)
        return torch.log_softmax(logits / 0.8, -1)[range(16), tokens]

    own, low, high = weight[tokens], torch.zeros(16, 1, dtype=torch.float64), torch.full((16, 1), 25.0 / scale).double()
    for _ in range(40):
        middle = (low + high) / 2
        below = logprobs(noise + middle * own).exp()[:, None] < p
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    mine = (noise + low * own).to(dtype).requires_grad_()
    theirs = mine.detach().double().requires_grad_()
    expected = logprobs(theirs)
    expected.sum().backward()
    assert expected.exp().median().item() == pytest.approx(p, abs=0.3 * (1 - p))
    state_logprobs(mine, tokens, OutputHead(output, scale, cap), 0.8).sum().backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    found, limit = mine.grad.double(), 1e-4 if dtype == torch.float32 else 0.1
    assert torch.cosine_similarity(found, theirs.grad, dim=-1).min().item() > 1 - limit / 20
    torch.testing.assert_close(
        found.norm(dim=-1) / theirs.grad.norm(dim=-1), torch.ones(16).double(), atol=limit, rtol=0
    )


@pytest.mark.parametrize("kind", HEADS)
def test_entropies_have_the_gradients_of_float64(kind: str) -> None:
    (scale, cap), generator = HEADS[kind], torch.Generator().manual_seed(3)
    output = nn.Linear(96, 500, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    output.weight.copy_(torch.randn(500, 96, generator=generator))
    mine = torch.randn(16, 96, generator=generator).bfloat16().requires_grad_()
    theirs = mine.detach().double().requires_grad_()
    state_entropies(mine, OutputHead(output, scale, cap), 0.8).sum().backward()
    logits = theirs @ output.weight.double().T * scale
    shares = torch.softmax((logits if cap is None else cap * torch.tanh(logits / cap)) / 0.8, -1)
    torch.special.entr(shares).sum().backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    assert torch.cosine_similarity(mine.grad.double().flatten(), theirs.grad.flatten(), dim=0).item() > 0.99


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_layers_that_run_twice_give_the_same_gradients(family: str, tmp_path: Path) -> None:
    folder = tiny_model(family, tmp_path / "model")
    trunk = load_trunk(ModelConfig(name=str(folder), dtype="float32", device="cpu"))
    generator = torch.Generator().manual_seed(2)
    for name in ("policy", "value"):
        trunk.roles.add(name, LoraConfig(rank=4))
        for parameter in trunk.roles.parameters(name):
            parameter.data.normal_(0, 0.1, generator=generator)
    modes = [module.training for module in trunk.model.modules()]
    plain, kept_plain = gradients(trunk)
    trunk.is_checkpointed = True
    twice, kept_twice = gradients(trunk)
    assert len(plain) == len(twice) > 0
    for name, gradient in plain.items():
        torch.testing.assert_close(twice[name], gradient, atol=1e-6, rtol=0)
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in plain.values())
    assert kept_twice < kept_plain / 3
    assert [module.training for module in trunk.model.modules()] == modes


def gradients(trunk: Trunk) -> tuple[dict[str, Tensor], int]:
    """Gradients of two roles in one backward pass, and how many numbers were kept for it."""
    ids = torch.tensor([[40, 41, 42, 43], [50, 51, 52, 53]])
    keep, sizes = torch.ones_like(ids, dtype=torch.bool), [0]

    def count(tensor: Tensor) -> Tensor:
        sizes[0] += tensor.numel() * (not isinstance(tensor, nn.Parameter))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        read = torch.linspace(-1, 2, trunk.width)  # the final norm makes plain sums nearly constant
        loss = ((trunk.hidden(ids, keep, "policy") + trunk.hidden(ids, keep, "value").square()) * read).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    found = {n: p.grad.clone() for n, p in trunk.model.named_parameters() if p.grad is not None}
    trunk.model.zero_grad(set_to_none=True)
    return found, sizes[0]


def test_a_run_with_gradient_checkpointing_learns_the_same(tmp_path: Path) -> None:
    adapters = []
    for setting in (False, True):
        trainer = ppo_trainer(
            tmp_path / str(setting), lambda example, text: float(len(text)), gradient_checkpointing=setting
        )
        trainer.train()
        adapters.append(trainer.trunk.roles.state("policy"))
    for name, tensor in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], tensor, atol=1e-5, rtol=0)
