"""The run folders behind a comparison: the evaluations, what these were made from, and what could not be used.

An evaluation folder is named itself, found through the run it evaluated (``model_run`` in its result), or found
below a folder of runs. A damaged folder is named and left out; it never stops the others.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rewardlab.comparison.evaluations import CellData, EvalRun, MethodKey, Position, load_eval
from rewardlab.disk import read_json
from rewardlab.errors import InputError, RewardlabError
from rewardlab.evaluation.answers import PREDICTIONS_FILE
from rewardlab.runs import input_folder, stage_of
from rewardlab.training.methods import methods

logger = logging.getLogger(__name__)

BROUGHT = "run-files"
"""Folder of the copies of runs that a report brings along, beside its page."""
BELOW = ("*/config.json", "*/*/config.json", f"{BROUGHT}/*/*/config.json")
"""Where runs lie in a folder of runs, and in a report that brings them along."""


class LeftOut:
    """The one list of what lay beside the runs and could not be used, and why; each line once, logged as it comes.

    Args:
        is_kept: False for a list that stays empty, where the log is enough.
    """

    def __init__(self, *, is_kept: bool = True) -> None:
        self._lines: dict[str, None] = {}
        self._is_kept = is_kept

    @property
    def lines(self) -> list[str]:
        """In the order in which they came."""
        return [*self._lines]

    def add(self, line: str) -> None:
        """Note one more; a line that is there already is passed over."""
        if line not in self._lines:
            logger.warning("%s", line)
            if self._is_kept:
                self._lines[line] = None


LOGGED = LeftOut(is_kept=False)
"""For who keeps no list."""


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
    loaded: list[EvalRun] = []
    seen: set[Path] = set()
    warnings: list[str] = []
    finder = _Finder()
    for path in paths:
        folders = finder.eval_folders(path)
        if not folders:
            warnings.append(f"{path}: left out, {_why_none(path)}")
        for folder in folders:
            if (place := folder.resolve()) not in seen:
                seen.add(place)
                try:
                    loaded.append(load_eval(folder))
                except RewardlabError as error:
                    warnings.append(f"{folder}: left out, {error}")
    runs = _of_one_space(_by_model(loaded), warnings)
    if not runs:
        raise InputError("; ".join(["no evaluation to compare, give run folders of `rewardlab eval`", *warnings]))
    warnings += _duplicates(runs)
    runs = _in_use(runs)
    versions = Counter(run.version for run in runs)
    if len(versions) > 1:
        listed = ", ".join(f"{version} ({count} runs)" for version, count in versions.most_common())
        warnings.append(f"code versions are mixed: {listed}; evaluate again with --fresh to compare like with like")
    return Collected(runs, warnings)


class _Finder:
    """Finds evaluation folders; each folder is looked through once, however many runs are named."""

    def __init__(self) -> None:
        self._below: dict[Path, list[Path]] = {}
        self._names: dict[Path, tuple[Path | str, ...]] = {}
        self._of_run: dict[Path, dict[Path | str, list[Path]]] = {}

    def eval_folders(self, path: Path) -> list[Path]:
        """The evaluation folders that ``path`` stands for, sorted."""
        if _is_eval(path):
            return [path]
        if (path / "config.json").exists():
            around = [self._evals_of_runs(place) for place in (path.parent, path.parent.parent)]
            names = _names_of_run(path)
            return sorted({folder for known in around for name in names for folder in known.get(name, ())})
        return self._evals_below(path) if path.is_dir() else []

    def _evals_below(self, path: Path) -> list[Path]:
        if path not in self._below:
            configs = [file for pattern in BELOW for file in path.glob(pattern)]
            folders = sorted(config.parent for config in configs)
            self._below[path] = [folder for folder in folders if _is_eval(folder)]
        return self._below[path]

    def _evals_of_runs(self, path: Path) -> Mapping[Path | str, list[Path]]:
        """What a trained run is known by -> the evaluations of it below ``path``."""
        if path not in self._of_run:
            self._of_run[path] = {}
            for folder in self._evals_below(path):
                if folder not in self._names:
                    trained = _trained_run(folder)
                    self._names[folder] = () if trained is None else _names_of_run(trained)
                for name in self._names[folder]:
                    self._of_run[path].setdefault(name, []).append(folder)
        return self._of_run[path]


def _by_model(runs: Sequence[EvalRun]) -> list[EvalRun]:
    """The runs with one name for each base model: copies of a folder share it, and no other folder has it."""
    names: dict[str, str] = {}
    for run in runs:
        names.setdefault(run.model_hash, run.key.model)
    shared = Counter(name for mark, name in names.items() if mark)
    named = {mark: f"{name} ({mark[:6]})" if shared[name] > 1 else name for mark, name in names.items() if mark}
    return [replace(run, key=replace(run.key, model=named.get(run.model_hash, run.key.model))) for run in runs]


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
    if cell.groups is not None:
        return "rows in groups"
    if cell.numeric_range is not None and not cell.labels:
        return f"numbers from {cell.numeric_range[0]:g} to {cell.numeric_range[1]:g}"
    return f"the labels {', '.join(sorted(cell.labels))}" if cell.labels else f"a row's {cell.candidates}"


def _trained_run(folder: Path) -> Path | None:
    """What an evaluation says that it evaluated; None when it cannot be read."""
    try:
        trained = read_json(folder / "result.json").get("model_run")
    except (RewardlabError, AttributeError):
        return None
    return Path(trained) if isinstance(trained, str) else None


def _names_of_run(path: Path) -> tuple[Path | str, ...]:
    """What a run folder is known by: its place, and its name, which carries the fingerprint."""
    return path.resolve(), path.name


def _is_eval(path: Path) -> bool:
    """True for an evaluation, also for one whose configuration is damaged: loading it will say so."""
    return (stage := stage_of(path)) == "eval" or (stage is None and (path / PREDICTIONS_FILE).exists())


def _why_none(path: Path) -> str:
    if not path.exists():
        return "no such folder"
    if (path / "config.json").exists():
        return f"no evaluation of it was found beside it; run `rewardlab eval --run {path}`"
    return "it holds no evaluation"


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


@dataclass(frozen=True, slots=True)
class Related:
    """Folders by stage, each once."""

    trained: Sequence[Path] = ()
    rm: Sequence[Path] = ()
    pairs: Sequence[Path] = ()
    card: Sequence[Path] = ()


def related(runs: Iterable[EvalRun], given: Iterable[Path] = (), left_out: LeftOut = LOGGED) -> Related:
    """What the evaluations were made from, as far as it lies in their folders of runs.

    Args:
        runs: The evaluations.
        given: Paths the user named; training runs and reward models among them count, evaluated or not.
        left_out: Takes a line for each folder that cannot be read.
    """
    waiting = [folder for run in runs for folder in (run.path, trained_folder(run)) if folder is not None]
    roots = dict.fromkeys(folder.parent.parent for folder in waiting)
    known = {path.name.rsplit("-", 1)[-1]: path for root in roots for path in sorted(root.glob("*/*-*"))}
    waiting += [path for path in given if (path / "config.json").exists()]
    stages: dict[Path, str] = {}
    while waiting:
        folder = waiting.pop()
        if folder.resolve() not in stages:
            stages[folder.resolve()], inputs = _stage_and_inputs(folder, left_out)
            places = (known.get(each) or input_folder(folder, each) for each in inputs)
            waiting += [place for place in places if place is not None]
    kinds = (tuple(methods.every()), ("rm",), ("pairs",), ("card",))
    return Related(*(sorted(path for path, kind in stages.items() if kind in wanted) for wanted in kinds))


def trained_folder(run: EvalRun) -> Path | None:
    """The trained run of an evaluation: as stored, or beside the evaluation when the runs were moved."""
    if run.model_run is None:
        return None
    beside = run.path.parent.parent / run.model_run.parent.name / run.model_run.name
    places = (beside, run.path.parent / run.model_run.name, run.model_run)
    return next((place for place in places if place != run.path and (place / "config.json").exists()), None)


def trained_once(runs: Iterable[EvalRun]) -> list[EvalRun]:
    """One evaluation of each trained run and seed, so that what its training took counts once.

    A trained run goes by its name and its folder's, which it keeps when all runs are moved; an evaluation that names
    none stands for itself.
    """
    by_name = {(run.seed, run.path.parts if run.model_run is None else run.model_run.parts[-2:]): run for run in runs}
    return list(by_name.values())


def _stage_and_inputs(folder: Path, left_out: LeftOut) -> tuple[str, list[str]]:
    """Stage and input fingerprints of a folder; neither when it cannot be read."""
    try:
        stored = read_json(folder / "config.json")
        inputs: Mapping[str, str] = stored["identity"].get("inputs", {})
        return str(stored["stage"]), [str(each) for each in inputs.values()]
    except RewardlabError as error:
        left_out.add(f"{folder}: left out, with what it was made from ({error})")
        return "", []
    except (KeyError, TypeError, AttributeError):  # no run of a stage
        return "", []
