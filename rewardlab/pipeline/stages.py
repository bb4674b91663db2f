"""What each stage is made of: its settings, its inputs and the function that runs it.

Nothing here imports torch before a stage runs, so a plan is printed at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab import processes
from rewardlab.annotate.bundled import written_tasks
from rewardlab.annotate.choose import choose_annotator, endpoint
from rewardlab.annotate.filter import filter_version
from rewardlab.annotate.hosted import DEFAULT_MODEL
from rewardlab.annotate.prompting import prompt_versions
from rewardlab.annotate.sampling import is_reasoning
from rewardlab.annotate.written import written_version
from rewardlab.config import AnnotateConfig, RunConfig, fingerprint
from rewardlab.errors import ConfigError, InputError
from rewardlab.evaluation.cost import Cost
from rewardlab.models.names import check_model, model_identity, resolve_device
from rewardlab.models.quantized import check_quantization
from rewardlab.pipeline import work
from rewardlab.pipeline.imported import OwnPairs
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stage import AS_LONG_AS, HELD_OUT, SampledPart, Stage, Work, asks_nothing
from rewardlab.rewards.plan import RewardPlan, plan_reward
from rewardlab.tasks import resolve_tasks
from rewardlab.tasks.sources import PartName, Splits
from rewardlab.tasks.task import Task
from rewardlab.types import PairKind

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview

logger = logging.getLogger(__name__)

ADAPTER = "adapter"


class Pipeline:
    """Builds the stages of one configuration.

    Args:
        config: The run.
        root: Where run folders and annotation journals live.
        rows: Shared by pipelines that read the same rows.
    """

    def __init__(self, config: RunConfig, root: Path, rows: Rows | None = None) -> None:
        self.config = config
        self.root = root
        self.rows = rows or Rows()

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks of the run."""
        return resolve_tasks(self.config.task)

    @cached_property
    def splits(self) -> dict[str, Splits]:
        """Task name -> its rows, loaded once."""
        config = self.config
        return {task.name: self.rows.splits(task, config.data, config.format) for task in self.tasks}

    def annotate(self) -> Stage:
        """Rationales for the right and a wrong label of each labelled row."""
        config = self._data_seeded()
        return self._stage(
            "annotate",
            f"annotate {self._names} with {self._annotator['name']} ({self._annotator['reason']})",
            f"{self._slug}-{self._annotator['name']}",
            {
                **self._data(*config.sft.parts, "validation"),
                **self._annotator_settings,
                "held_out": config.pairs.held_out,
                "limit": config.annotate.limit,
                "filter": [config.annotate.filter_threshold, filter_version()],
            },
            {},
            lambda job: work.annotate(job, config, self.splits, self.root / "annotations"),
            lambda: work.preview_rationales(config, self.splits, self.root / "annotations"),
        )

    def sft(self, rationales: bool, as_long_as: Sequence[Stage] = ()) -> Stage:
        """SFT on the labelled rows or on all, with rationales or on the bare answers.

        Args:
            rationales: Whether a rationale stands before each answer.
            as_long_as: Trained stages; with all it needs, this one takes as long as they and all that they need.
        """
        if rationales and self.config.format != "rationale":
            raise ConfigError(f"--rationales needs --format rationale, found --format {self.config.format}")
        inputs = {"annotate": self.annotate()} if rationales else {}
        title = "SFT w. rationale" if rationales else "SFT"
        settings = {
            **self._data(*self.config.sft.parts),
            **self._model,
            "sft": _dump(self.config.sft),
            "rationales": rationales,
        }
        if as_long_as:
            settings["as_long_as"] = [stage.fingerprint for stage in as_long_as]
        return self._stage(
            "sft",
            f"{title} of {self.config.model.name} on {self._names}",
            f"{self._slug}-{'rationale' if rationales else self.config.format}",
            settings,
            {**inputs, **{f"{AS_LONG_AS}{number}": stage for number, stage in enumerate(as_long_as)}},
            lambda job: work.sft(job, self._timed(as_long_as, list(inputs.values())), self.splits),
        )

    def start(self) -> Stage | None:
        """The stage whose model PPO and reward models start from; None is the base model."""
        if self.config.start == "base":
            return None
        if self.config.start == "sft-rationale" and self.config.format != "rationale":
            raise ConfigError(f"--init sft-rationale needs --format rationale, found {self.config.format}")
        return self.sft(self.config.start == "sft-rationale")

    def pairs(self, kind: PairKind, *, to_measure: bool = False) -> Stage:
        """Preference pairs of one kind, and held-out ones; those to measure on have no ``pairs.bias``."""
        own = self.config.pairs.model_copy(update={"bias": None}) if to_measure else self.config.pairs
        if kind != "label":
            return self._ranked(kind, self.config.model_copy(update={"pairs": own}))
        config = self._data_seeded().model_copy(update={"pairs": own})
        inputs = {"annotate": self.annotate()} if config.format == "rationale" else {}
        return self._pairs(kind, config, {"wrong_label_seed": config.seed}, inputs)

    def _ranked(self, kind: PairKind, config: RunConfig) -> Stage:
        parts: tuple[SampledPart, ...] = ("validation",) if config.pairs.only_held_out else ("labelled", "validation")
        answers = {f"samples_{part}": self.samples(part) for part in parts}
        return self._pairs(kind, config, {**self._model, **self._ranker_settings(config)}, answers)

    def _pairs(self, kind: PairKind, config: RunConfig, more: Mapping[str, Any], inputs: Mapping[str, Stage]) -> Stage:
        part = "held-out " if config.pairs.only_held_out else ""
        data = self._data("labelled", "validation")
        return self._stage(
            "pairs",
            f"{part}{kind} pairs of {self._names}",
            f"{self._slug}-{part.replace(' ', '-')}{kind}",
            {**data, "pairs": _dump(config.pairs), "kind": kind, **more},
            inputs,
            lambda job: work.pairs(job, config, kind, self.splits, self.root / "annotations"),
            lambda: work.preview_pairs(config, kind, self.splits, self.root / "annotations"),
        )

    def samples(self, part: SampledPart = "validation") -> Stage:
        """Several answers of the start model to each row that pairs are made from, or that is held out for them.

        Ranked pairs of all kinds and rankings are made of them, and all reward models on that start are measured on
        those to validation rows; the kinds of pairs among them are counted.
        """
        pairs = self.config.pairs
        rows = {"held_out": pairs.held_out} if part == "validation" else {"limit": pairs.limit}
        return self._stage(
            "samples",
            f"{pairs.samples} answers of {self.config.start} to {part} rows of {self._names}",
            self._slug if part == "validation" else f"{self._slug}-{part}",
            {**self._data(part), **self._model, "samples": pairs.samples, **rows},
            self._start_input(),
            lambda job: work.samples(job, self.config, self.splits, part),
        )

    def reward_model(self, kind: PairKind) -> Stage:
        """A Bradley-Terry reward model of one pair kind; ``rm.preset`` decides its budget.

        The sandbox's oracle ranks what a label RM is measured on by its default weight, so that one label RM serves all
        weights; :meth:`card` measures it on rankings by the configured one.
        """
        rows = sum(len(split.labelled[: self.config.pairs.limit]) for split in self.splits.values())
        config = self.config.model_copy(update={"rm": self.config.rm.for_kind(kind, rows)})
        inputs = {
            **self._start_input(),
            "samples": self.samples(),
            "pairs": self.pairs(kind),
            **self._measured_on(kind, _default_weight(config) if kind == "label" else config),
        }
        settings = {**self._data("validation"), **self._model, "rm": _dump(config.rm), "kind": kind}
        return self._stage(
            "rm",
            f"{kind} reward model on {self._names}",
            f"{self._slug}-{kind}",
            settings,
            inputs,
            lambda job: work.reward_model(job, config, kind, self.splits),
        )

    def reward_model_of(self, own: OwnPairs) -> Stage:
        """A reward model of somebody's own pairs: of a task's, from the model that the task's others start from, and
        measured on its samples too; of no task's, from the base model.

        Raises:
            InputError: Pairs of no task, and a start that only a task has.
        """
        if not own.tasks and self.config.init not in (None, "base"):
            raise InputError(f"the pairs belong to no task, so there is no {self.config.init} model; leave init out")
        config = self.config.model_copy(update={"rm": self.config.rm.for_kind(own.kind, own.count)})
        samples = {**self._start_input(), "samples": self.samples()} if own.tasks else {}
        rows = self._data("validation") if own.tasks else {}
        return self._stage(
            "rm",
            f"{own.kind} reward model on {own.stage.title}",
            own.stage.slug,
            {**rows, **self._model, "rm": _dump(config.rm), "kind": own.kind},
            {**samples, "pairs": own.stage, f"{HELD_OUT}{own.kind}": own.stage},
            lambda job: work.reward_model(job, config, own.kind, self.splits if own.tasks else {}),
        )

    def card(self, kind: PairKind, method: str) -> Stage:
        """The report card of a reward model: every held-out pair judged, ranked ones as configured."""
        model = self.reward_model(kind)
        return self._stage(
            "card",
            f"report card of {model.title}",
            f"{self._slug}-{_slug(method)}",
            {"method": method, "seed": self.config.seed},
            {"model": model, **self._measured_on(kind, self.config)},
            lambda job: work.card(job, method, self.config.seed),
        )

    def _measured_on(self, kind: PairKind, config: RunConfig) -> dict[str, Stage]:
        """The pairs whose held-out part a reward model is measured on; for a label RM no labelled rows are ranked."""
        held_out = {f"{HELD_OUT}label": self.pairs("label", to_measure=True)}
        needs_no_labelled_rows = kind == "label" and not config.rm.held_out_ranked
        if config.format == "rationale" or not needs_no_labelled_rows:
            own = {"bias": None, "only_held_out": needs_no_labelled_rows or config.pairs.only_held_out}
            pairs = config.pairs.model_copy(update=own)
            held_out[f"{HELD_OUT}ranked"] = self._ranked("ranked", config.model_copy(update={"pairs": pairs}))
        return held_out

    @cached_property
    def reward(self) -> RewardPlan:
        """What the reward expression needs; bad expressions are found here."""
        return plan_reward(self.config.reward)

    def ppo(self) -> Stage:
        """PPO on the configured reward, from models of its own tasks or of ``start_task``."""
        self._check_gold()
        if processes.is_sharded():
            raise ConfigError(
                "PPO keeps the whole trunk in every process and cannot use FSDP or DeepSpeed; launch it with a "
                "configuration of several GPUs without them, such as experiments/accelerate/gpus.yaml"
            )
        models = {f"rm_{kind}": self._behind.reward_model(kind) for kind in sorted(self.reward.pair_kinds)}
        settings = {
            **self._data(*self.config.ppo.parts, "validation"),
            **self._model,
            "ppo": _dump(self.config.ppo),
            "reward": _dump(self.config.reward),
        }
        if self.reward.code:
            settings["reward_code"] = dict(self.reward.code)
        return self._stage(
            "ppo",
            f"PPO on {self.config.reward.expression} ({self._names})",
            f"{self._slug}-{_slug(self.config.reward.expression)}",
            settings,
            {**self._behind._start_input(), **models},
            lambda job: work.ppo(job, self.config, self.splits),
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
            f"{self._slug}-{_slug(name)}",
            {**rows, **self._model, "eval": self._eval_settings(trained), "method": name},
            inputs,
            lambda job: work.evaluate(job, self.config, self.splits, self._facts(trained, name)),
        )

    def validate(self, trained: Stage) -> Stage:
        """Greedy answers of a trained stage to the validation rows, for choosing settings; reads no test row."""
        start = {"start": trained.inputs["start"]} if "start" in trained.inputs else {}
        return self._stage(
            "validate",
            f"validate {trained.title}",
            trained.slug,
            {**self._data("validation"), **self._model, "eval": _dump(self.config.eval, without=("batch", "shots"))},
            {"model": trained, **start},
            lambda job: work.validate(job, self.config, self.splits),
        )

    def method(self, trained: Stage | None) -> str:
        """The name a table gives to what was trained."""
        if trained is None:
            return "zero-shot" if self.config.eval.shots == 0 else f"{self.config.eval.shots}-shot"
        if trained.kind == "sft":
            return "SFT w. rationale" if trained.settings["rationales"] else "SFT"
        best = " (best on validation)" if self.config.eval.checkpoint == "best" else ""
        return method_name(self.config) + best

    def goal(self, kind: str) -> Stage:
        """The trained stage of that kind, sft or ppo, under this configuration."""
        if kind == "ppo":
            return self.ppo()
        if kind == "sft":
            return self.sft(self.config.start == "sft-rationale")
        raise InputError(f"a run of stage {kind!r} cannot be evaluated; expected one of sft, ppo")

    def _stage(
        self,
        kind: str,
        title: str,
        slug: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Stage],
        run: Callable[[Work], dict[str, Any]],
        preview: Callable[[], Preview | None] = asks_nothing,
    ) -> Stage:
        stored = self.config.model_dump(mode="json")
        return Stage(kind, title, slug, settings, inputs, run, config=stored, preview=preview)

    def _facts(self, trained: Stage | None, method: str) -> work.Facts:
        """What the evaluation's row says of the method behind it."""
        chain = trained.chain(measuring=False) if trained else []
        results = self._results(chain)
        if shots := self.config.eval.shots:
            asks = self.config.format == "rationale" and not any(stage.kind == "annotate" for stage in chain)
            shown = {f"labelled/{task.name}": shots for task in self.tasks}
            results[f"shots-{self._slug}"] = {"gold": shown, "annotator_calls": shots * len(shown) if asks else 0}
        is_ppo = trained is not None and trained.kind == "ppo"
        return work.Facts(
            method=method,
            start=self.config.start if is_ppo else "base",
            reward=_reward_text(self.config) if is_ppo else None,
            model_run=str(trained.folder(self.root).path) if trained else None,
            cost=Cost.of(results).to_json(),
            budget=budget_of(trained.folder(self.root).result()) if is_ppo and trained else {},
        )

    def _results(self, chain: Sequence[Stage]) -> dict[str, dict[str, Any]]:
        """Fingerprint -> result of each finished stage."""
        folders = {stage.fingerprint: stage.folder(self.root) for stage in chain}
        return {name: folder.result() for name, folder in folders.items() if folder.is_done}

    def _timed(self, rivals: Sequence[Stage], own: Sequence[Stage]) -> RunConfig:
        """The configuration of an SFT stage that gets the seconds of ``rivals``, less those of its ``own`` inputs."""
        if not rivals:
            return self.config
        theirs = Cost.together(Cost.of(self._results(rival.chain(measuring=False))) for rival in rivals)
        mine = Cost.together(Cost.of(self._results(stage.chain(measuring=False))) for stage in own)
        seconds = theirs.seconds - mine.seconds
        if seconds <= 0:
            raise ConfigError(
                f"SFT cannot take as long as {', '.join(rival.title for rival in rivals)}: that took "
                f"{theirs.seconds:.1f} s, what SFT needs before it starts {mine.seconds:.1f} s; name a longer method"
            )
        return self.config.model_copy(update={"sft": self.config.sft.model_copy(update={"seconds": seconds})})

    @cached_property
    def _behind(self) -> Pipeline:
        """The pipeline of the models that PPO starts from and is rewarded by."""
        if self.config.start_task is None:
            return self
        return Pipeline(
            self.config.model_copy(update={"task": self.config.start_task, "start_task": None}), self.root, self.rows
        )

    def _eval_settings(self, trained: Stage | None) -> dict[str, Any]:
        """What an evaluation depends on; which checkpoint, for PPO runs alone.

        Raises:
            ConfigError: The best checkpoint is asked for, and the run keeps none.
        """
        if trained is None or trained.kind != "ppo":
            return _dump(self.config.eval, without=("batch", "checkpoint"))
        if self.config.eval.checkpoint == "best" and trained.settings["ppo"]["validate_every"] == 0:
            raise ConfigError(
                "eval.checkpoint = best: the run has ppo.validate_every = 0 and keeps the last policy only"
            )
        return _dump(self.config.eval, without=("batch",))

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

    def _start_input(self) -> dict[str, Stage]:
        start = self.start()
        return {"start": start} if start else {}

    def _data_seeded(self) -> RunConfig:
        """The configuration for stages that all seeds share."""
        return self.config.model_copy(update={"seed": self.config.data.seed})

    @cached_property
    def _annotator(self) -> dict[str, str]:
        choice = choose_annotator(
            self.config.annotate, self.config.model, [task.name for task in self.tasks], written_tasks(self.splits)
        )
        return {"name": choice.name, "reason": choice.reason}

    def _ranker_settings(self, config: RunConfig) -> dict[str, Any]:
        """The annotator of rankings."""
        weight = {"oracle_weight": config.annotate.oracle_weight} if self._annotator["name"] == "sandbox" else {}
        return {**self._annotator_settings, **weight}

    @property
    def _annotator_settings(self) -> dict[str, Any]:
        """The annotator of rationales."""
        section = self.config.annotate
        settings: dict[str, Any] = {
            "annotator": self._annotator["name"],
            "annotator_seed": self.config.data.seed,
        }
        if self._annotator["name"] == "sandbox":
            return settings | {
                "refusal_rate": section.refusal_rate,
                "mismatch_rate": section.mismatch_rate,
            }
        if self._annotator["name"] == "bundled":
            return settings | {"written": written_version()}
        if self._annotator["name"] == "template":
            return settings
        return settings | {
            "prompts": prompt_versions(),
            **self._annotator_model,
            "temperature": section.temperature,
            "annotator_tokens": section.max_new_tokens,
        }

    @property
    def _annotator_model(self) -> dict[str, Any]:
        """Who answers: the weights of a local model, a hosted one by its name and where it is asked."""
        section, model = self.config.annotate, self.config.model
        if self._annotator["name"] == "local":
            return {"annotator_model": model_identity(model.model_copy(update={"name": section.model or model.name}))}
        hosted = {"annotator_model": section.model, "endpoint": endpoint(section)}
        if is_reasoning(section, section.model or DEFAULT_MODEL):
            return {**hosted, "reasoning_tokens": section.reasoning_tokens}
        return hosted

    @property
    def _names(self) -> str:
        return ", ".join(task.name for task in self.tasks)

    @property
    def _slug(self) -> str:
        names = [task.name for task in self.tasks]
        return _slug(names[0] if len(names) == 1 else f"{names[0]}-and-{len(names) - 1}")

    def _data(self, *parts: PartName) -> dict[str, Any]:
        """The rows that a stage reads and the questions, by content."""
        data, format = self.config.data, self.config.format
        return {
            "format": format,
            "tasks": {task.name: fingerprint(task.to_json()) for task in self.tasks},
            "rows": {task.name: self.rows.sha256(task, data, format, parts) for task in self.tasks},
        }

    @cached_property
    def _model(self) -> dict[str, Any]:
        """Base weights, tokens, adapters and seed."""
        model = self.config.model
        return {
            "model": model_identity(model),
            "max_prompt_tokens": model.max_prompt_tokens,
            "max_new_tokens": self.config.new_tokens,
            "lora": _dump(self.config.lora),
            "seed": self.config.seed,
        }


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


