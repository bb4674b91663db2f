"""All stages of a configuration: PPO and evaluations here, what they need in the classes beneath.

Nothing here imports torch before a stage runs, so a plan is printed at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from rewardlab import processes
from rewardlab.config import PACKED_MODEL, TINY_MODEL, RunConfig
from rewardlab.errors import ConfigError, InputError
from rewardlab.evaluation.cost import Cost
from rewardlab.models.names import check_model, how_to_install, resolve_device
from rewardlab.models.quantized import check_quantization
from rewardlab.pipeline.identity import dumped, slug_of, with_unknown
from rewardlab.pipeline.preferences import Preferences
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.work import evaluation, tuning
from rewardlab.rewards.plan import RewardPlan, plan_reward, refuse_groups
from rewardlab.rewards.trl_functions import GIVEN, check_columns
from rewardlab.tasks import GROUPS, resolve_tasks

ASK_THE_MODEL = ("sft", "samples", "rm", "card", "ppo", "eval", "validate")
"""Stages that read rows with the model of the run; pairs and annotations need none."""


class Pipeline(Preferences):
    """Builds the stages of one configuration; made from what :class:`Identities` is made from."""

    @cached_property
    def reward(self) -> RewardPlan:
        """What the reward expression needs; bad expressions are found here."""
        return plan_reward(self.config.reward)

    @cached_property
    def _reward_code(self) -> dict[str, str]:
        """Reward -> hash of its code, of rewards that are not rewardlab's own."""
        return with_unknown("reward", self.reward.code, self.reward.unknown_code)

    def ppo(self) -> Stage:
        """PPO on the configured reward, from models of its own tasks or of ``start_task``."""
        refuse_groups(self.reward, "ppo")
        self._check_gold()
        for task in self.tasks:
            for name, wanted in self.reward.columns.items():
                check_columns(name, wanted, (*GIVEN, *task.fields))
        if processes.is_sharded():
            raise ConfigError(
                "PPO keeps the whole trunk in every process and cannot use FSDP or DeepSpeed; launch it with a "
                "configuration of several GPUs without them, such as experiments/accelerate/gpus.yaml"
            )
        models = {f"rm_{kind}": self._behind.reward_model(kind) for kind in sorted(self.reward.pair_kinds)}
        settings = {
            **self._data(*self.config.ppo.parts, "validation"),
            **self._model,
            "ppo": dumped(self.config.ppo),
            "reward": dumped(self.config.reward),
        }
        if self._reward_code:
            settings["reward_code"] = self._reward_code
        return self._stage(
            "ppo",
            f"PPO on {self.config.reward.expression} ({self._names})",
            f"{self._slug}-{slug_of(self.config.reward.expression)}",
            settings,
            {**self._behind._start_input(), **models},
            lambda job: tuning.ppo(job, self.config, self.splits),
        )

    @cached_property
    def _behind(self) -> Pipeline:
        """The pipeline of the models that PPO starts from and is rewarded by."""
        if self.config.start_task is None:
            return self
        return Pipeline(
            self.config.model_copy(update={"task": self.config.start_task, "start_task": None}), self.root, self.rows
        )

    def _check_gold(self) -> None:
        if not self.reward.needs_gold:
            return
        for name, split in self.splits.items():
            rows = [example for part in self.config.ppo.parts for example in getattr(split, part)]
            bare = sum(example.label is None for example in rows)
            if bare:
                raise InputError(
                    f"reward {self.config.reward.expression!r} reads gold labels, and {bare} of the {len(rows)} PPO "
                    f"prompts of {name} have none; use a learned reward or label the rows"
                )

    def eval(self, trained: Stage | None, method: str | None = None) -> Stage:
        """Evaluation of a trained stage, or of the base model when there is none."""
        shots = self.config.eval.shots
        rows = self._data("tests", "labelled") if shots else self._data("tests")
        inputs = {"model": trained} if trained else {}
        if trained is not None and "start" in trained.inputs:
            inputs["start"] = trained.inputs["start"]
        if shots and self.config.format == "rationale":
            inputs["annotate"] = self.annotate()
        name = method or self.method(trained)
        return self._stage(
            "eval",
            f"evaluate {name} on {self._names}",
            f"{self._slug}-{slug_of(name)}",
            {**rows, **self._task_code("quality"), **self._model, "eval": self._eval_settings(trained), "method": name},
            inputs,
            lambda job: evaluation.evaluate(job, self.config, self.splits, self._facts(trained, name)),
        )

    def validate(self, trained: Stage) -> Stage:
        """Greedy answers of a trained stage to the validation rows, for choosing settings; reads no test row."""
        start = {"start": trained.inputs["start"]} if "start" in trained.inputs else {}
        return self._stage(
            "validate",
            f"validate {trained.title}",
            trained.slug,
            {
                **self._data("validation"),
                **self._task_code("quality"),
                **self._model,
                "eval": dumped(self.config.eval, without=("batch", "shots")),
            },
            {"model": trained, **start},
            lambda job: evaluation.validate(job, self.config, self.splits),
        )

    def _eval_settings(self, trained: Stage | None) -> dict[str, Any]:
        """What an evaluation depends on; which checkpoint, for trained runs alone."""
        return dumped(self.config.eval, without=("batch",) if trained else ("batch", "checkpoint"))

    def _facts(self, trained: Stage | None, method: str) -> evaluation.Facts:
        """What the evaluation's row says of the method behind it."""
        chain = trained.chain(measuring=False) if trained else []
        results = self._results(chain)
        if shots := self.config.eval.shots:
            asks = self.config.format == "rationale" and not any(stage.kind == "annotate" for stage in chain)
            shown = {f"labelled/{task.name}": shots for task in self.tasks}
            results[f"shots-{self._slug}"] = {
                "gold": shown,
                "annotator_calls": shots * len(shown) if asks else 0,
                "stage_device_seconds": 0.0,
            }
        is_ppo = trained is not None and trained.kind == "ppo"
        ppo = trained.folder(self.root).result() if is_ppo and trained else {}
        return evaluation.Facts(
            method=method,
            start=self.config.start if is_ppo else "base",
            reward=_reward_text(self.config) if is_ppo else None,
            model_run=str(trained.folder(self.root).path) if trained else None,
            cost=Cost.of(results).to_json(),
            budget=spent_of(ppo),
            start_accuracy=start_accuracy_of(ppo),
        )

    def method(self, trained: Stage | None) -> str:
        """The name a table gives to what was trained."""
        if trained is None:
            return "zero-shot" if self.config.eval.shots == 0 else f"{self.config.eval.shots}-shot"
        last = " (last policy)" if self.config.eval.checkpoint == "last" else ""
        if trained.kind == "sft":
            return ("SFT w. rationale" if trained.settings["rationales"] else "SFT") + last
        return method_name(self.config) + last

    def goal(self, kind: str) -> Stage:
        """The trained stage of that kind, sft or ppo, under this configuration."""
        if kind == "ppo":
            return self.ppo()
        if kind == "sft":
            return self.sft(self.config.start == "sft-rationale")
        raise InputError(f"a run of stage {kind!r} cannot be evaluated; expected one of sft, ppo")


