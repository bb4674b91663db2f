"""Which rationales may be used: a classifier separates good ones from refusals and from those for another label.

TF-IDF over the words, with the label asked for and other labels masked, beside six facts about what the text claims
(``claims.py``), into a logistic regression over three classes. It is trained from ``annotations/filter/rows.jsonl``
when it is first needed, in well under a second, so no model is stored. What the rows mean stands in ``GUIDELINES.md``
beside them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.claims import agrees, claimed_labels, is_refusal, masked
from rewardlab.annotate.completion import with_outcome
from rewardlab.annotate.shipped import shipped
from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError
from rewardlab.tasks.marks import Answered, at_answer
from rewardlab.tasks.task import parse_response, tasks
from rewardlab.tasks.thoughts import spoken
from rewardlab.types import Example, Label

FilterClass = Literal["good", "refused", "mismatched"]
CLASSES: tuple[FilterClass, ...] = get_args(FilterClass)

_TITLE = re.compile(
    r"^[#*_ ]{0,9}(?:rationale|explanation|reasoning|justification|answer)[*_ ]{0,4}(?::[*_]{0,3}\s{0,9}|\n\s{0,9})"
    r"|^<answer>\s{0,9}",
    re.IGNORECASE,
)
"""A title above a rationale."""
FOLDS = 5
_C = 10.0


@dataclass(frozen=True, slots=True)
class Argued:
    """A text, and what it was asked to argue for."""

    text: str
    example: Example
    label: Label


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter says of one text.

    Attributes:
        good: Probability that it is a good rationale for the label asked for.
        fault: The likelier of the two faults.
    """

    good: float
    fault: FilterClass

    def outcome(self, threshold: float) -> FilterClass:
        """``good`` from the threshold upwards, else the fault."""
        return "good" if self.good >= threshold else self.fault


@dataclass(frozen=True, slots=True)
class FilterRow:
    """A training row."""

    argued: Argued
    kind: FilterClass


