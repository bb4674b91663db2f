"""The files that the servers of GLUE and SuperGLUE take: names, rows, words, and whether a ZIP file is one of them.

Nothing here answers anything: answers come as labels of our tasks, by the index of their row.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rewardlab.disk import whole_file
from rewardlab.errors import DataError
from rewardlab.types import Label

Benchmark = Literal["glue", "superglue"]
Answers = Mapping[str, Label]
"""Index of a row, as :func:`index_text` writes it -> label."""
Word = str | int
HEADER = "index\tprediction"
"""Begins each of GLUE's files."""
MOST_TOLD = 3
"""Rows that a problem names."""


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """One file of a submission.

    Attributes:
        name: Its name.
        task: Our task whose prompts its rows are asked with.
        config, split: Where its rows lie in the benchmark's data set on the hub.
        rows: How many there are.
        words: Our label -> what the file says; empty for labels that stay as they are, and for numbers.
        trained: The task whose model answers; default: ``task``.
        fields: Our field -> the column, where it is another than in the task's own data set.
        labels: Our task's labels; empty for numbers and for free text.
        scale: Lowest and highest number.
    """

    name: str
    task: str
    config: str
    rows: int
    words: Mapping[str, Word] = field(default_factory=dict)
    split: str = "test"
    trained: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None

    @property
    def model_of(self) -> str:
        """The task whose model answers it."""
        return self.trained or self.task

    def said(self, label: Label) -> Word | float:
        """What the file says for a label of ours; raises DataError for one that it has no word for."""
        if self.scale is not None:
            return round(float(label), 3)
        if self.labels and label not in self.labels:
            raise DataError(f"{self.name}: label {label!r}, expected one of {', '.join(self.labels)}")
        return self.words.get(str(label), str(label))

    @property
    def allowed(self) -> frozenset[Word]:
        """All that it can say; empty for numbers and free text."""
        return frozenset(self.words.get(label, label) for label in self.labels)


_NO_YES = ("no", "yes")
_TWO_WAY = ("entailment", "not_entailment")
_THREE_WAY = ("entailment", "neutral", "contradiction")
_BITS: Mapping[str, Word] = {"no": 0, "yes": 1}
_MNLI: Mapping[str, Any] = {"labels": _THREE_WAY}

GLUE: tuple[OfficialFile, ...] = (
    OfficialFile(
        "CoLA.tsv",
        "cola",
        "cola",
        1063,
        {"unacceptable": 0, "acceptable": 1},
        labels=("unacceptable", "acceptable"),
    ),
    OfficialFile("SST-2.tsv", "sst2", "sst2", 1821, {"negative": 0, "positive": 1}, labels=("negative", "positive")),
    OfficialFile("MRPC.tsv", "mrpc", "mrpc", 1725, _BITS, labels=_NO_YES),
    OfficialFile("STS-B.tsv", "stsb", "stsb", 1379, scale=(0.0, 5.0)),
    OfficialFile("QQP.tsv", "qqp", "qqp", 390965, _BITS, labels=_NO_YES),
    OfficialFile("MNLI-m.tsv", "mnli", "mnli", 9796, split="test_matched", **_MNLI),
    OfficialFile("MNLI-mm.tsv", "mnli", "mnli", 9847, split="test_mismatched", **_MNLI),
    OfficialFile("QNLI.tsv", "qnli", "qnli", 5463, labels=_TWO_WAY),
    OfficialFile("RTE.tsv", "rte", "rte", 3000, labels=_TWO_WAY),
    OfficialFile(
        "WNLI.tsv", "wnli", "wnli", 146, {"not_entailment": 0, "entailment": 1}, labels=("not_entailment", "entailment")
    ),
    OfficialFile("AX.tsv", "mnli", "ax", 1104, **_MNLI),
)
"""https://gluebenchmark.com/faq: a TSV file a task; 0 and 1 for sentences and paraphrases; AX by MNLI's model."""

