"""What each address shows: the template and the values in it. How they are served stands in ``app``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from rewardlab.errors import InputError, RewardlabError
from rewardlab.evaluation.answers import PREDICTIONS_FILE
from rewardlab.studio.curves import alarms_of, curves_of, notes_of
from rewardlab.studio.expression import RESAMPLES, can_be_tried, names_of, samples_of, stored_reward, try_expression
from rewardlab.studio.index import RunIndex, StudioRun, children, evaluations, parents
from rewardlab.studio.one_sample import PromptFinder, amounts_of, reading_of, same_prompt
from rewardlab.studio.side_by_side import CHANGES, differences, is_comparable, item_by_item
from rewardlab.studio.tables import PART, TERM, Query, Tables, select, values_of
from rewardlab.studio.verdicts import PAIR_FILES, Pairs
from rewardlab.training.methods import methods

RUNS_A_PAGE = 200
ITEMS_A_PAGE = 50
DRAWN_EARLY = 50
"""Runs whose curves are drawn before somebody asks."""
SORTS: Mapping[str, Callable[[StudioRun], Any]] = {
    "method": lambda run: run.method,
    "kind": lambda run: run.kind,
    "reward": lambda run: run.reward,
    "task": lambda run: run.task,
    "seed": lambda run: run.seed,
    "status": lambda run: run.status,
    "accuracy": lambda run: run.accuracy,
    "seconds": lambda run: run.cost.seconds,
    "started": lambda run: run.started,
}
"""Columns that the list of runs can be sorted by."""
COLUMNS = (
    *("step", "task", "column", "decoding", "sample", "gold", "answer", "place"),
    *("correct", "error", "malformed", "quality"),
)
"""Of a table of samples, in front of parts, terms, score and total."""
Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A page: its template and what stands in it.

    Attributes:
        is_running: It shows something that is being made, so that it asks for itself again.
    """

    template: str
    values: Mapping[str, Any]
    is_running: bool = False


class MissingPageError(InputError):
    """Nothing lies at an address."""


@dataclass(frozen=True, slots=True)
class RunList:
    """A list of runs as it was asked for."""

    runs: Sequence[StudioRun]
    matching: int
    total: int
    kinds: Sequence[str]
    statuses: Sequence[str]


