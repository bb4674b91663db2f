"""How much memory a training stage needs, by arithmetic from the model's shape: nothing is loaded, nothing is measured.

Counted is what :mod:`rewardlab.training` keeps and makes, for rows of the longest length that the settings allow.
``docs/memory.md`` compares this with what was measured. Weights, adapters, optimiser and cache are exact;
activations are what torch keeps for the backward pass of Llama's layers under LoRA.
T tokens of a row, s bytes of a number in the trunk's dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.config import ModelConfig, RunConfig
from rewardlab.disk import read_json
from rewardlab.models.names import PACKAGED_GGUF, find_model, resolve_dtype
from rewardlab.models.sizes import SHAPES
from rewardlab.online_config import CriticConfig, OnlineConfig
from rewardlab.preference_config import PreferenceConfig
from rewardlab.training.methods import methods

GIB = 2**30
FLOAT32 = 4
OWN = 1.0 * GIB
"""Taken for what is not counted: libraries and the device's context, and pieces of memory between others."""
CHUNK = 1 << 24
"""Logits that PPO's update has at a time (``rewardlab.models.logprobs.LARGEST``)."""
NF4 = 0.5 + FLOAT32 / 64
"""Bytes of a number in 4 bits, with a scale for each block of 64."""
READS: Mapping[str, str] = {
    "q_proj": "attention",
    "k_proj": "attention",
    "v_proj": "attention",
    "o_proj": "heads",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "middle",
}
"""Linear layers of a block -> what they read; those with one word read the same tensor."""
KNOWN_TYPES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder with gated MLPs, as ``config.json`` of transformers has them.

    Attributes:
        vocab, hidden, intermediate, layers, heads, kv_heads, head_dim: As everywhere.
        is_tied: The output layer is the table of embeddings.
        has_qkv_bias: Qwen 2's projections have biases.
        has_qk_norm: Qwen 3 normalises queries and keys.
    """

    vocab: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    is_tied: bool
    has_qkv_bias: bool = False
    has_qk_norm: bool = False

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Shape | None:
        """From the content of a ``config.json``; None where the architecture is not one of :data:`KNOWN_TYPES`."""
        kind = config.get("model_type", "llama")
        if kind not in KNOWN_TYPES or config.get("attention_bias") or config.get("mlp_bias"):
            return None
        try:
            heads = int(config["num_attention_heads"])
            return cls(
                vocab=int(config["vocab_size"]),
                hidden=int(config["hidden_size"]),
                intermediate=int(config["intermediate_size"]),
                layers=int(config["num_hidden_layers"]),
                heads=heads,
                kv_heads=int(config.get("num_key_value_heads") or heads),
                head_dim=int(config.get("head_dim") or int(config["hidden_size"]) // heads),
                is_tied=bool(config.get("tie_word_embeddings", False)),
                has_qkv_bias=kind == "qwen2",
                has_qk_norm=kind == "qwen3",
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all keys, or values, together."""
        return self.kv_heads * self.head_dim

    @property
    def matrices(self) -> int:
        """Numbers in the linear layers of all blocks: what ``nf4`` stores in 4 bits."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        """All numbers of the model."""
        tables = self.vocab * self.hidden * (1 if self.is_tied else 2)
        biases = self.queries + 2 * self.keys if self.has_qkv_bias else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.has_qk_norm else 0)
        return tables + self.matrices + self.layers * (biases + norms) + self.hidden

    def linears(self) -> Mapping[str, tuple[int, int]]:
        """Linear layers of a block by name: width of input and output."""
        wide = (self.hidden, self.intermediate)
        return {
            "q_proj": (self.hidden, self.queries),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.queries, self.hidden),
            "gate_proj": wide,
            "up_proj": wide,
            "down_proj": wide[::-1],
        }


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a stage.

    Attributes:
        trunk: Frozen weights.
        adapters: Adapters and heads, with gradients and the optimiser's state where they are trained.
        activations, logits: Kept for the backward pass of one micro-batch, and made at the output layer.
        sampling: Cache, first pass over the prompts and logits while responses are drawn; 0 where none are.
    """

    trunk: float
    adapters: float
    activations: float
    logits: float
    sampling: float = 0.0

    @property
    def total(self) -> float:
        """Most that is needed at a time: nothing is updated while responses are drawn."""
        return OWN + self.trunk + self.adapters + max(self.activations + self.logits, self.sampling)

    def text(self) -> str:
        """One line, GiB."""
        sampling = f", or sampling {_gib(self.sampling)} if that is more" if self.sampling else ""
        return (
            f"{_gib(self.total)} GiB (trunk {_gib(self.trunk)}, adapters and optimiser {_gib(self.adapters)}, "
            f"activations {_gib(self.activations)} and logits {_gib(self.logits)}{sampling}, everything else "
            f"{_gib(OWN)})"
        )


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest rows, tokens."""

    prompt: int
    response: int


def estimate(
    kind: str, shape: Shape, config: RunConfig, dtype: str, *, reward_models: int = 0, longest: Longest | None = None
) -> Memory:
    """Memory of one process that trains, with all rows as long as the longest.

    Args:
        kind: The stage: sft, rm or a training method.
        shape: Of the model.
        config: All settings; a batch that is chosen from free memory counts as one row.
        dtype: Of the trunk: float32 or bfloat16.
        reward_models: How many adapters score the responses.
        longest: Lengths of the longest rows; None: what the settings allow.
    """
    longest = longest or Longest(config.model.max_prompt_tokens, config.new_tokens)
    section = methods.get(kind).section(config) if kind in methods else None
    online = section if isinstance(section, OnlineConfig) else None
    is_on_sft = kind == "rm" or (section is not None and config.start != "base")
    beneath = 1 if config.model.quantization == "nf4" and is_on_sft else 0
    size = bytes_of(dtype)
    prompt, response = longest.prompt, longest.response
    of_training: Any = {"sft": config.sft, "rm": config.rm}[kind] if section is None else section
    reads_pairs = kind == "rm" or isinstance(section, PreferenceConfig)
    rows = max(1, of_training.micro_batch) * (2 if reads_pairs else 1)
    is_checkpointed = getattr(of_training, "gradient_checkpointing", False)
    drawn = max(1, config.eval.batch) if kind in methods and methods.get(kind).family != "preference" else 0
    drawn = min(drawn, online.batch) if online else drawn
    return Memory(
        trunk=trunk_bytes(shape, dtype, config.model.quantization),
        adapters=_adapters(online, shape, config, reward_models, beneath, has_head=kind == "rm"),
        activations=activation_bytes(
            shape, config, size, rows, prompt + response, is_checkpointed=is_checkpointed, beneath=beneath
        ),
        logits=0.0 if kind == "rm" else _update_logits(section, shape, rows * response),
        sampling=sampling_bytes(shape, drawn, size, prompt, response) if drawn else 0.0,
    )


def known_shape(model: ModelConfig) -> Shape | None:
    """The shape of a model whose configuration is on this machine and of a known architecture; None otherwise."""
    if model.name in PACKAGED_GGUF:
        return Shape.read(SHAPES["smollm2-135m"])
    source = find_model(model.name, unpack=False)
    file: Any = Path(source.location) / "config.json"
    if not source.is_local:
        from huggingface_hub import try_to_load_from_cache

        file = try_to_load_from_cache(source.location, "config.json")
    return Shape.read(read_json(Path(file))) if isinstance(file, str | Path) else None


def memory_lines(config: RunConfig, stages: Sequence[str], reward_models: int) -> list[str]:
    """What the training stages of a plan need, a line a kind of stage; nothing where the shape is not known.

    Args:
        config: All settings.
        stages: Kinds of the stages that are to run.
        reward_models: How many of the plan's stages are reward models, finished ones too.
    """
    shape = known_shape(config.model)
    if shape is None or not set(_targets(config)) <= set(READS):
        return []
    policies = [name for name in methods.names() if methods.get(name).trains_policy]
    kinds = [kind for kind in ("sft", "rm", *policies) if kind in stages]
    dtype = resolve_dtype(config.model)
    return [f"{kind}: {estimate(kind, shape, config, dtype, reward_models=reward_models).text()}" for kind in kinds]


def bytes_of(dtype: str) -> int:
    """Of one number."""
    return {"float32": 4, "bfloat16": 2}[dtype]


def trunk_bytes(shape: Shape, dtype: str, quantization: str) -> float:
    """Of the frozen weights; in 4 bits only the blocks' linear layers are."""
    if quantization == "none":
        return shape.parameters * bytes_of(dtype)
    return shape.matrices * NF4 + (shape.parameters - shape.matrices) * bytes_of(dtype)


