"""Stage ``pairs`` of a model's own answers: to each labelled row the best against the worst by the reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardlab.config import RunConfig
from rewardlab.pipeline.context import Context, slug_of
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.reward_model import reward_model_stage
from rewardlab.pipeline.stages.rubric import preview_grades, rubric_of, spent_on
from rewardlab.pipeline.stages.samples import sampled_rows, samples_stage
from rewardlab.pipeline.stages.sft import start_input
from rewardlab.pipeline.stages.shared import gold_of, start_trunk
from rewardlab.pipeline.stages.train import check_reward
from rewardlab.preference_config import SAMPLED
from rewardlab.rewards.plan import refuse_moving
from rewardlab.tasks.sources import Splits
from rewardlab.types import Example, Reward

AT_A_TIME = 64
"""Rows whose answers are scored in one call."""


def sampled_pairs_stage(context: Context) -> Stage:
    """The stage; answers are those that ranked pairs are made of, so that both read the same ones."""
    config, expression = context.config, context.config.reward.expression
    check_reward(context, ("labelled",))
    refuse_moving(context.reward, "a set of pairs")
    models = {f"rm_{kind}": reward_model_stage(context.behind, kind) for kind in sorted(context.reward.pair_kinds)}
    return context.stage(
        "pairs",
        f"pairs of {config.start}'s answers by {expression} ({context.names})",
        f"{context.slug}-{SAMPLED}-{slug_of(expression)}",
        {
            **context.data("labelled"),
            **context.model,
            "kind": SAMPLED,
            **context.reward_settings(),
            "limit": config.pairs.limit,
            "balance_length": config.pairs.balance_length,
        },
        {"samples": samples_stage(context, "labelled"), **(start_input(context.behind) if models else {}), **models},
        lambda job: sampled_pairs(job, config, context.splits),
        lambda: preview_grades(
            context,
            lambda: sampled_rows(config, context.splits, "labelled"),
            lambda rows: rows * config.pairs.samples,
        ),
    )


def sampled_pairs(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Do it."""
    from rewardlab.errors import DataError
    from rewardlab.pairs.by_reward import best_against_worst
    from rewardlab.pairs.cleaning import clean
    from rewardlab.pairs.files import describe, write_pairs
    from rewardlab.pairs.label_sensitive import Built
    from rewardlab.pairs.sampled import SAMPLED_FILE, read_sampled

    drawn = read_sampled(job.inputs["samples"] / SAMPLED_FILE)
    rows = sampled_rows(config, splits, "labelled")
    rubric = rubric_of(job, config, rows)
    reward = _reward(job, config, rows, rubric)
    answered, at_once = [], len(rows) if config.annotate.batch else AT_A_TIME
    for start in range(0, len(rows), at_once):
        job.report("scored rows", start, len(rows))
        answered += _scored(reward, rows[start : start + at_once], drawn)
    job.report("scored rows", len(rows), len(rows))
    train, held_out = best_against_worst(rows, answered, config.reward.expression), Built()
    clean(train, held_out, balance_length=config.pairs.balance_length, seed=config.seed)
    manifest = describe("ranked", config.format, train, held_out, list(splits))
    write_pairs(job.folder.path, manifest, train, held_out)
    if not train.pairs:
        found = ", ".join(f"{count} {name}" for name, count in manifest["outcomes"].items() if count) or "no rows"
        raise DataError(
            f"not one pair of {config.start}'s answers by {config.reward.expression}: {found}; give more rows "
            "(pairs.limit), more answers a row (pairs.samples) or a reward that scores them differently"
        )
    gold = gold_of(splits, "labelled", limit=config.pairs.limit) if reward.needs_gold else {}
    return {**manifest, "gold": gold, **spent_on(rubric)}


def _reward(job: Work, config: RunConfig, rows: Sequence[Example], rubric: Reward | None) -> Reward:
    """The reward, on a trunk with its reward models where it has some."""
    from rewardlab.rewards import build_reward, label_shares
    from rewardlab.rewards.context import RewardContext

    folders = {name.removeprefix("rm_"): path for name, path in job.inputs.items() if name.startswith("rm_")}
    shares = label_shares(rows)
    if not folders:
        return build_reward(config.reward, RewardContext({}, {}, config.reward.reading, shares, rubric))
    from rewardlab.models.scoring import add_scorers

    loaded = add_scorers(start_trunk(config, job.inputs), folders)
    context = RewardContext(loaded.scorers, loaded.sft_scores, config.reward.reading, shares, rubric)
    return build_reward(config.reward, context)


def _scored(reward: Reward, rows: Sequence[Example], drawn: Mapping[tuple[str, str], Sequence[str]]) -> list[Any]:
    """The answers to each row with their scores, all asked for in one call."""
    texts = [drawn[row.task, row.id] for row in rows]
    examples = [row for row, own in zip(rows, texts, strict=True) for _ in own]
    scores = iter(reward(examples, [text for own in texts for text in own]))
    return [[(text, next(scores)) for text in own] for own in texts]
