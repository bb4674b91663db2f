"""Evaluations read back from their folders: the method, what it cost, and its answers, checked when they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from rewardlab.disk import read_json
from rewardlab.errors import DataError
from rewardlab.evaluation.answers import ANSWERS_FILE, PREDICTIONS_FILE, Answers, read_answers
from rewardlab.evaluation.cost import Cost
from rewardlab.metrics import Coded, encode
from rewardlab.printable import printable
from rewardlab.runs import check_outputs, make_anew, read_result
from rewardlab.types import Label

Position = tuple[str, str]
"""(column, decoding)."""
Values = TypeVar("Values", tuple[str, ...], tuple[Label, ...])
CACHED_CELLS = 16384
"""A thousand runs of eight columns under two decodings."""


@dataclass(frozen=True, eq=False)
class CellData:
    """The predictions of one run in one column under one decoding, sorted by id.

    Attributes:
        column: Column of the table.
        ids, gold, answers: One entry a test item; a malformed answer is None.
        labels, numeric_range: The task's answer space, as metrics read it.
        summary: What the evaluation stored: n, metrics with intervals, malformed, strict_malformed, unfinished and
            quality.
        quality: Rationale quality of each answer, None where it has none; None in folders that do not store it here.
        confidence: How sure each answer says it is, None where it does not; None where none does.
        groups: What each item is measured and resampled together with; None where each stands alone.
    """

    column: str
    ids: tuple[str, ...]
    gold: tuple[Label, ...]
    answers: tuple[Label | None, ...]
    labels: tuple[str, ...]
    numeric_range: tuple[float, float] | None
    summary: Mapping[str, Any]
    quality: tuple[float | None, ...] | None = None
    confidence: tuple[float | None, ...] | None = None
    groups: tuple[str, ...] | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the measured metrics, the main one first."""
        return tuple(self.summary["metrics"])

    @property
    def multi_label(self) -> bool:
        """True when answers are sets of labels."""
        return bool(self.summary.get("multi_label", False))

    @property
    def candidates(self) -> str:
        """The field whose texts are the answers; empty where answers are labels or numbers."""
        return str(self.summary.get("candidates", ""))

    @property
    def draws(self) -> int:
        """What is drawn in a resample: items, or groups of them."""
        return len(self.ids) if self.groups is None else len(set(self.groups))

    @property
    def space(self) -> tuple[frozenset[str], tuple[float, float] | None, bool]:
        """What answers can be, and whether rows stand in groups; runs are compared where both are equal."""
        return frozenset(self.labels), self.numeric_range, self.groups is not None


@lru_cache(maxsize=CACHED_CELLS)
def coded(cell: CellData, metric: str) -> Coded:
    """Gold labels and answers of a cell as numbers; cached because tables and tests ask again."""
    return encode(metric, cell.gold, cell.answers, cell, cell.groups)


def read_cells(folder: Path, columns: Mapping[str, Mapping[str, Any]]) -> dict[Position, CellData]:
    """The cells of an evaluation folder.

    Args:
        folder: The folder.
        columns: Column -> decoding -> summary, as ``result.json`` holds them.
    Raises:
        DataError: A file cannot be read, or an answer does not fit the metrics of its column.
        KeyError, IndexError, TypeError, ValueError, AttributeError: Something is missing or of another kind.
    """
    if not columns:
        raise ValueError("no column was measured")
    stored = read_answers(folder)
    cells = {}
    for column, decodings in columns.items():
        for decoding, summary in decodings.items():
            answers = stored.get((column, decoding), Answers((), (), ()))
            if len(answers.ids) != summary["n"]:
                raise ValueError(
                    f"{column} {decoding}: {len(answers.ids)} predictions, result.json says {summary['n']}"
                )
            cells[column, decoding] = _cell(column, answers, summary)
    return cells


def _cell(column: str, answers: Answers, summary: Mapping[str, Any]) -> CellData:
    scale, labels = summary.get("numeric_range"), tuple(summary.get("labels", ()))
    if (
        not labels and scale is None and not summary.get("candidates")
    ):  # of a folder that does not store its labels: those that occur
        labels = tuple(sorted({str(label) for label in (*answers.gold, *answers.answers) if label is not None}))
    cell = CellData(
        column=column,
        ids=_one(answers.ids),
        gold=_one(answers.gold),
        answers=answers.answers,
        labels=labels,
        numeric_range=(float(scale[0]), float(scale[1])) if scale else None,
        summary=summary,
        quality=answers.quality,
        confidence=answers.confidence,
        groups=answers.groups,
    )
    if not cell.metrics:
        raise ValueError(f"{column}: no metric was measured")
    for metric in cell.metrics:
        numbers = coded(cell, metric)
        if not math.isfinite(numbers.gold.sum() + numbers.predicted.sum()):
            raise ValueError(f"{column}: a gold label or an answer is not a finite number")
    return cell


@lru_cache(maxsize=1024)
def _one(values: Values) -> Values:
    """The first of equal tuples, so that runs on the same items hold them once and compare them at a glance."""
    return values


