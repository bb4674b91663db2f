"""Tiny random models and a lossless tokenizer, built in code: no download, a few milliseconds each.

Nothing here is trained. Sizes are chosen so that a forward pass of a batch takes about a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast as FastTokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPREAD = 0.2
"""Standard deviation of the weights; at the usual 0.02 a small frozen model can express next to nothing."""
SPECIAL = ("<pad>", "<eos>", "<|user|>", "<|assistant|>", "<|system|>")
WORDS = (
    "the film is good and the plot is fine but the end was bad so a critic found it dull . "
    "positive negative neutral sport world science business\n\n The answer is: positive\n\n The answer is: negative "
    "text sentence label review of this following please give first second <Judgement> </Judgement>",
)


def tiny_tokenizer(
    texts: Iterable[str] = WORDS, *, chat: bool = True, pad: str | None = "<pad>", vocab_size: int = 400
) -> FastTokenizer:
    """A byte-level tokenizer that can encode any text and decodes it unchanged.

    Args:
        texts: What its merges are learned from; frequent words of these become single tokens.
        chat: Give it a chat template.
        pad: Padding token: ``"<pad>"``, ``"<eos>"`` (the trap: padding equals end of sequence), or None.
        vocab_size: Upper bound of the vocabulary; 256 of it are bytes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = FastTokenizer(tokenizer_object=tokenizer, eos_token="<eos>", pad_token=pad, padding_side="left")
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def word_tokenizer(words: Iterable[str]) -> FastTokenizer:
    """A tokenizer that knows a few words, and nothing else: every other word is unknown."""
    known = ["<pad>", "<eos>", "<unk>", *words]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return FastTokenizer(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")


def tiny_llama(
    folder: Path, tokenizer: FastTokenizer | None = None, *, width: int = 32, layers: int = 2, seed: int = 0
) -> Path:
    """Save a random Llama and its tokenizer to ``folder``; returns ``folder``."""
    tokenizer = tokenizer or tiny_tokenizer()
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        initializer_range=SPREAD,
        **_special_ids(tokenizer),
    )
    return _save(transformers.LlamaForCausalLM(config), tokenizer, folder)


def tiny_bert(folder: Path, words: Iterable[str]) -> Path:
    """Save a random BERT, which knows a few words and separates texts by ``<eos>``, to ``folder``; returns it."""
    tokenizer = word_tokenizer(words)
    tokenizer.sep_token = "<eos>"
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=32, initializer_range=SPREAD, pad_token_id=0, **shape
    )
    return _save(transformers.BertModel(config), tokenizer, folder)


def tiny_gpt2(
    folder: Path, tokenizer: FastTokenizer | None = None, *, width: int = 32, layers: int = 2, seed: int = 0
) -> Path:
    """Save a random GPT-2 (learned positions, fused c_attn) and its tokenizer to ``folder``; returns ``folder``."""
    tokenizer = tokenizer or tiny_tokenizer(chat=False)
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=width,
        n_layer=layers,
        n_head=4,
        n_positions=512,
        initializer_range=SPREAD,
        **_special_ids(tokenizer),
    )
    return _save(transformers.GPT2LMHeadModel(config), tokenizer, folder)


_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": SPREAD,
}
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("LlamaConfig", {**_SHAPE, "num_key_value_heads": 2}),
    "mistral": ("MistralConfig", {**_SHAPE, "num_key_value_heads": 2}),
    "qwen2": ("Qwen2Config", {**_SHAPE, "num_key_value_heads": 2}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": SPREAD}),
    "gpt_neox": ("GPTNeoXConfig", _SHAPE),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": SPREAD}),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "initializer_range": SPREAD}),
}
"""Architectures of the published scripts and today's usual ones: rotary, learned and ALiBi positions, fused and
separate projections, tied and untied output layers."""
_LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12}
_EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16}
_MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
UNUSUAL: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gemma2": ("Gemma2Config", {**_SHAPE, "num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 3.0}),
    "nanochat": ("NanoChatConfig", {**_SHAPE, "num_key_value_heads": 2, "final_logit_softcapping": 3.0}),
    "granite": ("GraniteConfig", {**_SHAPE, "num_key_value_heads": 2, "logits_scaling": 4.0}),
    "hyperclovax": ("HyperCLOVAXConfig", {**_SHAPE, "num_key_value_heads": 2, "logits_scaling": 0.25}),
    "cohere": ("CohereConfig", {**_SHAPE, "num_key_value_heads": 2, "logit_scale": 0.25}),
    "falcon_h1": ("FalconH1Config", {**_SHAPE, "num_key_value_heads": 2, "lm_head_multiplier": 0.25, **_MAMBA}),
    "deepseek_v3": ("DeepseekV3Config", {**_SHAPE, **_LATENT, **_EXPERTS, "first_k_dense_replace": 1}),
}
"""Architectures that cap, divide or multiply their logits, and one whose values are not as wide as its queries. The
cap is low, so that logits of a tiny model meet it."""


WINDOWED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "phi3": ("Phi3Config", {**_SHAPE, "num_key_value_heads": 2}),
}
"""Architectures whose layers look at the latest tokens alone."""


def tiny_model(
    family: str, folder: Path, tokenizer: FastTokenizer | None = None, *, seed: int = 0, **changes: Any
) -> Path:
    """Save a random model of one of the tables above, its settings with ``changes``; returns ``folder``."""
    tokenizer = tokenizer or tiny_tokenizer(chat=False)
    torch.manual_seed(seed)
    build, settings = {**FAMILIES, **UNUSUAL, **WINDOWED}[family]
    made_by = getattr(transformers, build)
    config = made_by(vocab_size=len(tokenizer), **{**settings, **changes}, **_special_ids(tokenizer))
    return _save(transformers.AutoModelForCausalLM.from_config(config), tokenizer, folder)


def tiny_vision_model(family: str, folder: Path, tokenizer: FastTokenizer | None = None) -> Path:
    """Save a random ``gemma3`` or ``gemma4`` that reads images too, both towers with a ``q_proj`` and a ``v_proj``."""
    tokenizer = tokenizer or tiny_tokenizer(chat=False)
    text = {**_SHAPE, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(tokenizer), **_special_ids(tokenizer)}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    last = len(tokenizer)
    torch.manual_seed(0)
    if family == "gemma3":
        images = {"mm_tokens_per_image": 4, "image_token_index": last - 1, "boi_token_index": last - 2}
        vision |= {"image_size": 28, "patch_size": 14}
        config = transformers.Gemma3Config(text_config=text, vision_config=vision, eoi_token_index=last - 3, **images)
    else:
        config = transformers.Gemma4Config(text_config=text, vision_config=vision, image_token_id=last - 1)
    return _save(transformers.AutoModelForCausalLM.from_config(config), tokenizer, folder)


def _special_ids(tokenizer: FastTokenizer) -> dict[str, int | None]:
    return {
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save(model: transformers.PreTrainedModel, tokenizer: FastTokenizer, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
