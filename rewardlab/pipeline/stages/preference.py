"""Stages of training methods that learn from preference pairs: ``dpo`` and plug-ins."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardlab.config import RunConfig, fingerprint
from rewardlab.errors import ConfigError
from rewardlab.pipeline.context import Context, dumped, slug_of
from rewardlab.pipeline.imported import own_pairs
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.pairs import pairs_stage
from rewardlab.pipeline.stages.sampled_pairs import sampled_pairs_stage
from rewardlab.pipeline.stages.sft import start_input
from rewardlab.pipeline.stages.shared import rows_of, start_trunk, warn_of_long_labels
from rewardlab.pipeline.stages.train import refuse_shards
from rewardlab.preference_config import SAMPLED, DPOConfig, PreferenceConfig
from rewardlab.tasks.sources import Splits
from rewardlab.training.methods import TrainingMethod
from rewardlab.types import PAIR_KINDS

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.1
"""Share of the prompts of somebody's own pairs that are held out, as for reward models, so that both learn the same."""


def preference_stage(context: Context, method: TrainingMethod) -> Stage:
    """Training on the configured pairs, from the model that the run starts from."""
    config, section = context.config, method.section(context.config)
    method.check(config)
    refuse_shards(method)
    pairs, has_task = _pairs(context, section)
    rows = context.data("validation") if has_task else {}
    start = start_input(context.behind) if has_task else {}
    annotated = pairs.inputs.get("annotate") if _asks_what_is_known(section) else None
    return context.stage(
        method.name,
        f"{section.loss_title or method.title} on {pairs.title}",
        f"{pairs.slug}-{slug_of(section.loss_title or method.name)}",
        {
            **rows,
            **context.model,
            method.name: dumped(section, without=("pairs",)),
            **({"reviews": _reviews(annotated.folder(context.root).path)} if annotated else {}),
            **({"method_code": code} if (code := context.method_code(method)) else {}),
        },
        {**start, "pairs": pairs, **({"annotate": annotated} if annotated else {})},
        lambda job: train_on_pairs(job, method, config, context.splits if has_task else {}),
    )


def _pairs(context: Context, section: PreferenceConfig) -> tuple[Stage, bool]:
    """The stage that makes the pairs, and whether they belong to the run's tasks."""
    if section.own_pairs is not None:
        return _own(context, section.own_pairs)
    for kind in PAIR_KINDS:
        if section.pairs == kind:
            return pairs_stage(context, kind), True
    return sampled_pairs_stage(context), True


def _own(context: Context, path: Path) -> tuple[Stage, bool]:
    if not path.is_dir():
        wanted = "import a file with `rewardlab pairs import`" if path.is_file() else "there is no such folder"
        raise ConfigError(
            f"pairs = {path}: {wanted}; expected {', '.join(PAIR_KINDS)}, {SAMPLED}, or a folder made by `rewardlab "
            "pair-gen` or `rewardlab pairs import`"
        )
    config = context.config
    own = own_pairs(path, config, kind=None, held_out=HELD_OUT_SHARE, asked=())
    if own.format != config.format:
        raise ConfigError(f"{path}: its responses have the format {own.format}; give --format {own.format}")
    if own.tasks and set(own.tasks) != {task.name for task in context.tasks}:
        raise ConfigError(f"{path}: holds pairs of {', '.join(own.tasks)}; give --task {','.join(own.tasks)}")
    return own.stage, bool(own.tasks)


def _asks_what_is_known(section: PreferenceConfig) -> bool:
    return isinstance(section, DPOConfig) and section.loss == "robust" and section.flip_rate is None


def _reviews(annotated: Path) -> str:
    """The verdicts that a flip rate is taken from, as a part of the stage's identity: another review, another run."""
    from rewardlab.annotate.review import read_reviews

    return fingerprint(sorted([key, review.decision] for key, review in read_reviews(annotated).items()))


def train_on_pairs(
    job: Work, method: TrainingMethod, config: RunConfig, splits: Mapping[str, Splits]
) -> dict[str, Any]:
    """Do it."""
    from rewardlab.pairs.files import read_pairs
    from rewardlab.training.preference import PreferenceTrainer
    from rewardlab.training.progress import FolderRecorder, Several
    from rewardlab.training.rm_evaluation import PairEncoder

    warn_of_long_labels(config, splits)
    section: PreferenceConfig = method.section(config)
    pairs = read_pairs(job.inputs["pairs"] / "pairs.jsonl")
    rows = [example for split in splits.values() for example in (*split.labelled, *split.validation)]
    known: dict[str, Any] = {}
    if _asks_what_is_known(section):
        from rewardlab.pairs.flips import known_flip_rate

        found = known_flip_rate(pairs, rows, config.annotate.oracle_weight, job.inputs.get("annotate"))
        job.say(f"  flip rate {found.rate:.3f}, by {found.source} ({found.count} counted)")
        config = config.with_section(method.name, section.model_copy(update={"flip_rate": found.rate}))
        known = {"flip_rate": {"rate": found.rate, "count": found.count, "source": found.source}}
    trunk = start_trunk(config, job.inputs)
    encoded = PairEncoder(trunk.codec, config.model, rows)(pairs)
    encoded.report(section.loss_title or method.title, "pair", config)
    result = PreferenceTrainer(
        method,
        trunk,
        encoded.pairs,
        config,
        Several(FolderRecorder(job.folder), job.recorder),
        job.folder.path,
        validation=rows_of(splits, "validation", section.validation_rows),
    ).train()
    left = {"shortened": encoded.shortened, "dropped": encoded.dropped}
    return {**result.to_json(), "trained_on": section.pairs, **left, **known, "gold": {}}
