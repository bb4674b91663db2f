"""The stage ``annotate``: one rationale for the right and one for a wrong label of every labelled row.

Where SFT learns from the PPO prompts too (``sft.rows = "all"``), each of them gets one for its right label. The stage
writes ``rationales.jsonl`` and ``manifest.json``. Label pairs and SFT with rationales both read the first. Answers
that cost something are journalled as they arrive, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rewardlab.annotate.base import OUTCOMES, Annotation, Annotator, Progress, RationaleRequest, Resources, silent
from rewardlab.annotate.bundled import written_tasks
from rewardlab.annotate.completion import check_failed
from rewardlab.annotate.filter import checked, filter_report
from rewardlab.annotate.money import Purse
from rewardlab.annotate.prompting import prompt_versions
from rewardlab.annotate.registry import choose_annotator
from rewardlab.annotate.wrong_labels import WrongLabels
from rewardlab.config import RunConfig
from rewardlab.disk import write_json, write_jsonl
from rewardlab.errors import AnnotationError
from rewardlab.runs import RunFolder
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import tasks
from rewardlab.types import Example, Label

logger = logging.getLogger(__name__)

RATIONALES_FILE = "rationales.jsonl"
MANIFEST_FILE = "manifest.json"

SplitName = Literal["labelled", "prompts", "validation"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """One rationale to be written, and what it is for.

    Attributes:
        split: ``labelled`` and ``prompts`` for training, ``validation`` for held-out pairs.
        example: The row.
        label: The label to argue for.
        is_gold: True when that is the row's own label.
    """

    split: SplitName
    example: Example
    label: Label
    is_gold: bool


def run_annotate(
    folder: RunFolder,
    config: RunConfig,
    splits: Mapping[str, Splits],
    journal_root: Path,
    progress: Progress = silent,
    purse: Purse | None = None,
) -> dict[str, Any]:
    """Write the rationales of all tasks.

    Args:
        folder: Where ``rationales.jsonl`` and ``manifest.json`` go; opened and finished by the caller.
        config: Which annotator, how many rows, which seed.
        splits: Task name -> its rows.
        journal_root: Folder of the journals, shared by all runs.
        progress: Told how far the requests are.
        purse: What the command spends; None is what this stage spends.
    Returns:
        The manifest.
    Raises:
        InputError: The annotator cannot work here.
        AnnotationError: Too many requests failed, or nothing usable came back.
    """
    choice = choose_annotator(config, list(splits), written_tasks(splits))
    logger.info("annotator %s: %s", choice.name, choice.reason)
    weighed = {name: split.labelled for name, split in splits.items()}
    annotator = choice.kind.build(Resources(config, journal_root, weighed, purse))
    asked = [item for name, split in splits.items() for item in assignments(name, split, config, annotator.wrong_label)]
    answers = _answers(annotator, asked, config.annotate.filter_threshold, progress)
    rows = [_row(item, answer) for item, answer in zip(asked, answers, strict=True)]
    manifest = {
        "annotator": annotator.name,
        "model": annotator.model,
        "reason": choice.reason,
        "prompts": prompt_versions(),
        "fingerprint": folder.fingerprint,
        **_counts(rows, answers),
        "spent": annotator.spent(),
        "filter": filter_report(config.annotate.filter_threshold),
        "source": {name: asdict(split.origin) for name, split in splits.items()},
    }
    write_jsonl(folder.path / RATIONALES_FILE, rows)
    write_json(folder.path / MANIFEST_FILE, manifest)
    check_failed([(answer.outcome, answer.reason) for answer in answers], config.annotate.max_failed)
    _check_usable(manifest)
    return manifest


def assignments(
    task: str, splits: Splits, config: RunConfig, known_wrong: Callable[[Example], Label | None] | None = None
) -> Iterator[Assignment]:
    """What is asked for one task: a right and a wrong label for each labelled and each held-out row.

    Of prompts that SFT learns from the right label alone: no pairs are made of them. ``annotate.limit`` bounds all
    parts, so that a trial of ten rows does not pay for hundreds.

    Args:
        task: Its name.
        splits: Its rows.
        config: How many rows, and the seed of wrong labels.
        known_wrong: The wrong label of a row that has a rationale already; None draws one.
    """
    wrong_labels = WrongLabels(tasks.get(task), [row.label for row in splits.labelled])
    parts: dict[SplitName, Sequence[Example]] = {part: getattr(splits, part) for part in config.sft.parts}
    parts["validation"] = splits.validation[: config.pairs.held_out]
    for split, examples in parts.items():
        for example in examples[: config.annotate.limit]:
            if example.label is not None:
                yield Assignment(split, example, example.label, True)
            if example.label is not None and split != "prompts":
                wrong = known_wrong(example) if known_wrong else None
                if wrong is None:
                    wrong = wrong_labels.of(example, config.seed)
                yield Assignment(split, example, wrong, False)


def _answers(
    annotator: Annotator, asked: Sequence[Assignment], threshold: float, progress: Progress
) -> list[Annotation]:
    requests = [RationaleRequest(item.example, item.label) for item in asked]
    raw = annotator.rationales(requests, progress)
    return checked(raw, [(item.example, item.label) for item in asked], threshold)


def _row(item: Assignment, answer: Annotation) -> dict[str, Any]:
    """One line of rationales.jsonl; only an answered request has a rationale, what the filter dropped stands beside."""
    return {
        "task": item.example.task,
        "id": item.example.id,
        "split": item.split,
        "label": item.label,
        "is_gold": item.is_gold,
        "rationale": answer.text if answer.outcome == "answered" else "",
        "outcome": answer.outcome,
        "good": answer.good,
        "dropped": answer.text if answer.outcome in ("refused", "mismatched") else "",
        "reason": answer.reason,
        "annotator": answer.annotator,
        "model": answer.model,
    }


def _counts(rows: Sequence[Mapping[str, Any]], answers: Sequence[Annotation]) -> dict[str, Any]:
    by_task = {
        name: Counter(row["outcome"] for row in rows if row["task"] == name) for name in {r["task"]: 0 for r in rows}
    }
    return {
        "requests": len(answers),
        "from_journal": sum(answer.from_journal for answer in answers),
        **_uses(rows),
        "prompt_tokens": sum(answer.prompt_tokens or 0 for answer in answers),
        "response_tokens": sum(answer.response_tokens or 0 for answer in answers),
        "outcomes": {name: sum(answer.outcome == name for answer in answers) for name in OUTCOMES},
        "tasks": {name: {outcome: counts[outcome] for outcome in OUTCOMES} for name, counts in by_task.items()},
    }


def _uses(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the requests were for: SFT needs the first, label pairs the second too, held-out pairs the third."""
    trained_on = [row for row in rows if row["split"] != "validation"]
    gold = Counter(f"{row['split']}/{row['task']}" for row in trained_on if row["is_gold"])
    return {
        "annotator_calls": gold.total(),
        "wrong_label_calls": len(trained_on) - gold.total(),
        "held_out_calls": len(rows) - len(trained_on),
        "gold": dict(gold),
    }


def _check_usable(manifest: Mapping[str, Any]) -> None:
    if not manifest["outcomes"]["answered"]:
        outcomes = ", ".join(f"{count} {name}" for name, count in manifest["outcomes"].items() if count) or "no rows"
        raise AnnotationError(
            f"annotate: no usable rationale from {manifest['annotator']} ({manifest['model']}): {outcomes}; "
            "see rationales.jsonl, and try another annotator or a larger annotate.max_new_tokens"
        )
