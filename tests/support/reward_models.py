"""Preference pairs about films, and what is needed to train a reward model on them in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from rewardlab.config import RunConfig
from rewardlab.models import Trunk, load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.runs import RunFolder
from rewardlab.tasks.task import prompt_of
from rewardlab.training.rm_evaluation import SampledAnswer
from rewardlab.types import Example, Pair

MARK = "\n\n The answer is: "
PRAISE, BLAME = ("good", "fine", "great"), ("bad", "dull", "poor")


def make_pair(number: int, *, flipped: bool = False) -> Pair:
    """The praising response is preferred to the blaming one, whatever the prompt."""
    example = Example("mr", f"row-{number}", {"text": f"the film {number}"}, "positive")
    chosen = f"it is {PRAISE[number % 3]}" + " and so" * (number % 2) + MARK + "positive"
    rejected = f"it is {BLAME[number % 3]}" + MARK + "negative"
    pair = Pair(
        task="mr",
        id=example.id,
        kind="label",
        format="rationale",
        prompt=prompt_of(example),
        chosen=chosen,
        rejected=rejected,
        chosen_label="positive",
        rejected_label="negative",
        gold_label="positive",
        annotator="test",
        model="test",
    )
    return replace(pair, chosen=rejected, rejected=chosen) if flipped else pair


PAIRS = [make_pair(number) for number in range(32)]
HELD_OUT = [make_pair(number) for number in range(100, 120)]
SAMPLES = [
    SampledAnswer(
        Example("mr", f"sampled-{number}", {"text": f"the film {number}"}, "positive"),
        (f"it is good{MARK}positive", f"it is bad{MARK}negative", f"it is fine{MARK}positive"),
    )
    for number in range(8)
]
TEXTS = [f"{pair.prompt} {pair.chosen} {pair.rejected}" for pair in PAIRS]


def make_config(model: Path, **sections: object) -> RunConfig:
    base = {
        "model": {"name": str(model), "device": "cpu", "dtype": "float32", "max_prompt_tokens": 64},
        "rm": {"lr": 1e-2, "epochs": 8, "batch": 16, "micro_batch": 16, "sft_samples": 16},
        "lora": {"rank": 4, "alpha": 8},
    }
    return RunConfig.model_validate(base | sections)


def open_folder(path: Path) -> RunFolder:
    folder = RunFolder(path, "rm", {})
    folder.open()
    return folder


def trunk_with_role(model: Path) -> Trunk:
    """A trunk whose role ``rm`` has a random, non-zero adapter and head."""
    config = make_config(model)
    trunk = load_trunk(config.model)
    torch.manual_seed(3)
    trunk.roles.add("rm", config.lora, head=ScalarHead(trunk.width))
    for parameter in trunk.roles.parameters("rm"):
        parameter.data.normal_(std=0.3)
    return trunk
