"""What the stage ``ppo`` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.evaluation.cost import gold_read
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.work.shared import rows_of, start_trunk, warn_of_long_labels
from rewardlab.rewards.context import RewardContext
from rewardlab.runs import ADAPTER, read_jsonl
from rewardlab.tasks.sources import Splits
from rewardlab.types import PAIR_KINDS


def ppo(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Stage ``ppo``."""
    from rewardlab.models.scoring import add_scorers
    from rewardlab.reward_models.doubts import reward_model_lines
    from rewardlab.rewards import Ledger, build_reward
    from rewardlab.training.ppo import PPOTrainer
    from rewardlab.training.progress import FolderRecorder, Several

    warn_of_long_labels(config, splits)
    folders = {name.removeprefix("rm_"): path for name, path in job.inputs.items() if name.startswith("rm_")}
    trunk = start_trunk(config, job.inputs)
    loaded = add_scorers(trunk, folders, config.ppo.micro_batch)
    context = RewardContext(loaded.scorers, loaded.sft_scores, config.reward.reading)
    reward = build_reward(config.reward, context)
    judging = reward_model_lines(folders, config.reward.expression, needs_gold=reward.needs_gold)
    for line in judging:
        job.say(f"  {line}")
    kind = _critic_kind(config, folders)
    trainer = PPOTrainer(
        trunk,
        reward,
        [example for part in config.ppo.parts for example in rows_of(splits, part)],
        config,
        Several(FolderRecorder(job.folder), job.recorder),
        Ledger(job.folder.append),
        job.folder.path,
        value_start=folders[kind] / ADAPTER if kind else None,
        **_unit_of_scores(context, kind if config.ppo.normalise_scores else None),
        lam=reward.lam,
        validation=rows_of(splits, "validation", config.ppo.validation_rows),
    )
    result = trainer.train()
    gold = _gold_of_prompts(splits, config, result.steps) if reward.needs_gold else {}
    watched = _hacking(job.folder.path, config.reward.expression, result.fall) if processes.is_main() else {}
    shared = {"reward": config.reward.expression, "lambda": reward.lam, "reward_models": judging}
    return {**result.to_json(), **shared, "gold": gold, **watched}


def _unit_of_scores(context: RewardContext, kind: str | None) -> dict[str, float]:
    """What a critic started from a reward model is normalised by; its raw unit without one, or without normalisation.

    Scores themselves are normalised by what they are in the run. The critic needs a start before the first of them.
    """
    if kind is None:
        return {}
    return {"value_scale": context.spread(kind) or 1.0, "value_mean": context.zscore(kind, 0.0)}


def _critic_kind(config: RunConfig, folders: Mapping[str, Path]) -> str | None:
    """The reward model that an adapter critic starts from: the label RM where the reward has one, else another.

    The same rule for every learned reward, so that two of them differ in the reward alone. The rule reward has no
    reward model; its critic starts at zero.
    """
    if config.ppo.value != "adapter" or config.ppo.value_init != "rm":
        return None
    return next((kind for kind in ("label", *PAIR_KINDS) if kind in folders), None)


def _gold_of_prompts(splits: Mapping[str, Splits], config: RunConfig, steps: int) -> dict[str, int]:
    """The gold labels that a reward has read after so many steps, as :func:`_gold` counts them."""
    from rewardlab.training.budget import prompts_of

    parts = {part: rows_of(splits, part) for part in config.ppo.parts}
    everything = [example for rows in parts.values() for example in rows]
    read = {(e.task, e.id) for e in prompts_of(everything, steps, config.ppo.batch, config.seed)}
    seen = {part: [e for e in rows if (e.task, e.id) in read] for part, rows in parts.items()}
    return {pool: n for part, rows in seen.items() for pool, n in gold_read(part, rows).items()}


def _hacking(folder: Path, name: str, fall: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the alarm for reward hacking says of a run; ``judged`` is False without gold labels or with few steps."""
    from rewardlab.evaluation.hacking import can_judge, find_alarm, series_of
    from rewardlab.reports.sections.hacking import write_chart
    from rewardlab.rewards.ledger import LEDGER_FILE
    from rewardlab.training.decline import Fall

    ledger = folder / LEDGER_FILE
    series = series_of(read_jsonl(ledger) if ledger.exists() else ())
    alarm = find_alarm(series)
    write_chart(folder, alarm, name, Fall(**fall) if fall else None)
    return {"hacking": {"judged": can_judge(len(series.steps)), "alarm": alarm.to_json() if alarm else None}}
