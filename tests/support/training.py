"""A small PPO run built in code: a random Llama, a task of two words, any reward function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.models.trunk import Trunk, load_trunk
from rewardlab.rewards.ledger import Ledger
from rewardlab.runs import RunFolder
from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.methods import methods
from rewardlab.training.progress import FolderRecorder
from rewardlab.types import Example, Reward, Score
from tests.support.models import tiny_llama

EXAMPLES = [
    Example("sst2", f"row-{number}", {"text": f"the film number {number} is {'good' if number % 2 else 'bad'}"},
            ("negative", "positive")[number % 2], "label")
    for number in range(8)
]  # fmt: skip


@dataclass
class FunctionReward:
    """A reward from a plain function of example and response; None is "could not judge"."""

    function: Callable[[Example, str], float | None]
    name: str = "function"
    needs_gold: bool = False

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        scored = (self.function(example, text) for example, text in zip(examples, responses, strict=True))
        return [Score(value, {"function": value}, {} if value is None else {"function": value}) for value in scored]


def ppo_config(model: Path, run: Mapping[str, Any] | None = None, **ppo: Any) -> RunConfig:
    """A configuration small enough for seconds on one core; ``run`` holds dotted keys of other sections."""
    settings = {"steps": 2, "batch": 8, "micro_batch": 4, "lr": 1e-2, "value_lr": 1e-2, "value_init": "zero", **ppo}
    return load_config(
        {
            "task": "sst2",
            "format": "label",
            "model.name": str(model),
            "model.dtype": "float32",
            "model.max_new_tokens": 6,
            "init": "base",
            **{f"ppo.{key}": value for key, value in settings.items()},
            **(run or {}),
        }
    )


def ppo_trainer(
    folder: Path,
    reward: Callable[[Example, str], float | None] | Reward,
    trunk: Trunk | None = None,
    run: Mapping[str, Any] | None = None,
    validation: Sequence[Example] = (),
    method: str = "ppo",
    **ppo: Any,
) -> OnlineTrainer:
    """A trainer ready to run; its run folder is ``folder / "run"``. ``run`` and ``ppo`` as in :func:`ppo_config`.

    What ``ppo`` gives holds for ``method``, too; what that has alone stands in ``run`` with its section.
    """
    model = folder / "model"
    if not model.exists():
        tiny_llama(model)
    config = ppo_config(model, run, **ppo)
    place = RunFolder(folder / "run", method, {"test": ppo}, config.model_dump(mode="json"))
    place.open()
    return OnlineTrainer(
        methods.get(method),
        trunk or load_trunk(config.model),
        reward if isinstance(reward, Reward) else FunctionReward(reward),
        EXAMPLES,
        config,
        FolderRecorder(place),
        Ledger(place.append),
        place.path,
        validation=validation,
        gold=EXAMPLES,
    )