class RationaleFilter:
    """The classifier, trained on what it is given.

    Args:
        rows: Training rows of all three classes.
    """

    def __init__(self, rows: Sequence[FilterRow]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        self._words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\b\w+\b")
        self._words.fit([_masked(row.argued) for row in rows])
        self._model = LogisticRegression(C=_C, max_iter=2000, class_weight="balanced")
        self._model.fit(self._matrix([row.argued for row in rows]), [row.kind for row in rows])

    def judge(self, texts: Sequence[Argued]) -> list[Verdict]:
        """One verdict per text."""
        if not texts:
            return []
        names = [str(name) for name in self._model.classes_]
        shares = [
            dict(zip(names, map(float, row), strict=True)) for row in self._model.predict_proba(self._matrix(texts))
        ]
        return [
            Verdict(share["good"], "refused" if share["refused"] >= share["mismatched"] else "mismatched")
            for share in shares
        ]

    def _matrix(self, texts: Sequence[Argued]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        return hstack([self._words.transform(map(_masked, texts)), csr_matrix([facts(text) for text in texts])]).tocsr()


def facts(argued: Argued) -> list[float]:
    """Six facts about a text, 1 or 0: it reads as a refusal; it claims the label asked for; it claims another; its last
    claim is the label asked for; its last claim is another; it claims nothing.
    """
    task = tasks.get(argued.example.task)
    claims = [agrees(task, claim, argued.label) for claim in claimed_labels(argued.example, argued.text)]
    last = claims[-1] if claims else None
    found = [is_refusal(argued.text), any(claims), not all(claims), last is True, last is False, last is None]
    return [float(fact) for fact in found]


def checked(
    annotations: Sequence[Annotation], asked: Sequence[tuple[Example, Label]], threshold: float
) -> list[Annotation]:
    """The annotations as they may be used: without an answer of their own, or in the class of what is wrong with them.

    Args:
        annotations: Rationales; all but the ``answered`` are passed through.
        asked: The row and the label of each.
        threshold: Least probability of a good rationale that is kept.
    """
    read = [_read(annotation, example) for annotation, (example, _) in zip(annotations, asked, strict=True)]
    texts = [
        Argued(item.text, example, label)
        for item, (example, label) in zip(read, asked, strict=True)
        if item.outcome == "answered"
    ]
    verdicts = iter(shipped_filter().judge(texts) if texts else [])
    return [
        _judged(item, annotation.text, example, label, next(verdicts), threshold)
        if item.outcome == "answered"
        else item
        for item, annotation, (example, label) in zip(read, annotations, asked, strict=True)
    ]


def read_filter_rows(path: Path) -> list[FilterRow]:
    """Training rows of a JSON Lines file: ``task``, ``label``, ``class``, ``text``.

    Raises:
        DataError: A class, task or label is unknown; the message names file and line.
    """
    return [_filter_row(row, f"{path} line {number}") for number, row in enumerate(read_jsonl(path), 1)]


def filter_rows_file() -> Path:
    """The training rows that come with the package."""
    return shipped("filter", "rows.jsonl")


@cache
def shipped_filter() -> RationaleFilter:
    """The filter trained on the rows that come with the package; trained once per process."""
    return RationaleFilter(read_filter_rows(filter_rows_file()))


def filter_version() -> str:
    """Hash of the training rows, for fingerprints."""
    return hashlib.sha256(filter_rows_file().read_bytes()).hexdigest()[:16]


@cache
def filter_report(threshold: float) -> Mapping[str, Any]:
    """What a manifest says of the filter: its rows, threshold, and precision and recall by cross-validation."""
    rows = read_filter_rows(filter_rows_file())
    return {"version": filter_version(), "rows": len(rows), "threshold": threshold, **cross_validated(rows, threshold)}


def cross_validated(rows: Sequence[FilterRow], threshold: float) -> dict[str, Any]:
    """Precision and recall of dropping what is not good, by 5-fold cross-validation, and of each fault by itself."""
    from sklearn.model_selection import StratifiedKFold

    kinds = [row.kind for row in rows]
    predicted: list[FilterClass] = ["good"] * len(rows)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(kinds, kinds):
        model = RationaleFilter([rows[i] for i in train])
        for i, verdict in zip(test, model.judge([rows[i].argued for i in test]), strict=True):
            predicted[i] = verdict.outcome(threshold)
    by_class = {fault: precision_recall(kinds, predicted, {fault}) for fault in CLASSES if fault != "good"}
    return {"folds": FOLDS, **precision_recall(kinds, predicted, set(by_class)), "by_class": by_class}


def precision_recall(truth: Sequence[str], predicted: Sequence[str], faults: Collection[str]) -> dict[str, Any]:
    """Precision and recall of finding ``faults``; None where nothing was found, or nothing was there to find."""
    found = [item in faults for item in predicted]
    there = [item in faults for item in truth]
    right = sum(a and b for a, b in zip(found, there, strict=True))
    return {
        "precision": right / sum(found) if any(found) else None,
        "recall": right / sum(there) if any(there) else None,
    }


def _masked(argued: Argued) -> str:
    return masked(argued.example, argued.label, argued.text)


def _read(annotation: Annotation, example: Example) -> Annotation:
    """Without an answer of its own behind the rationale."""
    if annotation.outcome != "answered":
        return annotation
    text = _TITLE.sub("", _cut(annotation.text, example).rationale)
    return (
        replace(annotation, text=text)
        if text
        else with_outcome(annotation, "unparsable", "an answer without a rationale")
    )


def _cut(text: str, example: Example) -> Answered:
    """A rationale that was asked for without an answer, and the answer that came with it all the same."""
    return at_answer(spoken(text), tasks.get(example.task).languages, first=True)


def _judged(
    annotation: Annotation, whole: str, example: Example, label: Label, verdict: Verdict, threshold: float
) -> Annotation:
    task = tasks.get(example.task)
    stated = (
        None
        if _cut(whole, example).answer is None
        else parse_response(replace(example, format="rationale"), whole).value
    )
    if stated is not None and not agrees(task, stated, label):
        return replace(annotation, outcome="mismatched", reason=f"it ends in the answer {stated}", good=0.0)
    scored = replace(annotation, good=round(verdict.good, 4))
    outcome = verdict.outcome(threshold)
    if outcome == "good":
        return scored
    what = "a refusal" if outcome == "refused" else "a rationale for another label"
    return replace(scored, outcome=outcome, reason=f"reads as {what}: good with probability {verdict.good:.2f}")


def _filter_row(row: Mapping[str, Any], where: str) -> FilterRow:
    name, label, kind = row.get("task"), row.get("label"), row.get("class")
    if kind not in CLASSES:
        raise DataError(f"{where}: class {kind!r} is not one of {', '.join(CLASSES)}; correct the row")
    task = tasks.get(str(name))
    is_known = isinstance(label, int | float) if task.is_numeric else label in task.labels or bool(task.candidates)
    if label is None or not is_known:
        known = ", ".join(task.labels) or "a number"
        raise DataError(f"{where}: label {label!r} is none of task {task.name}; expected {known}")
    return FilterRow(Argued(str(row.get("text", "")), Example(task.name, where, {}), label), kind)
