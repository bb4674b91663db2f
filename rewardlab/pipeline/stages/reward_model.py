"""Stages ``rm`` and ``card``: a Bradley-Terry reward model of one kind of pairs, and its report card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardlab import processes
from rewardlab.config import AnnotateConfig, RunConfig
from rewardlab.disk import write_jsonl
from rewardlab.errors import InputError
from rewardlab.pipeline.context import Context, dumped, slug_of
from rewardlab.pipeline.imported import OwnPairs
from rewardlab.pipeline.stage import HELD_OUT, Stage, Work
from rewardlab.pipeline.stages.pairs import pairs_stage, ranked_stage
from rewardlab.pipeline.stages.samples import sampled_rows, samples_stage
from rewardlab.pipeline.stages.sft import start_input
from rewardlab.pipeline.stages.shared import start_adapter
from rewardlab.tasks.sources import Splits
from rewardlab.types import PairKind


def reward_model_stage(context: Context, kind: PairKind) -> Stage:
    """A reward model of pairs that are made here; ``rm.preset`` decides its budget.

    The sandbox's oracle ranks what a label RM is measured on by its default weight, so that one label RM serves all
    weights; :func:`card_stage` measures it on rankings by the configured one.
    """
    rows = sum(len(split.labelled[: context.config.pairs.limit]) for split in context.splits.values())
    config = context.config.model_copy(update={"rm": context.config.rm.for_kind(kind, rows)})
    inputs = {
        **start_input(context),
        "samples": samples_stage(context),
        "pairs": pairs_stage(context, kind),
        **_measured_on(context, kind, _default_weight(config) if kind == "label" else config),
    }
    return context.stage(
        "rm",
        f"{kind} reward model on {context.names}",
        f"{context.slug}-{kind}",
        {**context.data("validation"), **context.model, "rm": dumped(config.rm), "kind": kind},
        inputs,
        lambda job: reward_model(job, config, kind, context.splits),
    )


def reward_model_of(context: Context, own: OwnPairs) -> Stage:
    """A reward model of somebody's own pairs: of a task's, from the model that the task's others start from, and
    measured on its samples too; of no task's, from the base model.

    Raises:
        InputError: Pairs of no task, and a start that only a task has.
    """
    if not own.tasks and context.config.init not in (None, "base"):
        raise InputError(f"the pairs belong to no task, so there is no {context.config.init} model; leave init out")
    config = context.config.model_copy(update={"rm": context.config.rm.for_kind(own.kind, own.count)})
    samples = {**start_input(context), "samples": samples_stage(context)} if own.tasks else {}
    rows = context.data("validation") if own.tasks else {}
    return context.stage(
        "rm",
        f"{own.kind} reward model on {own.stage.title}",
        own.stage.slug,
        {**rows, **context.model, "rm": dumped(config.rm), "kind": own.kind},
        {**samples, "pairs": own.stage, f"{HELD_OUT}{own.kind}": own.stage},
        lambda job: reward_model(job, config, own.kind, context.splits if own.tasks else {}),
    )


def card_stage(context: Context, kind: PairKind, method: str) -> Stage:
    """The report card of a reward model: every held-out pair judged, ranked ones as configured."""
    model, seed = reward_model_stage(context, kind), context.config.seed
    return context.stage(
        "card",
        f"report card of {model.title}",
        f"{context.slug}-{slug_of(method)}",
        {"method": method, "seed": seed},
        {"model": model, **_measured_on(context, kind, context.config)},
        lambda job: card(job, method, seed),
    )


def _measured_on(context: Context, kind: PairKind, config: RunConfig) -> dict[str, Stage]:
    """The pairs whose held-out part a reward model is measured on; for a label RM no labelled rows are ranked."""
    held_out = {f"{HELD_OUT}label": pairs_stage(context, "label", to_measure=True)}
    needs_no_labelled_rows = kind == "label" and not config.rm.held_out_ranked
    if config.format == "rationale" or not needs_no_labelled_rows:
        own = {"bias": None, "only_held_out": needs_no_labelled_rows or config.pairs.only_held_out}
        pairs = config.pairs.model_copy(update=own)
        held_out[f"{HELD_OUT}ranked"] = ranked_stage(context, "ranked", config.model_copy(update={"pairs": pairs}))
    return held_out


def _default_weight(config: RunConfig) -> RunConfig:
    """The configuration with the oracle's default weight."""
    annotate = config.annotate.model_copy(update={"oracle_weight": AnnotateConfig().oracle_weight})
    return config.model_copy(update={"annotate": annotate})


def reward_model(job: Work, config: RunConfig, kind: PairKind, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Do it."""
    from rewardlab.pairs.files import read_pairs
    from rewardlab.pairs.sampled import SAMPLED_FILE, read_sampled
    from rewardlab.reward_models.trained_prompts import store_trained_prompts
    from rewardlab.training.reward_model import train_reward_model
    from rewardlab.training.rm_evaluation import SampledAnswer
    from rewardlab.training.stored_samples import write_samples

    drawn = read_sampled(job.inputs["samples"] / SAMPLED_FILE) if "samples" in job.inputs else {}
    asked = sampled_rows(config, splits, "validation")
    samples = [SampledAnswer(example, tuple(drawn[example.task, example.id])) for example in asked]
    trained_on = read_pairs(job.inputs["pairs"] / "pairs.jsonl")
    if processes.is_main():
        write_samples(job.folder.path, samples)
        store_trained_prompts(job.folder.path, trained_on)
    held_out = {
        name: read_pairs(path / "held_out.jsonl") for name, path in job.inputs.items() if name.startswith(HELD_OUT)
    }
    adapter = start_adapter(job.inputs)
    rows = [example for split in splits.values() for example in (*split.labelled, *split.validation)]
    return train_reward_model(
        job.folder, config, kind, adapter, trained_on, held_out, samples, job.recorder, examples=rows
    )


def card(job: Work, method: str, seed: int) -> dict[str, Any]:
    """Write report.json, report.md and report.png, and what became of each pair and of each row."""
    from rewardlab.reward_models.card import judged_card
    from rewardlab.reward_models.card_files import write_cards
    from rewardlab.reward_models.measures import BEST_FILE, JUDGED_FILE

    folders = [path for name, path in job.inputs.items() if name.startswith(HELD_OUT)]
    judged = judged_card(job.inputs["model"], folders)
    found = judged.card
    write_jsonl(job.folder.path / JUDGED_FILE, judged.pairs)
    write_jsonl(job.folder.path / BEST_FILE, judged.rows)
    write_cards({str(found["kind"]): found}, job.folder.path)
    return {"method": method, "seed": seed, **{name: found[name] for name in ("kind", "sets", "best_of_4")}}
