"""Label-sensitive pairs: right answer against wrong answer, built from gold labels without anybody's ranking.

In the rationale format both answers argue; their rationales come from the stage ``annotate``. In the other formats
the answers are bare labels, and no annotator is needed. (RLLR section 3.2, appendix D.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardlab.annotate.wrong_labels import WrongLabels
from rewardlab.tasks.confidence import shown_confidence
from rewardlab.tasks.task import prompt_of, tasks
from rewardlab.types import Example, Label, Pair

BARE = "gold"
"""Named as annotator of bare pairs: their order is that of the gold label."""


@dataclass(slots=True)
class Built:
    """Pairs, and what became of every candidate.

    Attributes:
        pairs: The pairs, in the order of their rows.
        skipped: (task, why there is no pair) of every other candidate.
    """

    pairs: list[Pair] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, task: str, outcome: str) -> None:
        """Count a candidate that gave no pair."""
        self.skipped.append((task, outcome))

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """(task, outcome) of every candidate; ``written`` for those that are pairs."""
        return [*((pair.task, "written") for pair in self.pairs), *self.skipped]


@dataclass(frozen=True, slots=True)
class Argued:
    """The two rationales of one row, as rows of ``rationales.jsonl``."""

    gold: Mapping[str, Any]
    wrong: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """``answered`` when both can be used, else what is wrong with the first that cannot."""
        bad = (row["outcome"] for row in (self.gold, self.wrong) if row["outcome"] != "answered")
        return str(next(bad, "answered"))


def argued_rows(rows: Iterable[Mapping[str, Any]], split: str) -> dict[tuple[str, str], Argued]:
    """(task, id) -> both rationales, for one split of ``rationales.jsonl``; rows with only one are left out."""
    halves: dict[tuple[str, str], dict[bool, Mapping[str, Any]]] = {}
    for row in rows:
        if row["split"] == split:
            halves.setdefault((row["task"], row["id"]), {})[bool(row["is_gold"])] = row
    return {key: Argued(half[True], half[False]) for key, half in halves.items() if len(half) == 2}


def pairs_from_rationales(examples: Sequence[Example], argued: Mapping[tuple[str, str], Argued]) -> Built:
    """One pair per row whose two rationales were written; rows that were not annotated are passed over."""
    built = Built()
    for example in examples:
        both = argued.get((example.task, example.id))
        if both is None:
            continue
        if both.outcome != "answered":
            built.skip(example.task, both.outcome)
            continue
        texts = (both.gold["rationale"], both.wrong["rationale"])
        author = (both.wrong["annotator"], both.wrong["model"])
        built.pairs.append(
            _pair(example, _label(example, both.gold["label"]), _label(example, both.wrong["label"]), texts, author)
        )
    return built


def bare_pairs(examples: Sequence[Example], wrong_labels: Mapping[str, WrongLabels], seed: int) -> Built:
    """One pair of bare answers per labelled row; ``wrong_labels`` by task."""
    built = Built()
    for example in examples:
        if example.label is not None:
            wrong = wrong_labels[example.task].of(example, seed)
            built.pairs.append(_pair(example, example.label, wrong, ("", ""), (BARE, "")))
    return built


def _pair(example: Example, gold: Label, wrong: Label, rationales: tuple[str, str], author: tuple[str, str]) -> Pair:
    task = tasks.get(example.task)
    return Pair(
        task=example.task,
        id=example.id,
        kind="label",
        format=example.format,
        prompt=prompt_of(example),
        chosen=task.response(gold, example.format, rationales[0], shown_confidence(example)),
        rejected=task.response(wrong, example.format, rationales[1], shown_confidence(example)),
        chosen_label=gold,
        rejected_label=wrong,
        gold_label=gold,
        annotator=author[0],
        model=author[1],
    )


def _label(example: Example, value: Any) -> Label:
    """A label from JSON in the task's own type."""
    return float(value) if tasks.get(example.task).is_numeric else str(value)