_PREMISE = {"sentence1": "premise", "sentence2": "hypothesis"}
_LOWER: Mapping[str, Word] = {"no": "false", "yes": "true"}
RECORD = "ReCoRD.jsonl"
SUPERGLUE: tuple[OfficialFile, ...] = (
    OfficialFile("BoolQ.jsonl", "boolq", "boolq", 3245, _LOWER, labels=_NO_YES),
    OfficialFile("CB.jsonl", "cb", "cb", 250, labels=_THREE_WAY),
    OfficialFile("COPA.jsonl", "copa", "copa", 500, {"choice1": 0, "choice2": 1}, labels=("choice1", "choice2")),
    OfficialFile("MultiRC.jsonl", "multirc", "multirc", 9693, _BITS, labels=_NO_YES),
    OfficialFile(RECORD, "record", "record", 10000),
    OfficialFile("RTE.jsonl", "rte", "rte", 3000, labels=_TWO_WAY, fields=_PREMISE),
    OfficialFile("WiC.jsonl", "wic", "wic", 1400, _LOWER, labels=_NO_YES),
    OfficialFile("WSC.jsonl", "wsc", "wsc", 146, {"no": "False", "yes": "True"}, labels=_NO_YES),
    OfficialFile("AX-b.jsonl", "axb", "axb", 1104, labels=_TWO_WAY, trained="rte"),
    OfficialFile("AX-g.jsonl", "axg", "axg", 356, labels=_TWO_WAY, trained="rte"),
)
"""https://super.gluebenchmark.com/faq: a JSON Lines file a task; MultiRC nests its answers; AX by RTE's model."""

FILES: Mapping[Benchmark, tuple[OfficialFile, ...]] = {"glue": GLUE, "superglue": SUPERGLUE}
HUBS: Mapping[Benchmark, str] = {"glue": "nyu-mll/glue", "superglue": "aps/super_glue"}
"""Where the rows lie on the Hugging Face hub."""


def index_text(index: object) -> str:
    """The index of a row as text: a number, or the numbers of a nested index, joined.

    >>> index_text(7), index_text({"paragraph": 0, "question": 3, "answer": 1})
    ('7', '0-3-1')
    """
    return "-".join(str(part) for part in index.values()) if isinstance(index, Mapping) else str(index)


