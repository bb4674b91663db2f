"""The runs below one folder: what each is, how it stands, what it measured, and which other run it was made from.

A page reaches a run only through the index, by a key that the index made itself; a path in an address opens nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rewardlab.comparison.runs import BELOW
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import DataError, InputError, RewardlabError
from rewardlab.pipeline.attempts import ATTEMPTS_FILE, BEAT_S, HEARTBEAT_FILE, nodes
from rewardlab.pipeline.kinds import trained_kinds
from rewardlab.training.methods import methods

logger = logging.getLogger(__name__)

Status = Literal["finished", "running", "stopped", "damaged"]
SILENT_S = 12 * BEAT_S
"""Seconds without a sign of life after which an unfinished run counts as stopped."""
VALIDATION_FILE = "validation.jsonl"
STAGE_TITLES: Mapping[str, str] = {
    "annotate": "rationales",
    "samples": "samples of the start model",
    "pairs": "pairs",
    "rm": "reward model",
    "card": "report card",
    "validate": "validation",
    "submit": "answers to a benchmark's server",
}
"""What stages that have no method are called."""
PAID = ("cost_usd", "earlier_usd", "at_risk_usd")
"""What a stage with a hosted annotator says of its bill (``annotate.money``)."""
State = tuple[tuple[int, int] | None, ...]
"""Times and sizes of the files that a run is read from; equal states mean an unchanged run."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one stage consumed; None where its result does not say.

    Attributes:
        seconds: Device seconds.
        labels: Gold labels.
        calls: Annotator calls.
        usd: Paid to hosted annotators.
    """

    seconds: float | None = None
    labels: int | None = None
    calls: int | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StudioRun:
    """One run folder.

    Attributes:
        key: Its path below the folder of runs, which is its address.
        kind: Stage, such as ``ppo`` or ``eval``.
        method: What a table calls it.
        reward: The expression, or the kind of pairs; empty where nothing is rewarded.
        task: As the configuration names it.
        accuracy: A share in [0, 1], or the task's metric; None before anything was measured.
        measured_on: What ``accuracy`` was measured on.
        inputs: Name -> fingerprint of the run it was made from.
        config, result: As stored; ``result`` is empty until the run is finished.
        problem: Why its files cannot be read; empty where they can.
        nodes: The machines that worked on it, the last one last; empty where that is not known.
    """

    key: str
    path: Path
    kind: str
    fingerprint: str
    method: str
    reward: str
    task: str
    model: str
    seed: int | None
    status: Status
    accuracy: float | None = None
    measured_on: str = ""
    cost: Cost = field(default_factory=Cost)
    started: str = ""
    command: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    nodes: tuple[str, ...] = ()

    @property
    def is_trained(self) -> bool:
        """Whether a policy came out of it."""
        return self.kind in trained_kinds()


class RunIndex:
    """All runs below a folder; :meth:`runs` reads what changed since the last call and nothing else.

    Args:
        root: A folder of runs.
    Raises:
        InputError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; give the folder of runs, which commands call --runs")
        self.root = root
        self._known: dict[str, tuple[State, StudioRun]] = {}

    def runs(self) -> dict[str, StudioRun]:
        """Key -> run, the latest first."""
        found: dict[str, tuple[State, StudioRun]] = {}
        for folder in sorted(_folders(self.root)):
            key = folder.name if folder == self.root else folder.relative_to(self.root).as_posix()
            state = _state(folder)
            known = self._known.get(key)
            found[key] = known if known and known[0] == state else (state, read_run(folder, key))
        self._known = found
        runs = _with_method_names({key: run for key, (_, run) in found.items()})
        return dict(sorted(runs.items(), key=lambda entry: (entry[1].started, entry[0]), reverse=True))


