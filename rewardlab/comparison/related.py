"""The other run folders behind evaluations, found by the fingerprints of inputs: training, reward models, pairs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardlab.comparison.runs import EvalRun
from rewardlab.comparison.table import ComparisonTable
from rewardlab.errors import RewardlabError
from rewardlab.runs import read_json
from rewardlab.training.methods import methods

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Related:
    """Folders by stage, each once."""

    trained: Sequence[Path] = ()
    rm: Sequence[Path] = ()
    pairs: Sequence[Path] = ()
    card: Sequence[Path] = ()


def related(runs: Iterable[EvalRun], given: Iterable[Path] = ()) -> Related:
    """What the evaluations were made from, as far as it lies in their folders of runs.

    Args:
        runs: The evaluations.
        given: Paths the user named; training runs and reward models among them count, evaluated or not.
    """
    waiting = [folder for run in runs for folder in (run.path, trained_folder(run)) if folder is not None]
    roots = dict.fromkeys(folder.parent.parent for folder in waiting)
    known = {path.name.rsplit("-", 1)[-1]: path for root in roots for path in sorted(root.glob("*/*-*"))}
    waiting += [path for path in given if (path / "config.json").exists()]
    stages: dict[Path, str] = {}
    while waiting:
        folder = waiting.pop()
        if folder.resolve() not in stages:
            stages[folder.resolve()], inputs = _stage_and_inputs(folder)
            waiting += [known[each] for each in inputs if each in known]
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
    return list({(run.seed, _trained_name(run)): run for run in runs}.values())


def method_names(table: ComparisonTable) -> dict[str, str]:
    """Name of a trained run's folder -> the row it was evaluated for; of several (last policy, best) the shortest."""
    rows = sorted(table.rows, key=lambda row: len(row.name), reverse=True)
    return {run.model_run.name: row.name for row in rows for run in row.runs if run.model_run is not None}


def _trained_name(run: EvalRun) -> tuple[str, ...]:
    return run.path.parts if run.model_run is None else run.model_run.parts[-2:]


def _stage_and_inputs(folder: Path) -> tuple[str, list[str]]:
    """Stage and input fingerprints of a folder; neither when it cannot be read."""
    try:
        stored = read_json(folder / "config.json")
        inputs: Mapping[str, str] = stored["identity"].get("inputs", {})
        return str(stored["stage"]), [str(each) for each in inputs.values()]
    except RewardlabError as error:
        logger.warning("%s: left out, with what it was made from (%s)", folder, error)
        return "", []
    except (KeyError, TypeError, AttributeError):  # no run of a stage
        return "", []
