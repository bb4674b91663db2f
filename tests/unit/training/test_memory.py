"""Memory by arithmetic, beside what torch allocates for tiny models: weights to the byte, activations within 10 %."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from rewardlab.config import ModelConfig, RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.models import Codec, Trunk
from rewardlab.models.logprobs import LARGEST
from rewardlab.models.sampler import left_pad
from rewardlab.models.shapes import word_tokenizer
from rewardlab.models.sizes import SHAPES
from rewardlab.training.memory import (
    CHUNK,
    GIB,
    OWN,
    Shape,
    activation_bytes,
    adapter_numbers,
    cache_bytes,
    estimate,
    known_shape,
    memory_lines,
    trunk_bytes,
)
from tests.support.commands import SMALL, Command
from tests.support.training import ppo_trainer

ROWS, TOKENS = 3, 96
SIZES: Mapping[str, Any] = {
    "vocab_size": 500,
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def shape_of(kind: str, **more: Any) -> Shape:
    shape = Shape.read({**SIZES, **more, "model_type": kind})
    assert shape is not None
    return shape


def model_of(kind: str, dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **SIZES, **SPECIAL, **more), dtype=dtype
    )


def trunk_of(dtype: torch.dtype, config: RunConfig) -> Trunk:
    model = model_of("llama", dtype)
    trunk = Trunk(model, Codec(word_tokenizer(500), ModelConfig()), "tiny")
    model.set_attn_implementation("sdpa")  # as on a GPU; short bfloat16 rows on a CPU have attention of their own
    trunk.roles.add("policy", config.lora)
    return trunk


def settings(**given: Any) -> RunConfig:
    return load_config({key.replace("__", "."): value for key, value in given.items()}, NO_FILE)


def size_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("more", [{"tie_word_embeddings": True}, {"tie_word_embeddings": False, "head_dim": 16}])
def test_parameters_are_counted_exactly(kind: str, more: dict[str, Any]) -> None:
    if kind == "qwen2":
        more = {name: value for name, value in more.items() if name != "head_dim"}
    model = model_of(kind, torch.bfloat16, **more)
    shape = shape_of(kind, **model.config.to_dict() | {"model_type": kind})
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert trunk_bytes(shape, "bfloat16", "none") == size_of(model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama3.2-1b", 1_235_814_400),
        ("llama3.2-3b", 3_212_749_824),
        ("llama2-7b", 6_738_415_616),
        ("llama2-13b", 13_015_864_320),
        ("smollm2-135m", 134_515_008),
    ],
)
def test_known_shapes_have_as_many_parameters_as_their_makers_say(name: str, parameters: int) -> None:
    shape = Shape.read(SHAPES[name])
    assert shape is not None
    assert shape.parameters == parameters


@pytest.mark.parametrize("kind", ["gpt2", "gemma3_text", "mixtral"])
def test_another_architecture_is_not_guessed(kind: str) -> None:
    assert Shape.read({**SIZES, "model_type": kind}) is None
    assert Shape.read({"model_type": "llama"}) is None
    assert Shape.read({**SIZES, "attention_bias": True}) is None


@pytest.mark.parametrize("value", ["head", "adapter"])
def test_adapters_and_optimiser_to_the_byte(tmp_path: Path, value: str) -> None:
    """Weights, gradients and AdamW's two moments, in float32; its counters of steps are left out."""
    trainer = ppo_trainer(tmp_path, lambda example, text: float(len(text)), value=value, steps=1)
    trainer.train()
    parameters = [
        p for one in trainer.learner.optimizers.values() for group in one.param_groups for p in group["params"]
    ]
    states = [one.state[p] for one in trainer.learner.optimizers.values() for p in one.state]
    measured = 2 * size_of(parameters) + sum(size_of((state["exp_avg"], state["exp_avg_sq"])) for state in states)
    shape = Shape.read(trainer.trunk.model.config.to_dict())
    assert shape is not None
    assert estimate("ppo", shape, trainer.run_config, "float32").adapters == measured
    assert measured > 0


def test_every_target_is_counted(tmp_path: Path) -> None:
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    config = settings(lora__targets=list(names), lora__rank=3)
    trunk = trunk_of(torch.float32, config)
    numbers = sum(parameter.numel() for parameter in trunk.roles.parameters("policy"))
    assert adapter_numbers(shape_of("llama"), config) == numbers


