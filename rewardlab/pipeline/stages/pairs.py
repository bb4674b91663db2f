"""Stage ``pairs``: preference pairs of one kind, and held-out ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.pipeline.context import Context, dumped
from rewardlab.pipeline.stage import JOURNALS, SampledPart, Stage, Work
from rewardlab.pipeline.stages.annotate import annotate_stage
from rewardlab.pipeline.stages.samples import samples_stage
from rewardlab.pipeline.stages.shared import gold_of
from rewardlab.tasks.sources import Splits
from rewardlab.types import PairKind

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview
    from rewardlab.pairs.sampled import SampleAnswers


def pairs_stage(context: Context, kind: PairKind, *, to_measure: bool = False) -> Stage:
    """The stage; pairs that only serve to measure have no ``pairs.bias``."""
    own = context.config.pairs.model_copy(update={"bias": None}) if to_measure else context.config.pairs
    if kind != "label":
        return ranked_stage(context, kind, context.config.model_copy(update={"pairs": own}))
    config = context.data_seeded().model_copy(update={"pairs": own})
    inputs = {"annotate": annotate_stage(context)} if config.format == "rationale" else {}
    return _stage(context, kind, config, {"wrong_label_seed": config.seed}, inputs)


def ranked_stage(context: Context, kind: PairKind, config: RunConfig) -> Stage:
    """Pairs of ranked samples, under a configuration that may differ from the run's in ``pairs`` and ``annotate``."""
    parts: tuple[SampledPart, ...] = ("validation",) if config.pairs.only_held_out else ("labelled", "validation")
    answers = {f"samples_{part}": samples_stage(context, part) for part in parts}
    return _stage(context, kind, config, {**context.model, **context.annotator_settings("rank", config)}, answers)


def _stage(
    context: Context, kind: PairKind, config: RunConfig, more: Mapping[str, Any], inputs: Mapping[str, Stage]
) -> Stage:
    part, journals = "held-out " if config.pairs.only_held_out else "", context.root / JOURNALS
    data = context.data("labelled", "validation")
    return context.stage(
        "pairs",
        f"{part}{kind} pairs of {context.names}",
        f"{context.slug}-{part.replace(' ', '-')}{kind}",
        {**data, "pairs": dumped(config.pairs), "kind": kind, **more},
        inputs,
        lambda job: pairs(job, config, kind, context.splits, journals),
        lambda: preview_pairs(config, kind, context.splits, journals),
    )


def pairs(job: Work, config: RunConfig, kind: PairKind, splits: Mapping[str, Splits], journals: Path) -> dict[str, Any]:
    """Do it."""
    from rewardlab.pairs.stage import run_pairs

    if kind == "label":
        source = job.inputs.get("annotate")
        rationales = source / "rationales.jsonl" if source else None
        result = run_pairs(job.folder, config, kind, splits, rationales, progress=job.report)
        return {**result, "gold": gold_of(splits, "labelled", limit=config.pairs.limit)}
    from rewardlab.annotate.base import Resources
    from rewardlab.annotate.bundled import written_tasks
    from rewardlab.annotate.registry import choose_annotator

    choice = choose_annotator(config, list(splits), written_tasks(splits))
    shared = config.model_copy(update={"seed": config.data_seed})
    weighed = {name: split.labelled for name, split in splits.items()}
    annotator = choice.kind.build(Resources(shared, journals, weighed, job.purse))
    drawn = _drawn_answers([path for name, path in job.inputs.items() if name.startswith("samples_")])
    answers = annotator.with_own_answers(drawn)
    return run_pairs(
        job.folder, config, kind, splits, None, sample_answers=answers, annotator=annotator, progress=job.report
    )


def preview_pairs(config: RunConfig, kind: PairKind, splits: Mapping[str, Splits], journals: Path) -> Preview | None:
    """What it will ask; label pairs ask for nothing."""
    from rewardlab.annotate.preview import preview_rankings
    from rewardlab.pairs.stage import candidates

    if kind == "label":
        return None
    rows = candidates(splits, config)
    return preview_rankings(config, [*rows.train, *rows.held_out], journals)


def _drawn_answers(folders: Sequence[Path]) -> SampleAnswers:
    """Gives the answers that stages ``samples`` have drawn."""
    from rewardlab.pairs.sampled import SAMPLED_FILE, read_sampled

    drawn = {key: found for folder in folders for key, found in read_sampled(folder / SAMPLED_FILE).items()}
    return lambda examples, count: [drawn[example.task, example.id][:count] for example in examples]
