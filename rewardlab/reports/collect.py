"""Evaluations read back from run folders: which there are, what they hold, and which cannot be used.

An evaluation folder is named itself, found through the run it evaluated (``model_run`` in its result), or found
below a folder of runs. A damaged folder is named and left out; it never stops the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError, InputError, RewardlabError
from rewardlab.runs import read_json, read_jsonl
from rewardlab.types import Label

Position = tuple[str, str]
"""(column, decoding)."""


@dataclass(frozen=True, eq=False)
class CellData:
    """The predictions of one run in one column under one decoding, sorted by id.

    Attributes:
        column: Column of the table.
        ids, gold, answers: One entry a test item; a malformed answer is None.
        labels, numeric_range: The task's answer space, as metrics read it.
        summary: What the evaluation stored: n, metrics with intervals, malformed, strict_malformed, quality.
    """

    column: str
    ids: tuple[str, ...]
    gold: tuple[Label, ...]
    answers: tuple[Label | None, ...]
    labels: tuple[str, ...]
    numeric_range: tuple[float, float] | None
    summary: Mapping[str, Any]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the measured metrics, the main one first."""
        return tuple(self.summary["metrics"])


@dataclass(frozen=True, slots=True)
class MethodKey:
    """What makes two evaluations rows of one method: they may then differ in seed and in task only."""

    method: str
    start: str
    reward: str = ""
    shots: int = 0
    model: str = ""


@dataclass(frozen=True, eq=False)
class EvalRun:
    """One evaluation folder.

    Attributes:
        path: The folder.
        key: Its method; ``seed`` tells its runs apart.
        cells: (column, decoding) -> predictions.
        cost: gold_labels, annotator_calls, seconds.
        model_run: Folder of the trained run, or None.
        version: Package version and commit that made it.
        command, fingerprint: How it was made.
    """

    path: Path
    key: MethodKey
    seed: int
    cells: Mapping[Position, CellData]
    cost: Mapping[str, float]
    model_run: Path | None
    version: str
    command: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Collected:
    """The evaluations that can be used, and one line for each thing the reader should know."""

    runs: list[EvalRun]
    warnings: list[str] = field(default_factory=list)


def collect(paths: Iterable[Path]) -> Collected:
    """Load the evaluations behind ``paths``: evaluation folders, method runs, or folders of runs.

    Raises:
        InputError: Not one evaluation could be used.
    """
    runs: list[EvalRun] = []
    warnings: list[str] = []
    for path in paths:
        folders = list(eval_folders(path))
        if not folders:
            warnings.append(f"{path}: left out, {_why_none(path)}")
        for folder in folders:
            if folder.resolve() not in {run.path.resolve() for run in runs}:
                _load_into(folder, runs, warnings)
    if not runs:
        raise InputError("; ".join(["no evaluation to compare, give run folders of `rewardlab eval`", *warnings]))
    warnings += [*_duplicates(runs), *_mixed_versions(runs)]
    return Collected(runs, warnings)


def eval_folders(path: Path) -> Iterator[Path]:
    """The evaluation folders that ``path`` stands for, sorted."""
    if _stage(path) == "eval":
        yield path
    elif (path / "config.json").exists():
        yield from (folder for folder in _evals_around(path) if _evaluates(folder, path))
    elif path.is_dir():
        yield from _evals_below(path)


