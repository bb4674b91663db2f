"""Stage ``samples``: several answers of the start model to each row that pairs are made from, or held out for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.pipeline.context import Context
from rewardlab.pipeline.stage import SampledPart, Stage, Work
from rewardlab.pipeline.stages.sft import start_input
from rewardlab.pipeline.stages.shared import start_trunk
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.models import Trunk
    from rewardlab.pairs.sampled import SampleAnswers


def samples_stage(context: Context, part: SampledPart = "validation") -> Stage:
    """The stage.

    Ranked pairs of all kinds and rankings are made of these answers, and all reward models on that start are measured
    on those to validation rows; the kinds of pairs among them are counted.
    """
    config = context.config
    rows = {"held_out": config.pairs.held_out} if part == "validation" else {"limit": config.pairs.limit}
    return context.stage(
        "samples",
        f"{config.pairs.samples} answers of {config.start} to {part} rows of {context.names}",
        context.slug if part == "validation" else f"{context.slug}-{part}",
        {**context.data(part), **context.model, "samples": config.pairs.samples, **rows},
        start_input(context),
        lambda job: samples(job, config, context.splits, part),
    )


def samples(job: Work, config: RunConfig, splits: Mapping[str, Splits], part: SampledPart) -> dict[str, Any]:
    """Do it."""
    from rewardlab.pairs.sampled import sampled_answers
    from rewardlab.pairs.summary import answers_by_task, sampled_kinds
    from rewardlab.tasks.task import parse_response

    asked = sampled_rows(config, splits, part)
    sample_answers = _answers_of(start_trunk(config, job.inputs), config)
    drawn = sampled_answers(job.folder, asked, config.pairs.samples, sample_answers, job.report)
    rows = [
        {"task": example.task, "labels": [parse_response(example, text).value for text in texts]}
        for example, texts in zip(asked, drawn, strict=True)
    ]
    return {"sampled": sampled_kinds(answers_by_task(rows)), "gold": {}}


def sampled_rows(config: RunConfig, splits: Mapping[str, Splits], part: SampledPart) -> list[Example]:
    """The rows that the start model answers: those that pairs are made from, or held out for them."""
    if part == "labelled":
        return [example for split in splits.values() for example in split.labelled[: config.pairs.limit]]
    return [example for split in splits.values() for example in split.validation[: config.pairs.held_out]]


def _answers_of(trunk: Trunk, config: RunConfig) -> SampleAnswers:
    """Draws several answers per example from the start model, at temperature 1."""
    from rewardlab.models import SamplingConfig, row_key, sample
    from rewardlab.training.fitting import sampling_batch

    sampling = SamplingConfig(config.new_tokens, 1.0, STOP_STRINGS[config.format], sampling_batch(config, trunk))

    def sample_answers(examples: Sequence[Example], count: int) -> list[list[str]]:
        prompts = [trunk.codec.prompt_ids(example) for example in examples for _ in range(count)]
        keys = [row_key(config.seed, "pairs", e.task, e.id, number) for e in examples for number in range(count)]
        texts = [item.text for item in sample(trunk, prompts, keys, sampling, None)]
        return [texts[first : first + count] for first in range(0, len(texts), count)]

    return sample_answers
