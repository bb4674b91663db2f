"""What libraries cost seconds to import stays out of modules that many commands and tests import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rewardlab.models.roles import PEFT_DICTS

WITHOUT_TRAINERS = (
    "rewardlab.models.roles",
    "rewardlab.models.sampler",
    "rewardlab.training.ppo",
    "rewardlab.training.preference",
    "rewardlab.training.reward_model",
    "rewardlab.training.sft",
    "tests.support.models",
)
HEAVY = (
    "peft",
    "trl",
    "datasets",
    "bitsandbytes",
    "transformers.modeling_utils",
    "torch._dynamo",
    "sympy",
    "scipy.stats",
)


def test_models_and_training_are_imported_without_trainers_and_architectures() -> None:
    """They come when a model is loaded or trained."""
    code = f"import sys, {', '.join(WITHOUT_TRAINERS)}; print([name for name in {HEAVY} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_names_of_adapters_are_those_of_peft() -> None:
    from peft.tuners.lora import LoraLayer

    assert set(LoraLayer.adapter_layer_names) == PEFT_DICTS
