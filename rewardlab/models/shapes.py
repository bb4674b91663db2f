"""Models of a known shape with random weights and a tokenizer of made-up words: for speed and memory, and nothing else.

They need no download. A decoded response is encoded as the same tokens again, so that reward models read as many as
were drawn.
"""

from __future__ import annotations

from typing import Any

import torch

from rewardlab.config import ModelConfig
from rewardlab.errors import ConfigError
from rewardlab.models.codec import Codec
from rewardlab.models.names import resolve_device, resolve_dtype
from rewardlab.models.sizes import SHAPES
from rewardlab.models.trunk import Trunk

SPECIAL = ("pad", "bos", "eos", "unk")
"""Roles of the first tokens."""


def random_model(shape: str, config: ModelConfig) -> Any:
    """A Llama of that shape with random weights, made where and in the dtype in which it will run.

    Raises:
        ConfigError: No shape has that name.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig

    if shape not in SHAPES:
        raise ConfigError(f"--random-shape {shape!r}: expected one of {', '.join(SHAPES)}")
    special = {f"{name}_token_id": number for number, name in enumerate(SPECIAL) if name != "unk"}
    sizes = LlamaConfig(**SHAPES[shape], **special)
    torch.manual_seed(0)
    with torch.device(resolve_device(config.device)):
        return AutoModelForCausalLM.from_config(sizes, dtype=getattr(torch, resolve_dtype(config))).eval()


def word_tokenizer(size: int) -> Any:
    """A tokenizer of so many made-up words: token n is the word ``tn``, the first four have :data:`SPECIAL` roles."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [f"<{name}>" for name in SPECIAL] + [f"t{number}" for number in range(len(SPECIAL), size)]
    known = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {f"{name}_token": f"<{name}>" for name in SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **named)


def random_trunk(shape: str, config: ModelConfig) -> Trunk:
    """A trunk of :func:`random_model` with its tokenizer."""
    model = random_model(shape, config)
    codec = Codec(word_tokenizer(model.config.vocab_size), config)
    return Trunk(model, codec, f"{shape}, random weights")
