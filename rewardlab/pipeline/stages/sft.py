"""Stage ``sft``: supervised fine-tuning, and the model that everything after it starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardlab.config import RunConfig
from rewardlab.errors import ConfigError
from rewardlab.evaluation.cost import Cost
from rewardlab.pipeline.context import Context, dumped
from rewardlab.pipeline.stage import AS_LONG_AS, Stage, Work
from rewardlab.pipeline.stages.annotate import annotate_stage
from rewardlab.pipeline.stages.shared import gold_of, gold_rationales, rows_of, warn_of_long_labels
from rewardlab.tasks.sources import Splits


def sft_stage(context: Context, rationales: bool, as_long_as: Sequence[Stage] = ()) -> Stage:
    """SFT on the labelled rows or on all, with rationales or on the bare answers.

    Args:
        context: The configuration.
        rationales: Whether a rationale stands before each answer.
        as_long_as: Trained stages; with all it needs, this one takes as long as they and all that they need.
    """
    config = context.config
    if rationales and config.format != "rationale":
        raise ConfigError(f"--rationales needs --format rationale, found --format {config.format}")
    _check_words(context)
    inputs = {"annotate": annotate_stage(context)} if rationales else {}
    title = "SFT w. rationale" if rationales else "SFT"
    settings = {
        **context.data(*config.sft.parts, "validation"),
        **context.model,
        "sft": dumped(config.sft),
        "rationales": rationales,
    }
    if as_long_as:
        settings["as_long_as"] = {"device_seconds": [stage.fingerprint for stage in as_long_as]}
    return context.stage(
        "sft",
        f"{title} of {config.model.name} on {context.names}",
        f"{context.slug}-{'rationale' if rationales else config.format}",
        settings,
        {**inputs, **{f"{AS_LONG_AS}{number}": stage for number, stage in enumerate(as_long_as)}},
        lambda job: sft(job, _timed(context, as_long_as, list(inputs.values())), context.splits),
    )


def _check_words(context: Context) -> None:
    """Refuse words for labels that a task of the run does not have; raises ConfigError."""
    for task in context.tasks:
        unknown = set(context.config.sft.words.get(task.name, {})) - set(task.labels)
        if unknown:
            raise ConfigError(
                f"sft.words: {', '.join(sorted(unknown))} is no label of {task.name}; expected some of "
                f"{', '.join(task.labels) or 'none, for its answers are numbers'}"
            )


def start_input(context: Context) -> dict[str, Stage]:
    """The stage whose model policies and reward models start from, as an input; empty for the base model."""
    config = context.config
    if config.start == "base":
        return {}
    if config.start == "sft-rationale" and config.format != "rationale":
        raise ConfigError(f"--init sft-rationale needs --format rationale, found {config.format}")
    return {"start": sft_stage(context, config.start == "sft-rationale")}


def _timed(context: Context, rivals: Sequence[Stage], own: Sequence[Stage]) -> RunConfig:
    """The configuration of a stage that gets the seconds of ``rivals``, less those of its ``own`` inputs."""
    config = context.config
    if not rivals:
        return config
    theirs = Cost.together(Cost.of(context.results(rival.chain(measuring=False))) for rival in rivals)
    mine = Cost.together(Cost.of(context.results(stage.chain(measuring=False))) for stage in own)
    seconds = theirs.seconds - mine.seconds
    if seconds <= 0:
        raise ConfigError(
            f"SFT cannot take as long as {', '.join(rival.title for rival in rivals)}: that took "
            f"{theirs.seconds:.1f} s, what SFT needs before it starts {mine.seconds:.1f} s; name a longer method"
        )
    return config.model_copy(update={"sft": config.sft.model_copy(update={"seconds": seconds})})


def sft(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Do it."""
    from rewardlab.training.sft import train_sft

    warn_of_long_labels(config, splits)
    rationales = gold_rationales(job.inputs["annotate"]) if "annotate" in job.inputs else None
    rows = [example for part in config.sft.parts for example in rows_of(splits, part)]
    validation = rows_of(splits, "validation", config.sft.validation_rows)
    result = train_sft(job.folder, config, rows, rationales, job.recorder, validation=validation)
    return {**result, "gold": gold_of(splits, *config.sft.parts)}
