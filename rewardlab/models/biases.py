"""Biases that a role trains (``lora.bias``): its own, beside the frozen model's, in the layers that it adapts.

PEFT's ``bias="all"`` trains the model's own biases. All roles share them, the reference too, and no adapter holds them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from rewardlab.config import LoraConfig
from rewardlab.errors import ModelError

logger = logging.getLogger(__name__)


def has_own_biases(lora: LoraConfig, model: Any, targets: Sequence[str]) -> bool:
    """Whether the adapters get biases of their own, which start at 0 and are merged with the adapter.

    Args:
        lora: Its ``bias``; with ``all`` every bias of the model must belong to an adapted layer.
        model: The frozen model, with or without adapters.
        targets: Last names of the adapted layers.
    Returns:
        False for ``none``, and for a model without biases, such as Llama: there ``all`` trains none.
    Raises:
        ModelError: A bias lies outside the adapted layers, or one of these has none.
    """
    if lora.bias == "none":
        return False
    is_text_alone = model.config.get_text_config() is model.config
    read = model if is_text_alone else model.get_decoder()  # what reads images is never adapted
    modules = {name.removesuffix(".base_layer"): module for name, module in read.named_modules() if "lora_" not in name}
    biased = {name for name, module in modules.items() if getattr(module, "bias", None) is not None}
    if not biased:
        logger.info("the model has no biases; lora.bias = all trains none")
        return False
    adapted = {name for name in modules if name.rsplit(".", 1)[-1] in targets}
    if biased != adapted:
        lacking, beside = _last_names(biased - adapted), _last_names(adapted - biased)
        raise ModelError(
            f"lora.bias = all: expected lora.targets to name the layers with a bias and no others; missing: {lacking}; "
            f"without a bias: {beside}. Change lora.targets (norms cannot be adapted) or give --set lora.bias=none"
        )
    return True


def _last_names(names: set[str]) -> str:
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in names})) or "none"
