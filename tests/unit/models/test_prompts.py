"""Shared prompts against plain passes of transformers over single rows: states, gradients, tokens read, fallbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.models import Codec, Trunk, prompts
from rewardlab.models.prompts import can_share, response_states, shares_prompts
from rewardlab.models.sampler import left_pad, right_pad
from tests.support.models import FAMILIES, UNUSUAL, tiny_model

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in [*FAMILIES, *UNUSUAL] if family != "falcon_h1"},
    "mistral, window of 4": ("mistral", {"sliding_window": 4}),
    "gemma2, window of 6": ("gemma2", {"sliding_window": 6}),
}
SINGLE = {"bloom", "mpt", "gemma2", "deepseek_v3"}
"""Families whose softmax or experts do not take float64."""
PROMPTS = [[50, 61, 72, 83, 94, 105, 116], [51, 62, 73], [52, 63, 74, 85, 96]]
RESPONSES = [
    [[120, 131, 142, 153, 164], [121, 132], [122, 133, 144]],
    [[123, 134, 145, 156], [124]],
    [[125, 136, 147]],
]
"""Of each prompt: as many as three, as few as one, of different lengths."""


def trunk_of(folder: Path, dtype: torch.dtype = torch.float64) -> Trunk:
    """A trunk whose role ``policy`` says something of its own."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    trunk = Trunk(model, Codec(AutoTokenizer.from_pretrained(folder), ModelConfig(name=str(folder))), "tiny")
    trunk.roles.add("policy", LoraConfig(rank=4))
    generator = torch.Generator().manual_seed(1)
    for parameter in trunk.roles.parameters("policy"):
        parameter.data = torch.empty(parameter.shape, dtype=dtype).normal_(0, 0.2, generator=generator)
    return trunk


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(", ", "-").replace(" ", "_"))
def trunk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trunk:
    family, changes = CASES[request.param]
    folder = tiny_model(family, tmp_path_factory.mktemp("models") / family, **changes)
    return trunk_of(folder, torch.float32 if family in SINGLE else torch.float64)


@pytest.fixture
def llama(tmp_path: Path) -> Trunk:
    return trunk_of(tiny_model("llama", tmp_path / "llama"))


def padded(trunk: Trunk) -> tuple[Tensor, Tensor, int, list[int]]:
    """All rows as a chunk has them: ids, keep, prompt columns, owners."""
    rows = [(prompt, response) for prompt, own in zip(PROMPTS, RESPONSES, strict=True) for response in own]
    left, left_keep = left_pad([prompt for prompt, _ in rows], trunk.codec.pad_id, trunk.device)
    right, right_keep = right_pad([response for _, response in rows], trunk.codec.pad_id, trunk.device)
    return torch.cat([left, right], 1), torch.cat([left_keep, right_keep], 1), left.shape[1], [0, 0, 0, 3, 3, 5]


def shared(trunk: Trunk, role: str | None = "policy") -> Tensor:
    """States of all response tokens, row by row. Shape (N, H)."""
    ids, keep, width, owners = padded(trunk)
    return response_states(trunk, ids, keep, width, owners, role)[keep[:, width:]]


def alone(trunk: Trunk, role: str | None = "policy") -> Tensor:
    """The same by a plain pass of transformers over each row: there is no padding, mask or position to get wrong."""
    found = []
    for prompt, own in zip(PROMPTS, RESPONSES, strict=True):
        for response in own:
            with trunk.roles.using(role):
                states = trunk.model.base_model(torch.tensor([[*prompt, *response]]), use_cache=False).last_hidden_state
            found.append(states[0, len(prompt) - 1 : -1])
    return torch.cat(found)