def _default_weight(config: RunConfig) -> RunConfig:
    """The configuration with the oracle's default weight."""
    annotate = config.annotate.model_copy(update={"oracle_weight": AnnotateConfig().oracle_weight})
    return config.model_copy(update={"annotate": annotate})


def method_name(config: RunConfig) -> str:
    """What tables call PPO on the configured reward (SPEC section 5)."""
    expression = config.reward.expression
    known = {"rule": "PPO-rule", "ranked": "RLHF", "label": "RLLR", "mixed": f"RLLR-mixed (λ={config.reward.lam})"}
    return known.get(expression, f"PPO on {expression}")


def budget_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a PPO run spent, as its evaluation repeats it; empty for a run of another version."""
    names = ("steps", "updates", "tokens", "device_seconds", "prompts", "prompts_order")
    return {name: result[name] for name in names if name in result}


def _reward_text(config: RunConfig) -> str:
    reward = config.reward
    return reward.expression if reward.lam is None else f"{reward.expression}, λ={reward.lam}, r2={reward.r2}"


def _dump(section: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A section as a part of a stage's identity; how often the stage stores its state is no part of it."""
    dumped: dict[str, Any] = section.model_dump(mode="json", exclude={"checkpoint_every", *without})
    return dumped


def _slug(text: str) -> str:
    kept = "".join(char if char.isalnum() or char in "-." else "-" for char in text.lower().replace("λ", "lam"))
    return "-".join(part for part in kept.split("-") if part)[:48] or "run"
