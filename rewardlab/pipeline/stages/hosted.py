"""Evaluation of a hosted model: it answers the test rows behind an OpenAI-compatible endpoint, as an annotator would.

Answers go through the annotator's journal, limits, budget and batches, and are read by the same parsers as those of
local models. Nothing of a prompt is cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.annotate.access import endpoint
from rewardlab.annotate.sampling import is_reasoning
from rewardlab.config import RunConfig
from rewardlab.disk import write_jsonl
from rewardlab.errors import ConfigError
from rewardlab.evaluation.few_shot import chain_of_thought, few_shot_prompt
from rewardlab.pipeline.context import Context, dumped, slug_of
from rewardlab.pipeline.stage import JOURNALS, Stage, Work
from rewardlab.pipeline.stages.annotate import annotate_stage
from rewardlab.pipeline.stages.evaluate import (
    Facts,
    check_reasoning,
    demonstrations,
    facts_of,
    guess_of,
    prompting_title,
)
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import OPENINGS, STOP_STRINGS, tasks
from rewardlab.types import AnswerFormat, Example

if TYPE_CHECKING:
    from rewardlab.annotate.base import Annotation
    from rewardlab.annotate.endpoint import Call
    from rewardlab.annotate.hosted import OpenAIAnnotator
    from rewardlab.annotate.preview import Preview
    from rewardlab.evaluation.few_shot import Demonstration
    from rewardlab.evaluation.predict import Decoding, GeneratedText

TEMPERATURES: Mapping[Decoding, float] = {"sampled": 1.0, "greedy": 0.0}
OPENING_TOKENS = 8
"""Room for the opening tag, which a hosted model writes itself."""
Shots = Mapping[str, Sequence["Demonstration"]]


def hosted_title(config: RunConfig) -> str:
    """The name that a table gives it."""
    return f"{config.eval.hosted.model} {prompting_title(config)}"


def hosted_stage(context: Context, method: str | None = None) -> Stage:
    """Answers of the hosted model to the test rows.

    Raises:
        ConfigError: It is asked for the best of several answers, or for reasoning in a format without room for it.
        InputError: There is no key.
    """
    config, journals = _asking(context.config), context.root / JOURNALS
    check_reasoning(config)
    if config.eval.best_of is not None:
        raise ConfigError("eval.best_of chooses among answers of a local model; leave it or eval.hosted.model out")
    if not context.rows.may_lack:
        from rewardlab.annotate.hosted import OpenAIAnnotator

        OpenAIAnnotator.check_access()
    shots, name = config.eval.shots, method or hosted_title(config)
    has_rationales = bool(shots) and config.format == "rationale"
    inputs = {"annotate": annotate_stage(context)} if has_rationales else {}
    return context.stage(
        "eval",
        f"evaluate {name} on {context.names}",
        f"{context.slug}-{slug_of(name)}",
        {
            **(context.data("tests", "labelled") if shots else context.data("tests")),
            **context.task_code("quality"),
            "own_model": _identity(config),
            "max_new_tokens": config.new_tokens,
            "seed": config.seed,
            "eval": dumped(config.eval, without=("batch", "hosted", "checkpoint", "least_new_tokens")),
            "method": name,
        },
        inputs,
        lambda job: answer(job, config, context.splits, facts_of(context, None, name), journals),
        lambda: preview(config, context.splits, journals),
    )


def answer(job: Work, config: RunConfig, splits: Mapping[str, Splits], facts: Facts, journals: Path) -> dict[str, Any]:
    """Do it."""
    from rewardlab.annotate.base import Resources
    from rewardlab.annotate.completion import check_failed
    from rewardlab.annotate.hosted import OpenAIAnnotator
    from rewardlab.evaluation.answers import PREDICTIONS_FILE, write_answers
    from rewardlab.evaluation.predict import evaluate as measure

    model = OpenAIAnnotator.build(Resources(config, journals, {}, job.purse))
    shots = demonstrations(config, splits, job.inputs) if config.eval.shots else {}
    asked: list[Annotation] = []

    def generate(examples: Sequence[Example], decoding: Decoding) -> list[GeneratedText]:
        answers = model.answer_many(_calls(model, config, examples, decoding, shots), decoding, job.report)
        asked.extend(answers)
        return [as_response(found, example.format) for found, example in zip(answers, examples, strict=True)]

    columns = {column: rows for split in splits.values() for column, rows in split.tests.items()}
    decodings, prompt = decodings_of(config), partial(prompt_of_row, config, shots)
    found = measure(
        columns,
        generate,
        bootstrap=config.eval.bootstrap,
        prompt=prompt,
        decodings=decodings,
        guess=guess_of(config),
    )
    check_failed([(each.outcome, each.reason) for each in asked], config.annotate.max_failed)
    write_jsonl(job.folder.path / PREDICTIONS_FILE, (row.to_json() for row in found.rows))
    write_answers(job.folder.path, found.rows)
    counts = {name: sum(each.outcome == name for each in asked) for name in {each.outcome for each in asked}}
    told = {"shots": config.eval.shots, "hosted": {"model": model.model, "outcomes": counts}, "policy": None}
    return {**asdict(facts), "seed": config.seed, "columns": found.columns, **told, "spent": model.spent()}


def preview(config: RunConfig, splits: Mapping[str, Splits], journals: Path) -> Preview:
    """What it will ask; solved examples are shown without the rationales that are still to be written."""
    from rewardlab.annotate.preview import preview_answers

    shots = demonstrations(config, splits, {}) if config.eval.shots else {}
    rows = [row for split in splits.values() for part in split.tests.values() for row in part]

    def calls_of(model: OpenAIAnnotator) -> list[Call]:
        return [call for each in decodings_of(config) for call in _calls(model, config, rows, each, shots)]

    return preview_answers(config, calls_of, len(rows) * len(decodings_of(config)), journals)


def decodings_of(config: RunConfig) -> tuple[Decoding, ...]:
    """How each row is answered; a model that reasons first takes no temperature, so it answers sampled alone."""
    if is_reasoning(config.annotate, config.annotate.model or ""):
        return ("sampled",)
    return tuple(dict.fromkeys(config.eval.hosted.decodings))


def prompt_of_row(config: RunConfig, shots: Shots, example: Example) -> str:
    """The message for one row: solved examples, the row's own prompt and, where asked for, a call for reasoning."""
    task = tasks.get(example.task)
    asking = chain_of_thought(task) if config.eval.chain_of_thought else ""
    return few_shot_prompt(task, example, shots.get(example.task, ()), asking)