def write_submission(files: Sequence[OfficialFile], answers: Mapping[str, Answers], to: Path) -> None:
    """Write a ZIP file of the files that there are answers for; it appears whole or not at all.

    Args:
        files: Of the benchmark.
        answers: Name of a file -> its answers.
        to: The ZIP file.
    Raises:
        DataError: A label is none of its file's.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(to) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            if file.name in answers:
                archive.writestr(file.name, file_text(file, answers[file.name]))


def file_text(file: OfficialFile, answers: Answers) -> str:
    """The text of one file, rows in the order of their indices."""
    ordered = sorted(answers, key=_numbers)
    if file.name.endswith(".tsv"):
        lines = [HEADER, *(f"{index}\t{file.said(answers[index])}" for index in ordered)]
        return "\n".join(lines) + "\n"
    if file.task == "multirc":
        rows = _nested(file, answers, ordered)
    else:
        rows = [{"idx": _numbers(index)[-1], "label": file.said(answers[index])} for index in ordered]
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def problems_of(files: Sequence[OfficialFile], path: Path, *, is_whole: bool = True) -> list[str]:
    """What a server would refuse in a ZIP file, a line each; empty for one that it would take.

    Args:
        files: Of the benchmark.
        path: The ZIP file.
        is_whole: Whether all files and rows must be there; else those that are there are checked for their form.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            texts = {name: archive.read(name).decode("utf-8") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        return [f"{path}: not a ZIP file of texts ({error})"]
    known = {file.name: file for file in files}
    strange = [f"{name}: no file of this benchmark" for name in texts if name not in known]
    missing = [f"{name}: missing" for name in known if name not in texts] if is_whole else []
    found = [
        f"{name}: {problem}"
        for name, file in known.items()
        if name in texts
        for problem in _problems(file, texts[name], is_whole)
    ]
    return [*strange, *missing, *found]


def _nested(file: OfficialFile, answers: Answers, ordered: Sequence[str]) -> list[dict[str, Any]]:
    """MultiRC's rows: a paragraph, its questions, and the answers of each."""
    paragraphs: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for index in ordered:
        paragraph, question, answer = _numbers(index)
        row = {"idx": answer, "label": file.said(answers[index])}
        paragraphs.setdefault(paragraph, {}).setdefault(question, []).append(row)
    return [
        {
            "idx": paragraph,
            "passage": {"questions": [{"idx": number, "answers": rows} for number, rows in questions.items()]},
        }
        for paragraph, questions in paragraphs.items()
    ]


def _numbers(index: str) -> tuple[int, ...]:
    return tuple(map(int, index.split("-")))


def _problems(file: OfficialFile, text: str, is_whole: bool) -> Iterator[str]:
    lines = text.splitlines()
    if file.name.endswith(".tsv"):
        if lines[:1] != [HEADER]:
            yield f"begins with {lines[0][:30]!r}, expected {HEADER!r}" if lines else "is empty"
            return
        rows, broken = _tsv_rows(lines[1:])
    else:
        rows, broken = _json_rows(file, lines)
    if broken:
        yield f"{len(broken)} rows cannot be read, such as {broken[0][:60]!r}"
    if len({index for index, _ in rows}) < len(rows):
        yield "an index stands in it twice"
    if is_whole and len(rows) != file.rows:
        yield f"{len(rows)} rows, expected {file.rows}"
    wrong = [said for _, said in rows if not _is_allowed(file, said)]
    if wrong:
        told = ", ".join(repr(said) for said in wrong[:MOST_TOLD])
        yield f"{len(wrong)} rows say what the server does not know, such as {told}; expected {_expected(file)}"


def _tsv_rows(lines: Sequence[str]) -> tuple[list[tuple[str, Any]], list[str]]:
    rows: list[tuple[str, Any]] = []
    broken = []
    for line in lines:
        index, tab, said = line.partition("\t")
        if tab and index.isdigit() and "\t" not in said:
            rows.append((index, said))
        else:
            broken.append(line)
    return rows, broken


def _json_rows(file: OfficialFile, lines: Sequence[str]) -> tuple[list[tuple[str, Any]], list[str]]:
    rows: list[tuple[str, Any]] = []
    broken = []
    for line in lines:
        try:
            row = json.loads(line)
            rows += _multirc_rows(row) if file.task == "multirc" else [(str(int(row["idx"])), row["label"])]
        except (ValueError, KeyError, TypeError):
            broken.append(line)
    return rows, broken


def _multirc_rows(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (f"{row['idx']}-{question['idx']}-{answer['idx']}", answer["label"])
        for question in row["passage"]["questions"]
        for answer in question["answers"]
    ]


def _is_allowed(file: OfficialFile, said: Any) -> bool:
    if file.scale is not None:
        try:
            return file.scale[0] <= float(said) <= file.scale[1] and math.isfinite(float(said))
        except ValueError:
            return False
    if not file.allowed:
        return isinstance(said, str) and bool(said.strip())
    if file.name.endswith(".tsv"):
        return said in {str(word) for word in file.allowed}
    return any(said == word and type(said) is type(word) for word in file.allowed)


def _expected(file: OfficialFile) -> str:
    if file.scale is not None:
        return f"a number from {file.scale[0]:g} to {file.scale[1]:g}"
    return ", ".join(sorted(map(repr, file.allowed))) or "a text"


def read_file(file: OfficialFile, path: Path) -> Answers:
    """Answers to a file that were made elsewhere, in the server's own format.

    Raises:
        DataError: It cannot be read, or says what the server does not know.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected {file.name} in its server's format") from error
    if problems := list(_problems(file, text, is_whole=False)):
        raise DataError(f"{path}: {'; '.join(problems)}")
    lines = text.splitlines()
    rows = _tsv_rows(lines[1:])[0] if file.name.endswith(".tsv") else _json_rows(file, lines)[0]
    labels = {str(word): label for label, word in file.words.items()}
    return {index: labels.get(str(said), said) for index, said in rows}
