"""Trunks in 4 bits through bitsandbytes, an optional package (NF4; Dettmers et al. 2023, section 3).

Only the frozen linear layers are stored so; embeddings, norms and the output layer keep the trunk's dtype, in which
the layers also compute, and adapters are float32 as always.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from rewardlab import processes
from rewardlab.config import ModelConfig
from rewardlab.errors import ModelError


def check_quantization(config: ModelConfig, device: str) -> None:
    """Find out before anything loads that a trunk in 4 bits cannot be had.

    Raises:
        ModelError: The package is missing, the device is of another kind, or weights would be cut into pieces.
    """
    if config.quantization == "none":
        return
    given = f"model.quantization = {config.quantization!r}"
    if not is_installed():
        raise ModelError(f"{given}: found no package bitsandbytes; pip install 'rewardlab[quantized]'")
    if device.partition(":")[0] not in ("cuda", "cpu"):
        raise ModelError(f"{given}: expected a CUDA device (or, for small trials, cpu), found {device}")
    if processes.is_sharded():
        raise ModelError(f"{given}: FSDP and DeepSpeed cannot cut such weights into pieces; launch without them")


def is_installed() -> bool:
    """Whether bitsandbytes can be imported."""
    return importlib.util.find_spec("bitsandbytes") is not None


def loading_options(config: ModelConfig, device: str, dtype: Any) -> dict[str, Any]:
    """What ``from_pretrained`` is told."""
    from transformers import BitsAndBytesConfig

    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=config.quantization, bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": how, "device_map": {"": device}}


def as_plain(model: Any) -> Any:
    """Make such a model behave as any other frozen one.

    TRL's trainers would train its adapters in bfloat16, so the marks are taken away by which they know it. On CPUs with
    AVX-512 bitsandbytes would store the weights in another order at the first pass without gradients, and compute such
    passes in bfloat16: the trunk's hash would change, and a first probability ratio would not be 1.
    """
    model.is_loaded_in_4bit = model.is_quantized = False
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model
