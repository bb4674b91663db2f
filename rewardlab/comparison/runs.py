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

from rewardlab.comparison.cells import CellData, Position, read_cells
from rewardlab.comparison.seeds import data_seed_of
from rewardlab.errors import DataError, InputError, RewardlabError
from rewardlab.evaluation.answers import ANSWERS_FILE, PREDICTIONS_FILE
from rewardlab.evaluation.cost import Cost
from rewardlab.printable import printable
from rewardlab.runs import check_outputs, make_anew, read_json, read_result, stage_of

BROUGHT = "run-files"
"""Folder of the copies of runs that a report brings along, beside its page."""
BELOW = ("*/config.json", "*/*/config.json", f"{BROUGHT}/*/*/config.json")
"""Where runs lie in a folder of runs, and in a report that brings them along."""


@dataclass(frozen=True, slots=True)
class MethodKey:
    """What makes two evaluations rows of one method: they may then differ in seed and in task only.

    ``format`` is the answer format; empty in folders that do not store it. ``checkpoint`` is which policy of a trained
    run was evaluated, ``best`` or ``last``; empty where there is one only, or where an older evaluation does not say.
    """

    method: str
    start: str
    reward: str = ""
    shots: int = 0
    model: str = ""
    format: str = ""
    checkpoint: str = ""


@dataclass(frozen=True, eq=False)
class EvalRun:
    """One evaluation folder.

    Attributes:
        path: The folder.
        key: Its method; ``seed`` tells its runs apart.
        cells: (column, decoding) -> predictions.
        cost: What its method consumed, by stage.
        budget: What PPO spent: steps, updates, tokens, device_seconds, prompts and their order; empty without PPO.
        model_run: Folder of the trained run, or None.
        version: Package version and commit that made it.
        command, fingerprint: How it was made.
        data_seed: That drew its labelled rows, prompts and pairs; None where the folder does not store it.
        start_accuracy: Of a PPO run: greedy, on validation rows, before its first update; None where it is not stored.
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
    found: dict[Path, EvalRun | None] = {}
    warnings: list[str] = []
    finder = _Finder()
    for path in paths:
        folders = finder.eval_folders(path)
        if not folders:
            warnings.append(f"{path}: left out, {_why_none(path)}")
        for folder in folders:
            if (place := folder.resolve()) not in found:
                found[place] = _loaded(folder, warnings)
    runs = _of_one_space([run for run in found.values() if run is not None], warnings)
    if not runs:
        raise InputError("; ".join(["no evaluation to compare, give run folders of `rewardlab eval`", *warnings]))
    warnings += _duplicates(runs)
    runs = _in_use(runs)
    return Collected(runs, [*warnings, *_mixed_versions(runs)])


class _Finder:
    """Finds evaluation folders; each folder is looked through once, however many runs are named."""

    def __init__(self) -> None:
        self._below: dict[Path, list[Path]] = {}
        self._trained: dict[Path, Path | None] = {}

    def eval_folders(self, path: Path) -> list[Path]:
        """The evaluation folders that ``path`` stands for, sorted."""
        if _is_eval(path):
            return [path]
        if (path / "config.json").exists():
            around = {*self._evals_below(path.parent), *self._evals_below(path.parent.parent)}
            return sorted(folder for folder in around if self._evaluates(folder, path))
        return self._evals_below(path) if path.is_dir() else []

    def _evals_below(self, path: Path) -> list[Path]:
        if path not in self._below:
            configs = [file for pattern in BELOW for file in path.glob(pattern)]
            folders = sorted(config.parent for config in configs)
            self._below[path] = [folder for folder in folders if _is_eval(folder)]
        return self._below[path]

    def _evaluates(self, folder: Path, run: Path) -> bool:
        if folder not in self._trained:
            self._trained[folder] = _trained_run(folder)
        trained = self._trained[folder]
        return trained is not None and same_run(trained, run)


def load_eval(path: Path) -> EvalRun:
    """Read one evaluation folder; raises DataError or RunFolderError that names what is missing, broken or changed."""
    try:
        config = read_json(path / "config.json")
    except DataError as error:
        raise DataError(f"{error}; {make_anew(path)}") from error
    result = read_result(path)
    check_outputs(path, (ANSWERS_FILE,) if (path / ANSWERS_FILE).exists() else (PREDICTIONS_FILE,))
    try:
        return _build(path, config, result)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
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
            method=_text(result["method"]),
            start=_text(result["start"]),
            reward=_text(result.get("reward") or ""),
            shots=int(result.get("shots") or 0),
            model=model_name(config),
            format=str(config.get("config", {}).get("format", "")),
            checkpoint=_checkpoint(result.get("policy") or {}),
        ),
        seed=int(result["seed"]),
        cells=read_cells(path, result["columns"]),
        cost=Cost.read(result["cost"], str(path)),
        budget=_budget(result.get("budget") or {}),
        model_run=Path(trained) if trained else None,
        version=version_of(provenance),
        command=printable(str(provenance.get("command", ""))),
        fingerprint=str(config.get("fingerprint", "")),
        data_seed=data_seed_of(config),
        start_accuracy=None if result.get("start_accuracy") is None else float(result["start_accuracy"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"found {value!r:.40}, expected a name")
    return printable(value)


def _checkpoint(policy: Mapping[str, Any]) -> str:
    """Which policy was evaluated; what had no rival is as good as best and as last."""
    found = str(policy.get("checkpoint", ""))
    return "" if found == "only" else found


def _budget(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What PPO spent: numbers, but for the fingerprint of the order of its prompts."""
    return {name: str(value) if name == "prompts_order" else float(value) for name, value in stored.items()}