def as_response(found: Annotation, format: AnswerFormat) -> GeneratedText:
    """An answer as a local model would have given it: behind the opening, and up to the format's stop text.

    What was withheld or never came is an empty response.
    """
    from rewardlab.evaluation.predict import GeneratedText

    if found.outcome not in ("answered", "truncated"):
        return GeneratedText("", finished=False)
    text = found.text.strip()
    if OPENINGS[format]:
        text = text.rpartition(OPENINGS[format])[2]
    for stop in STOP_STRINGS[format]:
        head, mark, _ = text.partition(stop)
        text = f"{head}{mark}"
    return GeneratedText(text, finished=found.outcome == "answered")


def _calls(
    model: OpenAIAnnotator, config: RunConfig, examples: Sequence[Example], decoding: Decoding, shots: Shots
) -> list[Call]:
    """What is sent; each seed draws its own answers at temperature 1."""
    prompts = [prompt_of_row(config, shots, example) for example in examples]
    tokens = config.new_tokens + (OPENING_TOKENS if OPENINGS[config.format] else 0)
    draw = config.seed if decoding == "sampled" else 0
    return model.answer_calls(prompts, tokens, TEMPERATURES[decoding], draw)


def _asking(config: RunConfig) -> RunConfig:
    """The configuration with the hosted model in the place of the annotator's, for it is asked in the same way."""
    hosted = config.eval.hosted
    own = {"model": hosted.model, "base_url": hosted.base_url or config.annotate.base_url}
    return config.model_copy(update={"annotate": config.annotate.model_copy(update=own)})


def _identity(config: RunConfig) -> dict[str, Any]:
    section, model = config.annotate, config.annotate.model or ""
    return {
        "kind": "hosted",
        "name": model,
        "endpoint": endpoint(section),
        "decodings": list(decodings_of(config)),
        **({"extra_body": section.extra_body} if section.extra_body else {}),
        **({"reasoning_tokens": section.reasoning_tokens} if is_reasoning(section, model) else {}),
    }