def load_eval(path: Path) -> EvalRun:
    """Read one evaluation folder; raises DataError that names what is missing or broken."""
    config, result = read_json(path / "config.json"), read_json(path / "result.json")
    try:
        return _build(path, config, result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a complete evaluation ({type(error).__name__}: {error}); run it again") from error


def by_method(runs: Sequence[EvalRun]) -> dict[MethodKey, list[EvalRun]]:
    """Runs of each method, methods in order of appearance."""
    grouped: dict[MethodKey, list[EvalRun]] = {}
    for run in runs:
        grouped.setdefault(run.key, []).append(run)
    return grouped


def cells_by_seed(runs: Sequence[EvalRun], position: Position) -> dict[int, CellData]:
    """seed -> predictions of one method at one position; a later run replaces an earlier one of the same seed."""
    found = {run.seed: run.cells[position] for run in runs if position in run.cells}
    return dict(sorted(found.items()))


def _build(path: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> EvalRun:
    provenance = read_json(path / "provenance.json") if (path / "provenance.json").exists() else {}
    trained = result.get("model_run")
    return EvalRun(
        path=path,
        key=MethodKey(
            method=result["method"],
            start=result["start"],
            reward=result.get("reward") or "",
            shots=int(result.get("shots") or 0),
            model=_model_name(config),
        ),
        seed=int(result["seed"]),
        cells=_cells(path, result["columns"]),
        cost={name: float(amount) for name, amount in result["cost"].items()},
        model_run=Path(trained) if trained else None,
        version=_version(provenance),
        command=str(provenance.get("command", "")),
        fingerprint=str(config.get("fingerprint", "")),
    )


def _cells(path: Path, columns: Mapping[str, Any]) -> dict[Position, CellData]:
    rows: dict[Position, list[dict[str, Any]]] = {}
    for row in read_jsonl(path / "predictions.jsonl"):
        rows.setdefault((row["column"], row["decoding"]), []).append(row)
    cells = {}
    for column, decodings in columns.items():
        for decoding, summary in decodings.items():
            found = rows.get((column, decoding), [])
            if len(found) != summary["n"]:
                raise ValueError(f"{column} {decoding}: {len(found)} predictions, result.json says {summary['n']}")
            cells[column, decoding] = _cell(column, found, summary)
    return cells


def _cell(column: str, rows: list[dict[str, Any]], summary: Mapping[str, Any]) -> CellData:
    rows = sorted(rows, key=lambda row: str(row["id"]))
    scale = summary.get("numeric_range")
    return CellData(
        column=column,
        ids=tuple(str(row["id"]) for row in rows),
        gold=tuple(row["gold"] for row in rows),
        answers=tuple(row["answer"] for row in rows),
        labels=tuple(summary.get("labels", ())) or _labels_seen(rows, scale),
        numeric_range=(float(scale[0]), float(scale[1])) if scale else None,
        summary=summary,
    )


def _labels_seen(rows: Iterable[Mapping[str, Any]], scale: object) -> tuple[str, ...]:
    """Label set of a folder that does not store it; empty for numbers."""
    if scale is not None:
        return ()
    return tuple(sorted({str(row[key]) for row in rows for key in ("gold", "answer") if row[key] is not None}))


def _load_into(folder: Path, runs: list[EvalRun], warnings: list[str]) -> None:
    try:
        runs.append(load_eval(folder))
    except RewardlabError as error:
        warnings.append(f"{folder}: left out, {error}")


def _stage(path: Path) -> str | None:
    """Stage of a run folder; None when it is none or cannot be read."""
    try:
        return str(read_json(path / "config.json")["stage"])
    except (RewardlabError, KeyError, TypeError):
        return None


def _evals_below(path: Path) -> list[Path]:
    configs = [*path.glob("*/config.json"), *path.glob("*/*/config.json")]
    return [folder for folder in sorted(config.parent for config in configs) if _stage(folder) == "eval"]


def _evals_around(path: Path) -> list[Path]:
    """Evaluations in the runs root of a run: its siblings, or one folder a stage beside its own."""
    return sorted({*_evals_below(path.parent), *_evals_below(path.parent.parent)})


def _evaluates(folder: Path, run: Path) -> bool:
    try:
        trained = read_json(folder / "result.json").get("model_run")
    except (RewardlabError, AttributeError):
        return False
    return trained is not None and same_run(Path(trained), run)


def same_run(left: Path, right: Path) -> bool:
    """True when two paths mean one run folder; folder names carry the fingerprint, so equal names do."""
    return left.resolve() == right.resolve() or left.name == right.name


def _why_none(path: Path) -> str:
    if not path.exists():
        return "no such folder"
    if (path / "config.json").exists():
        return f"no evaluation of it was found beside it; run `rewardlab eval --run {path}`"
    return "it holds no evaluation"


def _model_name(config: Mapping[str, Any]) -> str:
    """Name of the base model; empty in folders that do not store their configuration."""
    return str(config.get("config", {}).get("model", {}).get("name", ""))


def _version(provenance: Mapping[str, Any]) -> str:
    package = provenance.get("packages", {}).get("rewardlab", "unknown version")
    commit = (provenance.get("commit") or "")[:9]
    return " ".join(part for part in (package, commit, "modified" if provenance.get("dirty") else "") if part)


def _duplicates(runs: Sequence[EvalRun]) -> Iterator[str]:
    seen: dict[tuple[MethodKey, int, Position], Path] = {}
    for run in runs:
        for position in run.cells:
            earlier = seen.get((run.key, run.seed, position))
            if earlier is not None:
                where = f"{run.key.method}, seed {run.seed}, {' '.join(position)}"
                yield f"{where}: measured in {earlier} and {run.path}; the second is used"
            seen[run.key, run.seed, position] = run.path


def _mixed_versions(runs: Sequence[EvalRun]) -> Iterator[str]:
    counts = Counter(run.version for run in runs)
    if len(counts) > 1:
        listed = ", ".join(f"{version} ({count} runs)" for version, count in counts.most_common())
        yield f"code versions are mixed: {listed}; evaluate again with --fresh to compare like with like"