def _loaded(folder: Path, warnings: list[str]) -> EvalRun | None:
    try:
        return load_eval(folder)
    except RewardlabError as error:
        warnings.append(f"{folder}: left out, {error}")
        return None


def _of_one_space(runs: Sequence[EvalRun], warnings: list[str]) -> list[EvalRun]:
    """The runs whose columns have the label set, or the scale, of the first run with that column."""
    first: dict[str, CellData] = {}
    kept = []
    for run in runs:
        other = [cell for cell in run.cells.values() if first.setdefault(cell.column, cell).space != cell.space]
        if other:
            told = f"column {other[0].column} has {_space_text(other[0])}, others {_space_text(first[other[0].column])}"
            warnings.append(f"{run.path}: left out, {told}; compare runs of one task")
        else:
            kept.append(run)
    return kept


def _space_text(cell: CellData) -> str:
    if cell.numeric_range is not None and not cell.labels:
        return f"numbers from {cell.numeric_range[0]:g} to {cell.numeric_range[1]:g}"
    return f"the labels {', '.join(sorted(cell.labels))}"


def _trained_run(folder: Path) -> Path | None:
    """What an evaluation says that it evaluated; None when it cannot be read."""
    try:
        trained = read_json(folder / "result.json").get("model_run")
    except (RewardlabError, AttributeError):
        return None
    return Path(trained) if isinstance(trained, str) else None


def same_run(left: Path, right: Path) -> bool:
    """True when two paths mean one run folder; folder names carry the fingerprint, so equal names do."""
    return left.resolve() == right.resolve() or left.name == right.name


def _is_eval(path: Path) -> bool:
    """True for an evaluation, also for one whose configuration is damaged: loading it will say so."""
    return (stage := stage_of(path)) == "eval" or (stage is None and (path / PREDICTIONS_FILE).exists())


def _why_none(path: Path) -> str:
    if not path.exists():
        return "no such folder"
    if (path / "config.json").exists():
        return f"no evaluation of it was found beside it; run `rewardlab eval --run {path}`"
    return "it holds no evaluation"


def model_name(config: Mapping[str, Any]) -> str:
    """Name of the base model; empty in folders that do not store their configuration."""
    return printable(str(config.get("config", {}).get("model", {}).get("name", "")))


def version_of(provenance: Mapping[str, Any]) -> str:
    """Package version and commit in a run's provenance."""
    package = provenance.get("packages", {}).get("rewardlab", "unknown version")
    commit = (provenance.get("commit") or "")[:9]
    return " ".join(part for part in (package, commit, "modified" if provenance.get("dirty") else "") if part)


def _duplicates(runs: Sequence[EvalRun]) -> Iterator[str]:
    """One line for each two folders that measured a cell twice."""
    seen: dict[tuple[MethodKey, int, Position], Path] = {}
    told: set[tuple[Path, Path]] = set()
    for run in runs:
        for position in run.cells:
            earlier = seen.get((run.key, run.seed, position))
            if earlier is not None and (earlier, run.path) not in told:
                told.add((earlier, run.path))
                where = f"{run.key.method}, seed {run.seed}, {' '.join(position)}"
                yield f"{where}: measured in {earlier} and {run.path}; the second is used"
            seen[run.key, run.seed, position] = run.path


def _in_use(runs: Sequence[EvalRun]) -> list[EvalRun]:
    """The runs that later ones have not replaced in every cell: what is not shown must not count as a cost either."""
    last = {(run.key, run.seed, position): run for run in runs for position in run.cells}
    used = {id(run) for run in last.values()}
    return [run for run in runs if id(run) in used]


def _mixed_versions(runs: Sequence[EvalRun]) -> Iterator[str]:
    counts = Counter(run.version for run in runs)
    if len(counts) > 1:
        listed = ", ".join(f"{version} ({count} runs)" for version, count in counts.most_common())
        yield f"code versions are mixed: {listed}; evaluate again with --fresh to compare like with like"
