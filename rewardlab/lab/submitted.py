"""A submission to the server of GLUE or SuperGLUE from trained runs: who answers which file, answers, the ZIP file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError, InputError
from rewardlab.evaluation.submission import FILES, Answers, Benchmark, OfficialFile
from rewardlab.lab.stored import stored_config, trained_stage
from rewardlab.runs import stage_of

if TYPE_CHECKING:
    from rewardlab.config import RunConfig
    from rewardlab.pipeline import Runner, Stage
    from rewardlab.types import Example


@dataclass(frozen=True, slots=True)
class Submission:
    """What was written.

    Attributes:
        path: The ZIP file.
        runs: Name of each file -> the run, or the file, that its answers come from.
        unreadable: Name of a file -> answers that could not be read, in whose place a label was drawn.
        problems: What the server would refuse, a line each.
        scores: Name of a file whose rows have gold labels -> what the leaderboard shows of it, shares of 1; none with a
            limit, nor of a file made elsewhere whose rows are not in ``data``.
        score: The leaderboard's one number, a share of 1; None unless all tasks have scores.
    """

    path: Path
    runs: Mapping[str, Path]
    unreadable: Mapping[str, int]
    problems: Sequence[str] = field(default=())
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    score: float | None = None


def submit(
    benchmark: Benchmark,
    runs: Sequence[Path],
    to: Path,
    root: Path,
    runner: Runner,
    *,
    data: Path | None = None,
    answers: Sequence[Path] = (),
    is_partial: bool = False,
    limit: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Submission:
    """Answer all files of a benchmark and write its submission.

    Args:
        benchmark: ``glue`` or ``superglue``.
        runs: Folders of finished runs of sft, a training method or encoder, or folders that hold such.
        to: The ZIP file.
        root: Where run folders live.
        runner: Runs what is missing.
        data: Folder of the official test rows; None reads the hub. Files made elsewhere need no rows, but are scored
            where the folder has theirs with labels.
        answers: Files in the server's format that were made elsewhere, by their official names.
        is_partial: Whether files may be missing; the server wants all.
        limit: Most rows of a file, to try it.
        say: Takes a line a file before anything runs.
    Raises:
        InputError: A file has no run that answers it, or several; or its format is not known.
        DataError: Rows or answers cannot be read.
    """
    from rewardlab.evaluation.leaderboard import score, scores_of
    from rewardlab.evaluation.official import official_rows
    from rewardlab.evaluation.submission import problems_of, read_file, write_submission

    files = FILES[benchmark]
    made = _by_name(files, answers)
    wanted = [file for file in files if file.name not in made]
    trained = choose_runs(wanted, runs, is_partial=is_partial)
    for name, run in trained.items():
        say(f"{name}: {run}")
    found: dict[str, Answers] = {name: read_file(file, path) for name, (file, path) in made.items()}
    unreadable, scores = {}, {}
    for name, (file, path) in made.items():
        rows = (
            [] if data is None or limit is not None else _rows_made_elsewhere(benchmark, file, data, path, found[name])
        )
        if measured := scores_of(benchmark, file, rows, found[name]):
            scores[name] = measured
    for file in wanted:
        if file.name in trained:
            config = stored_config(trained[file.name])
            rows = official_rows(benchmark, file, config.format, data)[:limit]
            stage = _stage(file, trained[file.name], config, root, rows)
            folder = runner.execute(stage)
            found[file.name] = {row["idx"]: row["answer"] for row in read_jsonl(folder.path / _answers_file())}
            unreadable[file.name] = int(folder.result()["unreadable"])
            # a part of a file may hold halves of its groups, and is not what a leaderboard scores
            if limit is None and (measured := scores_of(benchmark, file, rows, found[file.name])):
                scores[file.name] = measured
    write_submission(files, found, to)
    problems = problems_of(files, to, is_whole=not (is_partial or limit is not None))
    answered_by = {**trained, **{name: path for name, (_, path) in made.items()}}
    return Submission(to, answered_by, unreadable, problems, scores, score(benchmark, scores))


def _rows_made_elsewhere(
    benchmark: Benchmark, file: OfficialFile, data: Path, path: Path, answers: Answers
) -> list[Example]:
    """The labelled rows behind a file of answers; empty where the folder has none.

    Raises:
        DataError: It has other rows than the answers.
    """
    from rewardlab.evaluation.official import official_file, official_rows

    place = official_file(file, data)
    rows = official_rows(benchmark, file, "label", data) if place.exists() else []
    if all(row.label is None for row in rows):
        return []
    known = {row.id for row in rows}
    missing, strange = known - answers.keys(), answers.keys() - known
    if missing or strange:
        raise DataError(
            f"{path}: no answer to {len(missing)} of {len(rows)} labelled rows of {place}, and {len(strange)} answers "
            f"to none of them, such as idx {min(missing or strange)}; give the answers to these rows, or take "
            f"{place.name} out of --data, and the file is not scored"
        )
    return rows


def choose_runs(files: Sequence[OfficialFile], given: Sequence[Path], *, is_partial: bool = False) -> dict[str, Path]:
    """Name of each file -> the run that answers it: the one that was trained on its task.

    Raises:
        InputError: There is none, or there are several.
    """
    by_task: dict[str, list[Path]] = {}
    for run in _runs_of(given):
        for name in _tasks_of(run):
            by_task.setdefault(name, []).append(run)
    several = {task: runs for task in {file.model_of for file in files} if len(runs := by_task.get(task, [])) > 1}
    if several:
        told = "; ".join(f"{task}: {', '.join(map(str, runs))}" for task, runs in sorted(several.items()))
        raise InputError(f"several runs were trained on one task ({told}); name one each with --runs")
    missing = [f"{file.name} ({file.model_of})" for file in files if file.model_of not in by_task]
    if missing and not is_partial:
        raise InputError(
            f"no run answers {', '.join(missing)}; name one trained on each task in brackets, give files made "
            "elsewhere with --answers, or leave them out with --partial"
        )
    return {file.name: by_task[file.model_of][0] for file in files if file.model_of in by_task}


def _by_name(files: Sequence[OfficialFile], paths: Sequence[Path]) -> dict[str, tuple[OfficialFile, Path]]:
    known = {file.name: file for file in files}
    if strange := [str(path) for path in paths if path.name not in known]:
        raise InputError(f"--answers {', '.join(strange)}: expected files called {', '.join(known)}")
    return {path.name: (known[path.name], path) for path in paths}


def _runs_of(given: Iterable[Path]) -> list[Path]:
    """The trained runs among these folders and below them."""
    from rewardlab.pipeline.kinds import trained_kinds

    found: dict[Path, Path] = {}
    for path in given:
        own = [path, *sorted(path.glob("*")), *sorted(path.glob("*/*"))]
        trained = [each for each in own if (each / "result.json").exists() and stage_of(each) in trained_kinds()]
        if not trained:
            raise InputError(f"--runs {path}: no finished run of sft, encoder or another training method")
        found |= {each.resolve(): each for each in trained}
    return list(found.values())


def _tasks_of(run: Path) -> list[str]:
    from rewardlab.tasks import resolve_tasks

    return [task.name for task in resolve_tasks(stored_config(run).task)]


def _stage(file: OfficialFile, run: Path, config: RunConfig, root: Path, rows: Sequence[Example]) -> Stage:
    from rewardlab.pipeline.context import Context
    from rewardlab.pipeline.stages.submit import submit_stage

    trained = trained_stage(run, config, root)
    context = Context(config.model_copy(update={"task": file.task}), root)
    return submit_stage(context, trained, file.name, rows)


def _answers_file() -> str:
    from rewardlab.pipeline.stages.submit import ANSWERS_FILE

    return ANSWERS_FILE