def check(config: RunConfig, *, may_lack_model: bool = False) -> None:
    """Find bad input before anything runs: unknown tasks, models and devices, broken expressions, a stray lambda.

    Args:
        config: The run.
        may_lack_model: For a plan that is only shown: the model may be one that cannot be had here.
    """
    resolve_tasks(config.task)
    resolve_tasks(config.start_task or config.task)
    plan_reward(config.reward)
    if not may_lack_model:
        check_model(config.model.name)
    if config.model.device != "auto" or config.model.quantization != "none":
        check_quantization(config.model, resolve_device(config.model.device))


def check_goal(goal: Stage) -> None:
    """Refuse, before anything runs, the sandbox's model for text that is not the sandbox's.

    It would train and learn nothing: it knows one generated language and takes other text a character at a time.

    Raises:
        ConfigError: The line names the model to use instead.
    """
    for stage in goal.chain():
        model = stage.config.get("model", {})
        if stage.kind not in ASK_THE_MODEL or model.get("name") != TINY_MODEL:
            continue
        others = [task.name for task in resolve_tasks(stage.config["task"]) if task.name not in GROUPS["sandbox"]]
        if others:
            install = how_to_install(PACKED_MODEL)
            raise ConfigError(
                f"task {', '.join(others)}: {TINY_MODEL}, the default model, knows the sandbox's language alone and "
                f"takes a token for each letter of other text, of {model['max_prompt_tokens']} for a prompt "
                f"(model.max_prompt_tokens) and {model['max_new_tokens']} for an answer (model.max_new_tokens). "
                f"Give --model {PACKED_MODEL} ({f'after `{install}`' if install else 'it is installed here'}), "
                "a folder of a model, or a hub id"
            )


def method_name(config: RunConfig) -> str:
    """What tables call PPO on the configured reward (SPEC section 5)."""
    expression = config.reward.expression
    known = {"rule": "PPO-rule", "ranked": "RLHF", "label": "RLLR", "mixed": f"RLLR-mixed (λ={config.reward.lam})"}
    return known.get(expression, f"PPO on {expression}")


def spent_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a PPO run spent, as its evaluation repeats it; empty for a run of another version."""
    names = ("steps", "updates", "tokens", "device_seconds", "prompts", "prompts_order")
    return {name: result[name] for name in names if name in result}


def start_accuracy_of(result: Mapping[str, Any]) -> float | None:
    """What a PPO run measured on validation rows before its first update; None where it measured nothing."""
    start = (result.get("validation") or {}).get("start") or {}
    return start.get("accuracy")


def _reward_text(config: RunConfig) -> str:
    reward = config.reward
    return reward.expression if reward.lam is None else f"{reward.expression}, λ={reward.lam}, r2={reward.r2}"