def parents(run: StudioRun, runs: Mapping[str, StudioRun]) -> list[tuple[str, str, StudioRun | None]]:
    """(name of the input, its fingerprint, its run), None where that does not lie in the folder."""
    by_mark = {each.fingerprint: each for each in reversed(list(runs.values()))}  # of copies the latest
    return [(name, mark, by_mark.get(mark)) for name, mark in run.inputs.items()]


def children(run: StudioRun, runs: Mapping[str, StudioRun]) -> list[tuple[str, StudioRun]]:
    """(name of the input that the run was, the run made from it)."""
    return [(name, each) for each in runs.values() for name, mark in each.inputs.items() if mark == run.fingerprint]


def evaluations(run: StudioRun, runs: Mapping[str, StudioRun]) -> list[StudioRun]:
    """The run itself if it is an evaluation, else those of the policy that it trained."""
    if run.kind == "eval":
        return [run]
    return [each for name, each in children(run, runs) if each.kind == "eval" and name == "model"]


def _folders(root: Path) -> set[Path]:
    found = {file.parent for pattern in BELOW for file in root.glob(pattern)}
    return {root} if (root / "config.json").is_file() else found


def _state(folder: Path) -> State:
    """Of the files that :func:`read_run` reads; a running stage changes when it stops giving signs of life."""
    files = ("config.json", "result.json", "provenance.json", VALIDATION_FILE, ATTEMPTS_FILE)
    stats = [_stat(folder / name) for name in files]
    alive = stats[1] is None and _is_alive(folder)
    return (*stats, (int(alive), 0))