def gradients(trunk: Trunk, states: Tensor) -> dict[str, Tensor]:
    """Of a weighted sum of the states in the adapter, by parameter."""
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(2), dtype=states.dtype)
    parameters = trunk.roles._adapter("policy")
    found = torch.autograd.grad((weights * states).sum(), list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


@contextmanager
def tokens_of(trunk: Trunk) -> Iterator[list[int]]:
    """How many tokens each pass reads."""
    read: list[int] = []
    handle = trunk.model.get_input_embeddings().register_forward_hook(
        lambda module, given, out: read.append(given[0].numel())
    )
    try:
        yield read
    finally:
        handle.remove()


def test_states_and_gradients_are_those_of_each_row_alone(trunk: Trunk) -> None:
    """In float64 what is left is the float32 inside norms and rotations."""
    assert shares_prompts(trunk)
    tolerance = 1e-6 if trunk.dtype is torch.float64 else 5e-5
    ours, plain = shared(trunk), alone(trunk)
    torch.testing.assert_close(ours, plain, rtol=0, atol=tolerance * float(plain.detach().abs().max()))
    expected = gradients(trunk, plain)
    for name, gradient in gradients(trunk, ours).items():
        largest = float(expected[name].abs().max())
        assert largest > 1e-3, name
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=tolerance * largest, msg=name)


def test_the_reference_is_the_bare_trunk(llama: Trunk) -> None:
    torch.testing.assert_close(shared(llama, None), alone(llama, None), rtol=0, atol=1e-6)
    assert (shared(llama, None) - shared(llama)).abs().max() > 0.1


def test_each_prompt_is_read_once_and_the_last_token_not_at_all(llama: Trunk) -> None:
    """Three prompts in 7 columns, six responses in 5 columns less the last, against 6 x 12 tokens."""
    ids, keep, *_ = padded(llama)
    with tokens_of(llama) as read:
        shared(llama)
    assert read == [3 * 7, 6 * 4]
    with tokens_of(llama) as read:
        llama.hidden(ids, keep, "policy")
    assert read == [6 * 12]


def test_responses_of_one_token_are_predicted_by_the_prompts_alone(llama: Trunk) -> None:
    ids, keep, width, owners = padded(llama)
    states = response_states(llama, ids[:, : width + 1], keep[:, : width + 1], width, owners, "policy")
    whole = response_states(llama, ids, keep, width, owners, "policy")
    torch.testing.assert_close(states, whole[:, :1], rtol=0, atol=1e-9)


def test_recomputed_activations_give_the_same_gradient_and_read_the_prompt_once(llama: Trunk) -> None:
    expected = gradients(llama, shared(llama))
    llama.is_checkpointed = True
    layer = llama.model.model.layers[1].input_layernorm
    runs: list[int] = []
    handle = layer.register_forward_hook(lambda module, given, out: runs.append(given[0].shape[:2].numel()))
    found = gradients(llama, shared(llama))
    handle.remove()
    assert runs == [21, 24, 24, 21]  # forward, and again in the backward pass in the other order
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-9, msg=name)


def test_states_that_are_not_keys_and_values_are_not_shared(tmp_path: Path) -> None:
    assert not shares_prompts(trunk_of(tiny_model("falcon_h1", tmp_path / "model"), torch.float32))


@pytest.mark.parametrize("fault", ["positions", "raises"])
def test_a_model_that_reads_cached_prompts_otherwise_is_found(
    llama: Trunk, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    original = llama.backbone.forward

    def forward(ids: Tensor, past_key_values: Any = None, **options: Any) -> Any:
        if fault == "raises" and past_key_values is not None:
            raise ValueError("no caches here")
        if fault == "positions" and options["position_ids"].shape != options["attention_mask"].shape:
            options["position_ids"] = options["position_ids"] - 1
        return original(ids, past_key_values=past_key_values, **options)

    monkeypatch.setattr(llama.backbone, "forward", forward)
    assert not shares_prompts(llama)
    assert llama.rows_read == 0


def test_a_fault_of_ours_and_a_lack_of_memory_are_no_model_that_cannot_share(
    llama: Trunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Callable[..., Any]:
        def fail(*_: Any) -> Any:
            raise error

        return fail

    with monkeypatch.context() as patch:
        patch.setattr(prompts, "PromptLayer", None)
        with pytest.raises(TypeError, match="NoneType"):
            can_share(llama)
    with monkeypatch.context() as patch:
        patch.setattr(prompts, "response_states", failing(torch.OutOfMemoryError("no memory")))
        with pytest.raises(torch.OutOfMemoryError):
            can_share(llama)
    with monkeypatch.context() as patch:
        patch.setattr(prompts, "response_states", failing(TypeError("a model's unexpected argument")))
        assert not can_share(llama)
    assert can_share(llama)
