"""What the stages ``samples``, ``pairs``, ``rm`` and ``card`` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.pipeline.stage import HELD_OUT, SampledPart, Work
from rewardlab.pipeline.work.shared import gold_of, start_adapter, start_trunk
from rewardlab.runs import write_jsonl
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.types import Example, PairKind

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview
    from rewardlab.models import Trunk
    from rewardlab.pairs.sampled import SampleAnswers


def samples(job: Work, config: RunConfig, splits: Mapping[str, Splits], part: SampledPart) -> dict[str, Any]:
    """Stage ``samples``."""
    from rewardlab.pairs.sampled import sampled_answers
    from rewardlab.pairs.summary import answers_by_task, sampled_kinds
    from rewardlab.tasks.task import parse_response

    asked = _sampled_rows(config, splits, part)
    sample_answers = _answers_of(start_trunk(config, job.inputs), config)
    drawn = sampled_answers(job.folder, asked, config.pairs.samples, sample_answers, job.report)
    rows = [
        {"task": example.task, "labels": [parse_response(example, text).value for text in texts]}
        for example, texts in zip(asked, drawn, strict=True)
    ]
    return {"sampled": sampled_kinds(answers_by_task(rows)), "gold": {}}


def _sampled_rows(config: RunConfig, splits: Mapping[str, Splits], part: SampledPart) -> list[Example]:
    """The rows that the start model answers: those that pairs are made from, or held out for them."""
    if part == "labelled":
        return [example for split in splits.values() for example in split.labelled[: config.pairs.limit]]
    return [example for split in splits.values() for example in split.validation[: config.pairs.held_out]]


def _answers_of(trunk: Trunk, config: RunConfig) -> SampleAnswers:
    """Draws several answers per example from the start model, at temperature 1."""
    from rewardlab.models import SamplingConfig, row_key, sample

    sampling = SamplingConfig(config.new_tokens, 1.0, STOP_STRINGS[config.format], config.eval.batch)

    def sample_answers(examples: Sequence[Example], count: int) -> list[list[str]]:
        prompts = [trunk.codec.prompt_ids(example) for example in examples for _ in range(count)]
        keys = [row_key(config.seed, "pairs", e.task, e.id, number) for e in examples for number in range(count)]
        texts = [item.text for item in sample(trunk, prompts, keys, sampling, None)]
        return [texts[first : first + count] for first in range(0, len(texts), count)]

    return sample_answers


def pairs(job: Work, config: RunConfig, kind: PairKind, splits: Mapping[str, Splits], journals: Path) -> dict[str, Any]:
    """Stage ``pairs``."""
    from rewardlab.pairs.stage import run_pairs

    if kind == "label":
        source = job.inputs.get("annotate")
        rationales = source / "rationales.jsonl" if source else None
        result = run_pairs(job.folder, config, kind, splits, rationales, progress=job.report)
        return {**result, "gold": gold_of(splits, "labelled", limit=config.pairs.limit)}
    from rewardlab.annotate.bundled import written_answers_first, written_tasks
    from rewardlab.annotate.choose import build_annotator, choose_annotator

    choice = choose_annotator(config.annotate, config.model, list(splits), written_tasks(splits))
    shared = config.model_copy(update={"seed": config.data_seed})
    weighed = {name: split.labelled for name, split in splits.items()}
    annotator = build_annotator(choice.name, shared, journals, weighed, job.purse)
    sample_answers = _drawn_answers([path for name, path in job.inputs.items() if name.startswith("samples_")])
    if choice.name == "bundled":
        sample_answers = written_answers_first(sample_answers)
    return run_pairs(
        job.folder, config, kind, splits, None, sample_answers=sample_answers, annotator=annotator, progress=job.report
    )


def preview_pairs(config: RunConfig, kind: PairKind, splits: Mapping[str, Splits], journals: Path) -> Preview | None:
    """What stage ``pairs`` will ask; label pairs ask nobody."""
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


def reward_model(job: Work, config: RunConfig, kind: PairKind, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Stage ``rm``."""
    from rewardlab.pairs.files import read_pairs
    from rewardlab.pairs.sampled import SAMPLED_FILE, read_sampled
    from rewardlab.reward_models.trained_prompts import store_trained_prompts
    from rewardlab.training.reward_model import train_reward_model
    from rewardlab.training.rm_evaluation import SampledAnswer
    from rewardlab.training.stored_samples import write_samples

    drawn = read_sampled(job.inputs["samples"] / SAMPLED_FILE) if "samples" in job.inputs else {}
    asked = _sampled_rows(config, splits, "validation")
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
    """Stage ``card``: report.json, report.md and report.png, and what became of each pair."""
    from rewardlab.reward_models.card import judged_card
    from rewardlab.reward_models.card_files import write_cards
    from rewardlab.reward_models.measures import JUDGED_FILE

    folders = [path for name, path in job.inputs.items() if name.startswith(HELD_OUT)]
    found, judged = judged_card(job.inputs["model"], folders)
    write_jsonl(job.folder.path / JUDGED_FILE, judged)
    write_cards({str(found["kind"]): found}, job.folder.path)
    return {"method": method, "seed": seed, "kind": found["kind"], "sets": found["sets"]}
