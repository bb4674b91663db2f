"""Stages of training methods that sample while they train: ``ppo``, ``grpo``, ``rloo``, ``reinforce``, plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.errors import ConfigError, InputError
from rewardlab.evaluation.cost import gold_read
from rewardlab.online_config import CriticConfig, OnlineConfig
from rewardlab.pipeline.context import Context, dumped, slug_of
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.reward_model import reward_model_stage
from rewardlab.pipeline.stages.sft import start_input
from rewardlab.pipeline.stages.shared import rows_of, start_trunk, warn_of_long_labels
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.trl_functions import GIVEN, check_columns
from rewardlab.runs import ADAPTER, read_jsonl
from rewardlab.tasks.sources import Splits
from rewardlab.training.methods import TrainingMethod
from rewardlab.types import PAIR_KINDS


def online_stage(context: Context, method: TrainingMethod) -> Stage:
    """Training on the configured reward, from models of the run's own tasks or of ``start_task``."""
    config, section = context.config, method.section(context.config)
    method.check(config)
    _check_gold(context, section)
    for task in context.tasks:
        for name, wanted in context.reward.columns.items():
            check_columns(name, wanted, (*GIVEN, *task.fields))
    if processes.is_sharded():
        raise ConfigError(
            f"{method.title} keeps the whole trunk in every process and cannot use FSDP or DeepSpeed; launch it with a "
            "configuration of several GPUs without them, such as experiments/accelerate/gpus.yaml"
        )
    models = {f"rm_{kind}": reward_model_stage(context.behind, kind) for kind in sorted(context.reward.pair_kinds)}
    return context.stage(
        method.name,
        f"{method.title} on {config.reward.expression} ({context.names})",
        f"{context.slug}-{slug_of(config.reward.expression)}",
        {
            **context.data(*section.parts, "validation"),
            **context.model,
            method.name: dumped(section),
            "reward": dumped(config.reward),
            **({"reward_code": context.reward_code} if context.reward_code else {}),
            **({"method_code": code} if (code := context.method_code(method)) else {}),
        },
        {**start_input(context.behind), **models},
        lambda job: train(job, method, config, context.splits),
    )


def _check_gold(context: Context, section: OnlineConfig) -> None:
    if not context.reward.needs_gold:
        return
    for name, split in context.splits.items():
        rows = [example for part in section.parts for example in getattr(split, part)]
        bare = sum(example.label is None for example in rows)
        if bare:
            raise InputError(
                f"reward {context.config.reward.expression!r} reads gold labels, and {bare} of the {len(rows)} "
                f"training prompts of {name} have none; use a learned reward or label the rows"
            )


def train(job: Work, method: TrainingMethod, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Do it."""
    from rewardlab.evaluation.rm_doubts import reward_model_lines
    from rewardlab.models.scoring import add_scorers
    from rewardlab.rewards import Ledger, build_reward
    from rewardlab.training.loop import OnlineTrainer
    from rewardlab.training.progress import FolderRecorder, Several

    warn_of_long_labels(config, splits)
    section: OnlineConfig = method.section(config)
    folders = {name.removeprefix("rm_"): path for name, path in job.inputs.items() if name.startswith("rm_")}
    trunk = start_trunk(config, job.inputs)
    loaded = add_scorers(trunk, folders, section.micro_batch)
    context = RewardContext(loaded.scorers, loaded.sft_scores, config.reward.reading)
    reward = build_reward(config.reward, context)
    judging = reward_model_lines(folders, config.reward.expression, needs_gold=reward.needs_gold)
    for line in judging:
        job.say(f"  {line}")
    trainer = OnlineTrainer(
        method,
        trunk,
        reward,
        [example for part in section.parts for example in rows_of(splits, part)],
        config,
        Several(FolderRecorder(job.folder), job.recorder),
        Ledger(job.folder.append),
        job.folder.path,
        critic_start=_critic_start(section, folders, context),
        lam=reward.lam,
        validation=rows_of(splits, "validation", section.validation_rows),
    )
    result = trainer.train()
    gold = _gold_of_prompts(splits, section, config.seed, result.steps) if reward.needs_gold else {}
    watched = _hacking(job.folder.path, config.reward.expression, result.fall) if processes.is_main() else {}
    shared = {"reward": config.reward.expression, "lambda": reward.lam, "reward_models": judging}
    return {**result.to_json(), **shared, "gold": gold, **watched}


def _critic_start(section: OnlineConfig, folders: Mapping[str, Path], context: RewardContext) -> Any:
    """The reward model that an adapter critic starts from: the label RM where the reward has one, else another.

    The same rule for every learned reward, so that two of them differ in the reward alone. The rule reward has no
    reward model; its critic starts at zero. Scores themselves are normalised by what they are in the run; the critic
    needs a start before the first of them, and gets what its reward model gave on SFT samples.
    """
    from rewardlab.training.actor import CriticStart

    if not isinstance(section, CriticConfig) or section.value != "adapter" or section.value_init != "rm":
        return None
    kind = next((kind for kind in ("label", *PAIR_KINDS) if kind in folders), None)
    if kind is None:
        return None
    folder = folders[kind] / ADAPTER
    if not section.normalise_scores:
        return CriticStart(folder)
    return CriticStart(folder, context.spread(kind) or 1.0, context.zscore(kind, 0.0))


def _gold_of_prompts(splits: Mapping[str, Splits], section: OnlineConfig, seed: int, steps: int) -> dict[str, int]:
    """The gold labels that a reward has read after so many steps, by the part of the data they belong to."""
    from rewardlab.training.budget import prompts_of

    parts = {part: rows_of(splits, part) for part in section.parts}
    everything = [example for rows in parts.values() for example in rows]
    read = {(e.task, e.id) for e in prompts_of(everything, steps, section.prompts, seed)}
    seen = {part: [e for e in rows if (e.task, e.id) in read] for part, rows in parts.items()}
    return {pool: n for part, rows in seen.items() for pool, n in gold_read(part, rows).items()}


def _hacking(folder: Path, name: str, fall: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the alarm for reward hacking says of a run; ``judged`` is False without gold labels or with few steps."""
    from rewardlab.evaluation.hacking import can_judge, find_alarm, series_of
    from rewardlab.reports.hacking import write_chart
    from rewardlab.rewards.ledger import LEDGER_FILE
    from rewardlab.training.decline import Fall

    ledger = folder / LEDGER_FILE
    series = series_of(read_jsonl(ledger) if ledger.exists() else ())
    alarm = find_alarm(series)
    write_chart(folder, alarm, name, Fall(**fall) if fall else None)
    return {"hacking": {"judged": can_judge(len(series.steps)), "alarm": alarm.to_json() if alarm else None}}
