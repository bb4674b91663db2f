"""``Pipeline``: the stages of one configuration. Nothing here imports torch before a stage runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rewardlab.annotate.registry import named_annotator
from rewardlab.config import PACKED_MODEL, TINY_MODEL, RunConfig
from rewardlab.errors import ConfigError, InputError
from rewardlab.models.names import check_model, how_to_install, resolve_device
from rewardlab.models.quantized import check_quantization
from rewardlab.pipeline.context import Context
from rewardlab.pipeline.imported import OwnPairs
from rewardlab.pipeline.kinds import stage_kinds, trained_kinds
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stage import SampledPart, Stage
from rewardlab.pipeline.stages.annotate import annotate_stage
from rewardlab.pipeline.stages.encoder import (
    encoder_eval_stage,
    encoder_stage,
    encoder_title,
    encoder_validate_stage,
)
from rewardlab.pipeline.stages.evaluate import eval_stage, method_title, validate_stage
from rewardlab.pipeline.stages.hosted import hosted_stage, hosted_title
from rewardlab.pipeline.stages.pairs import pairs_stage
from rewardlab.pipeline.stages.preference import preference_stage
from rewardlab.pipeline.stages.raft import raft_stage
from rewardlab.pipeline.stages.reward_model import card_stage, reward_model_of, reward_model_stage
from rewardlab.pipeline.stages.samples import samples_stage
from rewardlab.pipeline.stages.sft import sft_stage
from rewardlab.pipeline.stages.train import online_stage
from rewardlab.rewards.absent import lent_absent
from rewardlab.rewards.plan import plan_reward
from rewardlab.sandbox import ALL_SANDBOX_TASKS
from rewardlab.tasks import resolve_tasks
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import Task
from rewardlab.training.methods import methods
from rewardlab.types import PairKind


class Pipeline:
    """Builds the stages of one configuration.

    Args:
        config: The run.
        root: Where run folders and annotation journals live.
        rows: Shared by pipelines that read the same rows.
    """

    def __init__(self, config: RunConfig, root: Path, rows: Rows | None = None) -> None:
        self.context = Context(config, root, rows)
        self.config, self.root, self.rows = config, root, self.context.rows

    @property
    def tasks(self) -> list[Task]:
        """The tasks of the run."""
        return self.context.tasks

    @property
    def splits(self) -> dict[str, Splits]:
        """Task name -> its rows."""
        return self.context.splits

    def annotate(self) -> Stage:
        """Rationales for the right and a wrong label of each labelled row."""
        return annotate_stage(self.context)

    def sft(self, rationales: bool, as_long_as: Sequence[Stage] = ()) -> Stage:
        """Supervised fine-tuning; arguments as of :func:`sft_stage`."""
        return sft_stage(self.context, rationales, as_long_as)

    def samples(self, part: SampledPart = "validation") -> Stage:
        """Several answers of the start model to each row that pairs are made from, or that is held out for them."""
        return samples_stage(self.context, part)

    def pairs(self, kind: PairKind) -> Stage:
        """Preference pairs of one kind."""
        return pairs_stage(self.context, kind)

    def reward_model(self, kind: PairKind) -> Stage:
        """A Bradley-Terry reward model of one pair kind."""
        return reward_model_stage(self.context, kind)

    def reward_model_of(self, own: OwnPairs) -> Stage:
        """A Bradley-Terry reward model of somebody's own pairs."""
        return reward_model_of(self.context, own)

    def card(self, kind: PairKind, method: str) -> Stage:
        """The report card of a reward model."""
        return card_stage(self.context, kind, method)

    def train(self, method: str = "ppo") -> Stage:
        """A training method on the configured reward or pairs; raises UnknownNameError for one that is not there."""
        found = methods.get(method)
        make = {
            "online": online_stage,
            "preference": preference_stage,
            "samples": raft_stage,
            "encoder": encoder_stage,
        }[found.family]
        return make(self.context, found)

    def ppo(self) -> Stage:
        """PPO on the configured reward."""
        return self.train("ppo")

    def eval(self, trained: Stage | None, method: str | None = None) -> Stage:
        """Evaluation of a trained stage, or of the base model when there is none."""
        if trained is not None and is_encoder(trained):
            return encoder_eval_stage(self.context, trained, method)
        if trained is None and self.config.eval.hosted.model is not None:
            return hosted_stage(self.context, method)
        return eval_stage(self.context, trained, method)

    def validate(self, trained: Stage) -> Stage:
        """Greedy answers of a trained stage to the validation rows."""
        return (encoder_validate_stage if is_encoder(trained) else validate_stage)(self.context, trained)

    def method(self, trained: Stage | None) -> str:
        """The name a table gives to what was trained."""
        if trained is not None and is_encoder(trained):
            return encoder_title(self.config)
        if trained is None and self.config.eval.hosted.model is not None:
            return hosted_title(self.config)
        return method_title(self.config, trained)

    def goal(self, kind: str) -> Stage:
        """The trained stage of that kind under this configuration; raises InputError for one that trains nothing."""
        if kind not in trained_kinds():
            raise InputError(
                f"a run of stage {kind!r} cannot be evaluated; expected one of {', '.join(trained_kinds())}, or a "
                "training method whose package is installed"
            )
        return self.sft(self.config.start == "sft-rationale") if kind == "sft" else self.train(kind)


def is_encoder(trained: Stage) -> bool:
    """Whether what was trained is a classifier and no language model."""
    return trained.kind in methods and not methods.get(trained.kind).trains_policy


def check(config: RunConfig, *, may_lack_model: bool = False, may_lack_reward: bool = False) -> None:
    """Find bad input before anything runs: unknown names of tasks, annotators, models and devices, broken expressions.

    Args:
        config: The run.
        may_lack_model: For a plan that is only shown: the model may be one that cannot be had here.
        may_lack_reward: For the evaluation of a finished run: its rewards may be known by name alone.
    """
    resolve_tasks(config.task)
    resolve_tasks(config.start_task or config.task)
    with lent_absent(config.reward.expression) if may_lack_reward else nullcontext():
        plan_reward(config.reward)
    named_annotator(config)
    if not may_lack_model:
        check_model(config.model.name)
    if config.model.device != "auto" or config.model.quantization != "none":
        check_quantization(config.model, resolve_device(config.model.device))


def check_goal(goal: Stage) -> None:
    """Refuse, before anything runs, the sandbox's model for text that is not the sandbox's.

    It would not learn: it was trained on one generated language and splits other text into characters.

    Raises:
        ConfigError: The line names the model to use instead.
    """
    kinds = stage_kinds()
    for stage in goal.chain():
        model = stage.config.get("model", {})
        name = stage.settings.get("own_model", model).get("name")
        if name != TINY_MODEL or not (kinds[stage.kind].asks_model or "own_model" in stage.settings):
            continue
        others = [task.name for task in resolve_tasks(stage.config["task"]) if task.name not in ALL_SANDBOX_TASKS]
        if others:
            install = how_to_install(PACKED_MODEL)
            raise ConfigError(
                f"task {', '.join(others)}: {TINY_MODEL}, the default model, was trained on the sandbox's language "
                f"alone and splits other text into letters. It has {model['max_prompt_tokens']} tokens for a prompt "
                f"(model.max_prompt_tokens) and {model['max_new_tokens']} for an answer (model.max_new_tokens). "
                f"Give --model {PACKED_MODEL} ({f'after `{install}`' if install else 'it is installed here'}), "
                "a folder of a model, or a hub id"
            )