@dataclass(frozen=True, slots=True)
class MethodKey:
    """What makes two evaluations rows of one method: they may then differ in seed and in task only.

    ``format`` is the answer format; empty in folders that do not store it. ``checkpoint`` is which policy of a trained
    run was evaluated, ``best`` or ``last``; empty where there is one only, or where an older evaluation does not say.
    ``model`` is the base model; empty for encoders and hosted models, which stand beside all of them.
    """

    method: str
    start: str
    reward: str = ""
    shots: int = 0
    model: str = ""
    format: str = ""
    checkpoint: str = ""

    def stands_beside(self, other: MethodKey) -> bool:
        """Whether both belong to one base model, or one of them to none."""
        return self.model == other.model or not (self.model and other.model)


@dataclass(frozen=True, eq=False)
class EvalRun:
    """One evaluation folder.

    Attributes:
        path: The folder.
        key: Its method; ``seed`` distinguishes its runs.
        cells: (column, decoding) -> predictions.
        cost: What its method consumed, by stage.
        budget: What PPO spent: steps, updates, tokens, device_seconds, prompts and their order; empty without PPO.
        model_run: Folder of the trained run, or None.
        version: Package version and commit that made it.
        command, fingerprint: How it was made.
        data_seed: That drew its labelled rows, prompts and pairs; None where the folder does not store it.
        start_accuracy: Of a PPO run: greedy, on validation rows, before its first update; None where it is not stored.
        model_hash: Of the files of a base model that is a folder; empty for others.
    """

    path: Path
    key: MethodKey
    seed: int
    cells: Mapping[Position, CellData]
    cost: Cost
    budget: Mapping[str, Any]
    model_run: Path | None
    version: str
    command: str
    fingerprint: str
    data_seed: int | None = None
    start_accuracy: float | None = None
    model_hash: str = ""


def load_eval(path: Path) -> EvalRun:
    """Read one evaluation folder; raises DataError or RunFolderError that names what is missing, broken or changed."""
    try:
        config = read_json(path / "config.json")
    except DataError as error:
        raise DataError(f"{error}; {make_anew(path)}") from error
    result = read_result(path)
    check_outputs(path, (ANSWERS_FILE,) if (path / ANSWERS_FILE).exists() else (PREDICTIONS_FILE,))
    made = read_json(path / "provenance.json") if (path / "provenance.json").exists() else {}
    try:
        spent, start_accuracy, trained = (result.get(name) for name in ("budget", "start_accuracy", "model_run"))
        return EvalRun(
            path=path,
            key=_key(config, result),
            seed=int(result["seed"]),
            cells=read_cells(path, result["columns"]),
            cost=Cost.read(result["cost"], str(path)),
            budget={
                name: str(value) if name == "prompts_order" else float(value) for name, value in (spent or {}).items()
            },
            model_run=Path(trained) if trained else None,
            version=version_of(made),
            command=printable(str(made.get("command", ""))),
            fingerprint=str(config.get("fingerprint", "")),
            data_seed=data_seed_of(config),
            start_accuracy=None if start_accuracy is None else float(start_accuracy),
            model_hash=model_hash(config),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a complete evaluation ({type(error).__name__}: {error}); run it again") from error


def _key(config: Mapping[str, Any], result: Mapping[str, Any]) -> MethodKey:
    names = {"method": result["method"], "start": result["start"], "reward": result.get("reward") or ""}
    for value in names.values():
        if not isinstance(value, str):
            raise TypeError(f"found {value!r:.40}, expected a name")
    checkpoint = str((result.get("policy") or {}).get("checkpoint", ""))
    return MethodKey(
        **{name: printable(value) for name, value in names.items()},
        shots=int(result.get("shots") or 0),
        model=model_name(config),
        format=str(config.get("config", {}).get("format", "")),
        checkpoint="" if checkpoint == "only" else checkpoint,  # what had no rival is as good as best and as last
    )


def model_name(config: Mapping[str, Any]) -> str:
    """Name of the base model, of a folder its last part: the way to it depends on where a command was typed.

    Empty in run folders that do not store their configuration, and of what answers without the base model.
    """
    if "own_model" in config.get("identity", {}).get("settings", {}):
        return ""
    name = str(config.get("config", {}).get("model", {}).get("name", ""))
    return printable((Path(name).name or name) if model_hash(config) else name)


def model_hash(config: Mapping[str, Any]) -> str:
    """Hash of the files of a base model that is a folder; empty for one with a name of its own, such as a hub id."""
    model = config.get("identity", {}).get("settings", {}).get("model", {})
    return "" if "name" in model else str(model.get("sha256", ""))


def version_of(provenance: Mapping[str, Any]) -> str:
    """Package version and commit in a run's provenance."""
    package = provenance.get("packages", {}).get("rewardlab", "unknown version")
    commit = (provenance.get("commit") or "")[:9]
    return " ".join(part for part in (package, commit, "modified" if provenance.get("dirty") else "") if part)


def data_seed_of(config: Mapping[str, Any]) -> int | None:
    """The seed that drew a run's rows, from its ``config.json``; None where that is not stored."""
    stored = config.get("config", {})
    own = stored.get("data", {}).get("seed")
    seed = stored.get("seed") if own is None else own
    return None if seed is None else int(seed)
