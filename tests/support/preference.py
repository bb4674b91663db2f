"""A small run on preference pairs built in code: a random Llama that knows a few words, one word a response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.disk import read_jsonl
from rewardlab.models.trunk import load_trunk
from rewardlab.runs import RunFolder
from rewardlab.tasks.task import prompt_of
from rewardlab.training.methods import methods
from rewardlab.training.preference import PreferenceTrainer
from rewardlab.training.progress import FolderRecorder, Recorder
from rewardlab.training.rm_evaluation import PairEncoder
from rewardlab.types import Example, Pair
from tests.support.bandit import WORDS
from tests.support.models import tiny_llama, word_tokenizer
from tests.support.training import EXAMPLES


def word_pair(example: Example, chosen: str, rejected: str) -> Pair:
    """One word is preferred to another."""
    return Pair(
        task=example.task,
        id=example.id,
        kind="ranked",
        format=example.format,
        prompt=prompt_of(example),
        chosen=chosen,
        rejected=rejected,
        chosen_label=None,
        rejected_label=None,
        gold_label=example.label,
        annotator="test",
        model="test",
    )


def dpo_config(model: Path, run: Mapping[str, Any] | None = None, section: str = "dpo", **own: Any) -> RunConfig:
    """A configuration small enough for seconds on one core; ``run`` holds dotted keys of other sections."""
    settings = {"batch": 8, "micro_batch": 4, "lr": 1e-2, **own}
    return load_config(
        {
            "task": "sst2",
            "format": "label",
            "model.name": str(model),
            "model.dtype": "float32",
            "model.max_new_tokens": 1,
            "lora.targets": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
            "init": "base",
            **{f"{section}.{key}": value for key, value in settings.items()},
            **(run or {}),
        }
    )


def preference_trainer(
    folder: Path,
    pairs: Iterable[Pair],
    run: Mapping[str, Any] | None = None,
    *,
    recorder: Recorder | None = None,
    validation: Sequence[Example] = (),
    method: str = "dpo",
    **own: Any,
) -> PreferenceTrainer:
    """A trainer ready to run; its run folder is ``folder / "run"``. ``run`` and ``own`` as in :func:`dpo_config`."""
    model = folder / "model"
    if not model.exists():
        tiny_llama(model, word_tokenizer(WORDS))
    config = dpo_config(model, run, method if method in RunConfig.model_fields else f"methods.{method}", **own)
    place = RunFolder(folder / "run", method, {"test": own}, config.model_dump(mode="json"))
    place.open()
    trunk = load_trunk(config.model)
    encoded = PairEncoder(trunk.codec, config.model, EXAMPLES)(pairs)
    assert not encoded.dropped
    return PreferenceTrainer(
        methods.get(method),
        trunk,
        encoded.pairs,
        config,
        recorder or FolderRecorder(place),
        place.path,
        validation=validation,
    )


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """Metrics of a run, times left out."""
    rows = read_jsonl(folder / "run" / "metrics.jsonl")
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def response_logprob(trainer: PreferenceTrainer, example: Example, response: str, role: str | None) -> float:
    """Of a response and its end token, from the model's own logits, one row without padding."""
    codec = trainer.trunk.codec
    prompt, ids = codec.prompt_ids(example), codec.response_ids(response)
    with torch.no_grad(), trainer.trunk.roles.using(role):
        logits = trainer.trunk.model(torch.tensor([prompt + ids])).logits[0]
    table = torch.log_softmax(logits.double(), -1)
    return sum(float(table[len(prompt) - 1 + place, token]) for place, token in enumerate(ids))


def raised(trainer: PreferenceTrainer, example: Example, response: str) -> float:
    """By how many nats the policy has raised a response over the reference."""
    policy, reference = (response_logprob(trainer, example, response, role) for role in ("policy", None))
    return policy - reference