def _stat(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _is_alive(folder: Path) -> bool:
    """Whether an unfinished run has lately given a sign of life."""
    signs = [found[0] for name in (HEARTBEAT_FILE, ATTEMPTS_FILE) if (found := _stat(folder / name))]
    return bool(signs) and time.time() - max(signs) / 1e9 < SILENT_S


def read_run(folder: Path, key: str) -> StudioRun:
    """Read one run folder; what is damaged is said in ``problem`` and stops nothing."""
    try:
        stored = read_json(folder / "config.json")
        provenance = _object(folder / "provenance.json")
        result = _object(folder / "result.json")
        return _run(folder, key, stored, provenance, result)
    except (RewardlabError, KeyError, TypeError, ValueError, AttributeError) as error:
        logger.warning("%s: shown without its content (%s)", folder, error)
        return StudioRun(
            key, folder, folder.parent.name, "", folder.name, "", "", "", None, "damaged", problem=_problem(error)
        )


def _problem(error: Exception) -> str:
    return str(error) if isinstance(error, RewardlabError) else f"no complete run ({type(error).__name__}: {error})"


def _object(file: Path) -> Mapping[str, Any]:
    """A JSON object; empty where the file is not there."""
    if not file.exists():
        return {}
    found = read_json(file)
    if not isinstance(found, Mapping):
        raise DataError(f"{file}: found {found!r:.40}, expected an object")
    return found


def _run(
    folder: Path, key: str, stored: Mapping[str, Any], provenance: Mapping[str, Any], result: Mapping[str, Any]
) -> StudioRun:
    kind, config, identity = str(stored["stage"]), stored.get("config") or {}, stored.get("identity") or {}
    settings = identity.get("settings") or {}
    accuracy, measured_on = _accuracy(folder, kind, result)
    status: Status = "finished" if result else "running" if _is_alive(folder) else "stopped"
    seed = config.get("seed", result.get("seed"))
    return StudioRun(
        key=key,
        path=folder,
        kind=kind,
        fingerprint=str(stored["fingerprint"]),
        method=str(result.get("method") or settings.get("method") or _method(kind, config, settings)),
        reward=_reward(kind, config, settings, result),
        task=", ".join(str(config["task"]).split(",") if config.get("task") else settings.get("tasks") or {}),
        model=str((config.get("model") or {}).get("name", "")),
        seed=seed if isinstance(seed, int) else None,
        status=status,
        accuracy=accuracy,
        measured_on=measured_on,
        cost=_cost(result),
        started=str(provenance.get("started", "")),
        command=str(provenance.get("command", "")),
        inputs={str(name): str(mark) for name, mark in (identity.get("inputs") or {}).items()},
        config=stored,
        result=result,
        nodes=tuple(nodes(folder)),
    )


def _method(kind: str, config: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """A name for what no evaluation has named yet."""
    if kind in methods.every() and not methods.get(kind).trains_policy:
        return methods.get(kind).title
    if kind in methods.every():
        return f"{methods.get(kind).title} on {(config.get('reward') or {}).get('expression', '?')}"
    if kind == "sft":
        return "SFT w. rationale" if settings.get("rationales") else "SFT"
    title = STAGE_TITLES.get(kind, kind)
    return f"{settings['kind']} {title}" if kind in ("pairs", "rm") and settings.get("kind") else title


def _reward(kind: str, config: Mapping[str, Any], settings: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if kind in ("pairs", "rm"):
        return str(settings.get("kind") or "")
    if kind == "eval":
        return str(result.get("reward") or "")
    if kind not in methods.every() or not methods.get(kind).trains_policy:
        return ""
    reward = settings.get("reward") or config.get("reward") or {}
    lam = f", λ = {reward['lam']}" if reward.get("lam") is not None else ""
    return f"{reward.get('expression', '')}{lam}"


def _accuracy(folder: Path, kind: str, result: Mapping[str, Any]) -> tuple[float | None, str]:
    """The number that says most about a run, and what it was measured on."""
    if kind == "eval":
        columns = result.get("columns") or {}
        decoding = "greedy" if any("greedy" in cells for cells in columns.values()) else "sampled"
        cells = {column: cells[decoding] for column, cells in columns.items() if decoding in cells}
        values = [float(next(iter(cell["metrics"].values()))["value"]) for cell in cells.values()]
        return _mean(values), f"test rows, {decoding}: {', '.join(cells)}"
    if kind == "validate":
        return _mean([float(each) for each in (result.get("scores") or {}).values()]), "validation rows, greedy"
    if kind == "rm":
        held_out: Mapping[str, Any] = next(iter((result.get("accuracy") or {}).values()), {})
        return _mean([float(each["value"]) for each in held_out.values()]), "held-out pairs in the right order"
    measures = result.get("validation") or {}
    if best := measures.get("best"):
        return float(best["accuracy"]), f"validation rows, greedy, best policy (step {best['step']})"
    if (folder / VALIDATION_FILE).exists() and (rows := list(read_jsonl(folder / VALIDATION_FILE, may_be_cut=True))):
        return float(rows[-1]["accuracy"]), f"validation rows, greedy, step {rows[-1]['step']}"
    return None, ""


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _cost(result: Mapping[str, Any]) -> Cost:
    """Of this stage alone; an evaluation names the cost of its whole method."""
    if isinstance(whole := result.get("cost"), Mapping):
        seconds = whole.get("seconds")
        return Cost(_number(seconds), _whole(whole.get("gold_labels")), _whole(whole.get("annotator_calls")))
    gold = result.get("gold")
    labels = sum(int(each) for each in gold.values()) if isinstance(gold, Mapping) and gold else None
    spent = result.get("spent")
    paid = [spent[name] for name in PAID if isinstance(spent, Mapping) and isinstance(spent.get(name), int | float)]
    seconds = result.get("stage_device_seconds", result.get("stage_seconds"))
    return Cost(_number(seconds), labels, _whole(result.get("annotator_calls")), sum(paid) if paid else None)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _with_method_names(runs: dict[str, StudioRun]) -> dict[str, StudioRun]:
    """Trained runs under the name that their evaluation gives them."""
    names = {run.inputs["model"]: run.method for run in runs.values() if run.kind == "eval" and "model" in run.inputs}
    named = {key: names.get(run.fingerprint) for key, run in runs.items() if run.is_trained}
    return {key: replace(run, method=name) if (name := named.get(key)) else run for key, run in runs.items()}