def kept_bytes(trunk: Trunk) -> int:
    """What torch keeps for the backward pass beside the model's own parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in trunk.model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids, mask = left_pad([list(range(4, 4 + TOKENS - row)) for row in range(ROWS)], 0, torch.device("cpu"))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trunk.hidden(ids, mask, "policy")
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]])
def test_activations_within_ten_per_cent(dtype: str, targets: list[str]) -> None:
    config = settings(lora__targets=targets)
    measured = kept_bytes(trunk_of(getattr(torch, dtype), config))
    size = 4 if dtype == "float32" else 2
    counted = activation_bytes(shape_of("llama"), config, size, ROWS, TOKENS, is_checkpointed=False)
    assert counted == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_checkpoints_the_inputs_of_layers_and_one_layer(dtype: str) -> None:
    """Kept between the passes are the inputs; the layer that runs again is counted on top."""
    config, size = settings(), 4 if dtype == "float32" else 2
    trunk = trunk_of(getattr(torch, dtype), config)
    whole = kept_bytes(trunk)
    trunk.is_checkpointed = True
    inputs = kept_bytes(trunk)
    shape = shape_of("llama")
    counted = activation_bytes(shape, config, size, ROWS, TOKENS, is_checkpointed=True)
    assert counted == pytest.approx(inputs + (whole - inputs) / shape.layers, rel=0.15)
    assert counted < 0.5 * whole


@torch.inference_mode()
def test_the_cache_to_the_byte() -> None:
    trunk = trunk_of(torch.bfloat16, settings())
    ids, keep = left_pad([[4] * TOKENS] * ROWS, 0, torch.device("cpu"))
    layers = trunk.prefill(ids, keep).cache.layers
    measured = size_of([tensor for layer in layers for tensor in (layer.keys, layer.values)])
    assert cache_bytes(shape_of("llama"), 2, ROWS, TOKENS) == measured


def test_four_bits_as_bitsandbytes_stores_them() -> None:
    functional = pytest.importorskip("bitsandbytes").functional
    shape, stored = shape_of("llama"), 0
    for wide, narrow in shape.linears().values():
        weights, state = functional.quantize_4bit(torch.randn(narrow, wide), quant_type="nf4")
        stored += shape.layers * size_of([weights, state.absmax])
    rest = (shape.parameters - shape.matrices) * 2
    assert trunk_bytes(shape, "bfloat16", "nf4") == pytest.approx(stored + rest, rel=1e-6)


def test_pieces_of_logits_are_those_of_the_update() -> None:
    assert CHUNK == LARGEST


def test_an_estimate_by_hand() -> None:
    """Two layers of width 8: every number below is worked out on paper."""
    shape = Shape(vocab=10, hidden=8, intermediate=16, layers=2, heads=2, kv_heads=1, head_dim=4, is_tied=True)
    # a layer: q, o 8x8, k, v 8x4 = 192; three of 8x16 = 384; two norms of 8; with the table 10x8 and the last norm
    assert shape.parameters == 2 * (192 + 384 + 16) + 80 + 8
    lora = {"lora__rank": 1, "lora__targets": ["q_proj", "v_proj"]}
    rows = {"model__max_prompt_tokens": 8, "model__max_new_tokens": 2, "ppo__micro_batch": 1, "ppo__batch": 3}
    config = settings(**lora, **rows, init="base")
    found = estimate("ppo", shape, config, "bfloat16", reward_models=1)
    assert found.trunk == 2 * 1272
    # an adapter: (8 + 8) + (8 + 4) numbers in both layers = 56; policy and critic with its head of 9, four times each,
    # and one frozen reward model with its head
    assert found.adapters == 4 * (4 * (2 * 56 + 9) + 65)
    # a token of a layer: MLP 3*16*2, attention (4*8 + 10)*2 + 4*2, norms 4*2*9, LoRA 4*(8 + 8 + 2); the last norm 4*8
    assert found.activations == 10 * (2 * (96 + 92 + 72 + 72) + 32)
    assert found.logits == 16 * 2 * 10
    # three rows: cache 2*2*4*2 bytes a token of ten; the first pass over 8 tokens 2*(3*16 + 2*8) bytes each
    assert found.sampling == 3 * 10 * 32 + 3 * 8 * 128
    assert found.total == OWN + found.trunk + found.adapters + found.activations + found.logits
    assert estimate("rm", shape, config, "bfloat16").sampling == 0


def test_what_saves_memory_does(tmp_path: Path) -> None:
    shape = Shape.read(SHAPES["llama2-7b"])
    assert shape is not None
    plain = estimate("ppo", shape, settings(ppo__batch=32), "bfloat16")
    assert plain.trunk / GIB == pytest.approx(12.55, abs=0.01)
    saving = estimate("ppo", shape, settings(ppo__gradient_checkpointing=True), "bfloat16")
    assert (saving.activations < plain.activations / 8, saving.trunk) == (True, plain.trunk)
    four_bits = estimate("ppo", shape, settings(model__quantization="nf4"), "bfloat16")
    assert four_bits.trunk < 0.32 * plain.trunk
    assert four_bits.activations > plain.activations, "SFT's adapter lies beneath and keeps its inputs too"
    few = estimate("ppo", shape, settings(ppo__batch=32, eval__batch=4), "bfloat16")
    assert few.sampling == pytest.approx(plain.sampling / 8)


def test_where_the_shape_comes_from(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, "model_type": "mistral"}))
    assert known_shape(ModelConfig(name=str(tmp_path))) == shape_of("mistral")
    assert known_shape(ModelConfig(name="smollm2-135m-q4")) == Shape.read(SHAPES["smollm2-135m"])
    assert known_shape(ModelConfig(name="nobody/nothing")) is None
    config = settings(model__name=str(tmp_path))
    assert [line.split(" ")[0] for line in memory_lines(config, ["annotate", "rm", "rm", "eval"], 2)] == ["rm:"]
    assert memory_lines(settings(model__name=str(tmp_path), lora__targets=["c_attn"]), ["sft"], 0) == []


def test_a_dry_run_says_it(rewardlab: Command) -> None:
    lines = rewardlab("ppo", "--dry-run", *SMALL).out.splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("estimated memory"))
    assert re.match(r"   ppo: 1\.\d GiB \(trunk 0\.0, adapters and optimiser 0\.0, activations ", lines[place + 2])