@dataclass
class Studio:
    """A folder of runs to look into.

    Attributes:
        index: Its runs.
        journal: Folder of the verdicts on pairs.
        reviewer: Name that verdicts carry where the page names none.
        runs_code: Read tasks from Python files that runs name, which executes them.
    """

    index: RunIndex
    journal: Path
    reviewer: str = ""
    runs_code: bool = False
    tables: Tables = field(default_factory=Tables)

    def __post_init__(self) -> None:
        self.prompts = PromptFinder(self.index.root, runs_code=self.runs_code)

    def warm(self) -> None:
        """Draw the curves of the newest runs, and load the rows that most prompts stand in, before somebody waits."""
        import scipy.special  # what alarms of unfinished runs are made with
        import scipy.stats  # noqa: F401

        runs = list(self.index.runs().values())
        for run in runs[:DRAWN_EARLY]:
            with suppress(RewardlabError):  # its page says what is damaged
                curves_of(run, self.tables)
        for run in runs:
            if run.kind in methods.every():
                self.prompts.rows(run)

    def run(self, key: str, runs: Mapping[str, StudioRun] | None = None) -> StudioRun:
        """The run of a key; raises MissingPageError when the index has none."""
        known = self.index.runs() if runs is None else runs
        if key not in known:
            raise MissingPageError(f"no run {key!r} below {self.index.root}; it may have been moved or removed")
        return known[key]

    def home(self, asked: Values) -> Shown:
        """All runs, filtered by ``q``, ``kind`` and ``status``, sorted by ``sort``."""
        runs = list(self.index.runs().values())
        kept = [run for run in runs if _matches(run, asked)]
        sort = asked.get("sort", "")
        if sort in SORTS:
            known = [run for run in kept if SORTS[sort](run) is not None]
            missing = [run for run in kept if SORTS[sort](run) is None]
            kept = sorted(known, key=SORTS[sort], reverse=asked.get("falling") == "1") + missing
        shown = RunList(
            kept[:RUNS_A_PAGE],
            len(kept),
            len(runs),
            sorted({run.kind for run in runs}),
            sorted({run.status for run in runs}),
        )
        return Shown("runs.html.j2", {"found": shown, "asked": asked}, any(run.status == "running" for run in runs))

    def one_run(self, key: str) -> Shown:
        """One run: facts, alarms, curves, and the runs around it."""
        runs = self.index.runs()
        run = self.run(key, runs)
        frame = self.tables.samples(run.path) if not run.problem else None
        curves = curves_of(run, self.tables) if not run.problem else []
        answered = [each for each in runs.values() if (each.path / PREDICTIONS_FILE).is_file()]
        evaluated = [] if run.kind == "eval" else [each for each in evaluations(run, runs) if each in answered]
        values = {
            "run": run,
            "alarms": alarms_of(run, self.tables),
            "notes": notes_of(run),
            "curves": curves,
            "parents": parents(run, runs),
            "children": children(run, runs),
            "evaluations": evaluated,
            "rivals": [each for each in answered if each is not run] if run in answered else [],
            "samples": 0 if frame is None else frame.height,
            "pair_files": [name for name in PAIR_FILES if (run.path / name).is_file()],
            "has_scores": can_be_tried(run, frame),
        }
        return Shown("run.html.j2", values, run.status == "running")

    def samples(self, key: str, asked: Values) -> Shown:
        """The samples of a run, as :class:`~rewardlab.studio.tables.Query` filters and sorts them."""
        run, frame = self._samples(key)
        query = query_of(asked)
        values = {
            "run": run,
            "query": query,
            "page": select(frame, query),
            "columns": columns_of(frame),
            "menus": {
                name: found
                for name in ("task", "column", "decoding", "gold", "answer")
                if len(found := values_of(frame, name)) > 1
            },
            "has_steps": "step" in frame.columns,
            "has_gold": "correct" in frame.columns,
            "asked": {name: value for name, value in asked.items() if value},
        }
        return Shown("samples.html.j2", values)

    def sample(self, key: str, row: int) -> Shown:
        """One sample, read again by the task's parser."""
        run, frame = self._samples(key)
        if not 0 <= row < frame.height:
            raise MissingPageError(f"sample {row}: {key} has {frame.height} samples, numbered from 0")
        stored = frame.row(row, named=True)
        values = {
            "run": run,
            "row": stored,
            "prompt": stored.get("prompt") or self.prompts.prompt(run, stored["task"], stored["id"]),
            "reading": reading_of(run, stored, runs_code=self.runs_code),
            "amounts": amounts_of(stored),
            "others": len(same_prompt(frame, stored)),
            "last": frame.height - 1,
        }
        return Shown("sample.html.j2", values)

    def prompt(self, key: str, task: str, id: str) -> Shown:
        """All responses to one prompt of a run, side by side."""
        run, frame = self._samples(key)
        rows = same_prompt(frame, {"task": task, "id": id})
        if not rows:
            raise MissingPageError(f"{key}: no response to row {id!r} of task {task!r}")
        prompt = rows[0].get("prompt") or self.prompts.prompt(run, task, id)
        values = {"run": run, "rows": rows, "prompt": prompt, "task": task, "id": id, "columns": columns_of(frame)}
        return Shown("prompt.html.j2", values)

    def difference(self, keys: Sequence[str]) -> Shown:
        """The settings in which two runs differ."""
        left, right = self._two(keys)
        return Shown("difference.html.j2", {"left": left, "right": right, "rows": differences(left, right)})

    def side(self, keys: Sequence[str], asked: Values) -> Shown:
        """Two evaluations, item by item; trained runs stand for their evaluation."""
        left, right = self._two(keys)
        frames = [self.tables.samples(run.path) for run in (left, right)]
        if not is_comparable(frames):
            raise MissingPageError(
                f"{left.key} and {right.key}: expected two evaluations, or trained runs with one; run `rewardlab eval`"
            )
        decoding = asked.get("decoding", "greedy")
        found = item_by_item(frames[0], frames[1], asked.get("column", ""), decoding)  # type: ignore[arg-type]
        change = asked.get("change", "") if asked.get("change") in CHANGES else ""
        items = found.items.filter(pl.col("change") == change) if change else found.items
        last = max(1, -(-items.height // ITEMS_A_PAGE))
        number = min(max(1, _number(asked.get("page"), 1)), last)
        rows = items.slice((number - 1) * ITEMS_A_PAGE, ITEMS_A_PAGE).to_dicts()
        values = {
            "left": left,
            "right": right,
            "found": found,
            "change": change,
            "decoding": decoding,
            "column": asked.get("column", ""),
            "columns": sorted({column for frame in frames for column in values_of(frame, "column")}),  # type: ignore[arg-type]
            "rows": rows,
            "matching": items.height,
            "number": number,
            "last": last,
        }
        return Shown("side.html.j2", values)

    def expression(self, key: str, asked: Values) -> Shown:
        """Another reward on a run's samples; what is wrong with an expression stands beside it."""
        runs = self.index.runs()
        run, frame = self._samples(key, runs)
        if not can_be_tried(run, frame):
            raise MissingPageError(f"{key}: holds no scored samples; expected a run of a training method that samples")
        samples, own = samples_of(run, frame, runs_code=self.runs_code), stored_reward(run)
        models = {name.removeprefix("rm_"): model for name, _, model in parents(run, runs) if model is not None}
        known = {kind: model for kind, model in models.items() if model.kind == "rm"}
        expression, lam = asked.get("reward", "").strip(), asked.get("lambda", "").strip()
        tried, problem = None, ""
        try:
            if expression:
                tried = try_expression(run, samples, expression, lam, known, runs_code=self.runs_code)
        except RewardlabError as error:
            problem = str(error)
        values = {
            "run": run,
            "own": own,
            "samples": samples,
            "parts": names_of(samples),
            "expression": expression or own.expression,
            "lam": lam,
            "tried": tried,
            "problem": problem,
            "resamples": RESAMPLES,
        }
        return Shown("expression.html.j2", values)

    def pairs(self, key: str, file: str, asked: Values) -> Shown:
        """One pair to judge, and what was said of all so far."""
        run = self.run(key)
        pairs = self.pairs_of(run, file)
        reviewer = asked.get("reviewer", self.reviewer)
        row = _number(asked.get("row"), -1)
        if row < 0:
            row = pairs.unjudged(reviewer, row)
        values = {
            "run": run,
            "file": file,
            "files": [name for name in PAIR_FILES if (run.path / name).is_file()],
            "pair": pairs.at(max(0, row)),
            "counts": pairs.counts(),
            "reviewer": reviewer,
            "journal": self.journal,
        }
        return Shown("pairs.html.j2", values)

    def pairs_of(self, run: StudioRun, file: str) -> Pairs:
        """The pairs of a run; raises MissingPageError when it has none in that file."""
        try:
            return Pairs(run, file, self.tables, self.journal)
        except InputError as error:
            raise MissingPageError(str(error)) from error

    def _samples(self, key: str, runs: Mapping[str, StudioRun] | None = None) -> tuple[StudioRun, pl.DataFrame]:
        run = self.run(key, runs)
        frame = self.tables.samples(run.path)
        if frame is None or frame.is_empty():
            raise MissingPageError(f"{key}: holds no samples")
        return run, frame

    def _two(self, keys: Sequence[str]) -> tuple[StudioRun, StudioRun]:
        runs = self.index.runs()
        if len(keys) != 2:
            raise MissingPageError(f"{len(keys)} runs were chosen; choose two in the list of runs")
        return self.run(keys[0], runs), self.run(keys[1], runs)

    def evaluated(self, keys: Sequence[str]) -> list[str]:
        """Keys of evaluations in place of the trained runs that have one."""
        runs = self.index.runs()
        found = [evaluations(self.run(key, runs), runs) for key in keys]
        return [each[0].key if each else key for key, each in zip(keys, found, strict=True)]


def query_of(asked: Values) -> Query:
    """The query in an address; what is no number there counts as not given."""
    texts: dict[str, Any] = {
        each.name: asked[each.name] for each in fields(Query) if each.type == "str" and each.name in asked
    }
    page = _number(asked.get("page"), 1)
    return replace(Query(), **texts, page=page, is_falling=asked.get("falling") == "1")


def columns_of(frame: pl.DataFrame) -> list[str]:
    """Columns of a table of samples, in the order in which they are shown; ``sample`` where a prompt has several."""
    amounts = [name for prefix in (PART, TERM) for name in frame.columns if name.startswith(prefix)]
    shown = [name for name in (*COLUMNS, *amounts, "score", "total") if name in frame.columns]
    return [name for name in shown if name != "sample" or frame["sample"].max() != 0]


def _matches(run: StudioRun, asked: Values) -> bool:
    words = asked.get("q", "").lower().split()
    told = " ".join((run.key, run.kind, run.method, run.reward, run.task, run.model, run.status, run.fingerprint))
    is_wanted = all(asked.get(name, "") in ("", getattr(run, name)) for name in ("kind", "status"))
    return is_wanted and all(word in told.lower() for word in words)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else default