def adapter_numbers(shape: Shape, config: RunConfig) -> int:
    """Numbers of one LoRA adapter."""
    layers = [shape.linears()[name] for name in _targets(config)]
    return shape.layers * config.lora.rank * sum(wide + narrow for wide, narrow in layers)


def cache_bytes(shape: Shape, size: int, rows: int, tokens: int) -> int:
    """Of keys and values."""
    return 2 * shape.layers * shape.keys * size * rows * tokens


def activation_bytes(
    shape: Shape, config: RunConfig, size: int, rows: int, tokens: int, *, is_checkpointed: bool, beneath: int = 0
) -> float:
    """What the backward pass of one micro-batch needs.

    With checkpoints only the layers' inputs are kept, and one layer's activations are there at a time.
    """
    layer = _layer(shape, config, size, tokens, beneath)
    each = shape.hidden * size * shape.layers + layer if is_checkpointed else layer * shape.layers
    last = FLOAT32 * shape.hidden  # of the final norm
    return rows * tokens * (each + last)


def _layer(shape: Shape, config: RunConfig, size: int, tokens: int, beneath: int) -> float:
    """Bytes a token that one layer keeps.

    The MLP keeps gate, its activation and the other factor. Attention keeps queries, keys, values (the latter two
    repeated for all query heads) and result, one number a head, and a row of its mask. Both norms keep their input in
    float32. A LoRA layer keeps its input in float32; in a float32 trunk layers that read the same tensor share it.
    """
    targets = _targets(config)
    inputs = [shape.linears()[name][0] for name in targets]
    if size == FLOAT32:
        kept = sum({READS[name]: width for name, width in zip(targets, inputs, strict=True)}.values())
    else:
        kept = sum(inputs) * (1 + beneath)
    lora = FLOAT32 * (kept + len(targets) * config.lora.rank * (1 + beneath))
    mlp = 3 * shape.intermediate * size
    attention = (4 * shape.queries + tokens) * size + FLOAT32 * shape.heads
    norms = FLOAT32 * 2 * (shape.hidden + 1)
    return lora + mlp + attention + norms


