"""Dequantise a GGUF file once into an ordinary transformers folder."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def unpack_gguf(folder: Path, file: str, target: Path) -> None:
    """Write the weights of ``folder/file`` as float32 safetensors, with tokenizer, into ``target``.

    The weights are copied into a fresh model because one loaded from GGUF refuses to be saved. The folder
    appears whole or not at all.
    """
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights are float32 now; a trainer would refuse a quantised model
    fresh = type(loaded)(config)
    fresh.load_state_dict(loaded.state_dict())
    fresh.generation_config = loaded.generation_config
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    fresh.save_pretrained(part)
    AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(part)
    if target.exists():
        shutil.rmtree(part)
    else:
        part.rename(target)