def _targets(config: RunConfig) -> tuple[str, ...]:
    return config.lora.targets or ("q_proj", "v_proj")


def _adapters(
    online: OnlineConfig | None, shape: Shape, config: RunConfig, reward_models: int, beneath: int, *, has_head: bool
) -> float:
    """Bytes of adapters and heads; a trained number has a gradient and, with AdamW, two moments."""
    adapter, head = adapter_numbers(shape, config), shape.hidden + 1
    trained = adapter + (head if has_head else 0)
    if isinstance(online, CriticConfig):
        trained += adapter + head if online.value == "adapter" else shape.hidden * (shape.hidden + 1) + head
    moments = 0 if online is not None and online.optimizer == "adafactor" else 2
    frozen = reward_models * (adapter + head) + beneath * adapter
    return FLOAT32 * (trained * (2 + moments) + frozen)


def _update_logits(section: OnlineConfig | PreferenceConfig | None, shape: Shape, tokens: int) -> float:
    """Bytes at the output layer: a policy's update makes a piece at a time in four copies, SFT all logits at once."""
    numbers = tokens * shape.vocab
    if section is None:
        return 4.0 * FLOAT32 * numbers
    bonus = 3.0 * FLOAT32 * numbers if isinstance(section, OnlineConfig) and section.entropy_coef > 0 else 0.0
    return 4.0 * FLOAT32 * min(numbers, CHUNK) + bonus


def sampling_bytes(shape: Shape, rows: int, size: int, prompt: int, response: int) -> float:
    """Bytes while so many responses are drawn: cache, widest tensors of the first pass, logits in five copies."""
    first = rows * prompt * size * (3 * shape.intermediate + 2 * shape.hidden)
    logits = rows * shape.vocab * (2 * FLOAT32 + 2 * 8)  # two in float32, two in float64
    return cache_bytes(shape, size, rows, prompt + response) + max(first, logits)


def _gib(amount: float) -> str:
    return f"{amount / GIB:.1f}"
