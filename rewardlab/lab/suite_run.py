"""A suite in Python: many methods, tasks, models and seeds, then one report and one table."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab import processes
from rewardlab.disk import make_folder
from rewardlab.errors import InputError
from rewardlab.lab.asked import RUNS
from rewardlab.lab.compared import Compared, compare_runs
from rewardlab.lab.execution import make_runner, say, say_nothing

if TYPE_CHECKING:
    from rewardlab.annotate.money import Purse
    from rewardlab.claims.claim import Claim
    from rewardlab.pipeline.rows import Rows
    from rewardlab.pipeline.runner import Runner, Say
    from rewardlab.reports.page import SuiteFacts
    from rewardlab.reports.sections.suite import Choice
    from rewardlab.suites.cells import Cell
    from rewardlab.suites.file import Suite
    from rewardlab.suites.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """What a suite came to: what :func:`run_suite` gives. A notebook shows its table.

    Attributes:
        report: ``report.md``, with ``report.html`` beside it; None where there is none.
        compared: The table of methods; None where nothing was evaluated.
        choices: What ``[grid]`` chose on validation rows.
        cards: Report cards of reward models, as folders.
        seconds: Stage -> the folder of each run of it, and the seconds it took.
        missing: Cells that could not be finished, and why.
        unjudged: Comparisons that could not be judged, and why.
        cells: How many cells there are.
    """

    report: Path | None
    compared: Compared | None = None
    choices: Sequence[Choice] = ()
    cards: Sequence[Path] = ()
    seconds: Mapping[str, Sequence[tuple[Path, float]]] = field(default_factory=dict)
    missing: Sequence[tuple[str, str]] = ()
    unjudged: Sequence[tuple[str, str]] = ()
    cells: int = 0

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return "No cell was evaluated." if self.compared is None else self.compared.markdown()


def run_suite(
    file: Path | str,
    *,
    runs: Path | str = RUNS,
    filters: Sequence[str] = (),
    jobs: int | None = None,
    ray: str | None = None,
    source: str | None = None,
    out: Path | str | None = None,
    quiet: bool = False,
) -> SuiteRun:
    """Run what is missing of a suite and write its report: ``rewardlab suite run`` in Python.

    Args:
        file: Suite file (TOML).
        runs: Where run folders live.
        filters: ``method=TEXT``, ``task=TEXT``, ``model=TEXT`` or ``seed=N``: only cells that fit all keys.
        jobs: Stages built side by side; None: as many as processors and memory allow.
        ray: Build on a Ray cluster: auto, the one that this machine is part of, or HOST:PORT; needs ``rewardlab[ray]``.
        source: Where rows come from, whatever the file says: auto, local, hub or bundled.
        out: Folder of the report; None: ``RUNS/NAME``, with the filters in the name.
        quiet: Show no progress on standard error.
    Raises:
        InputError: The file cannot be used, no cell fits the filters, ``jobs`` is no number from 1 on, there is no such
            cluster, or the report cannot be written.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.run_suite("no-such-suite.toml")
        ... except rl.InputError as error:
        ...     print(error)
        no-such-suite.toml: cannot be read (No such file or directory); give a suite file (TOML)
    """
    from rewardlab.suites.jobs import check_jobs

    check_alone()
    check_jobs(jobs)
    check_places(jobs, ray)
    asked = AskedSuite(Path(file), Path(runs), filters, jobs, ray, source, None if out is None else Path(out), quiet)
    suite = asked.load()
    return run_planned(asked, suite, asked.cells(suite))


@dataclass(frozen=True, slots=True)
class AskedSuite:
    """What was asked of a suite; attributes as :func:`run_suite` takes them, ``has_report`` False for none."""

    file: Path
    runs: Path
    filters: Sequence[str] = ()
    jobs: int | None = None
    ray: str | None = None
    source: str | None = None
    out: Path | None = None
    quiet: bool = False
    has_report: bool = True

    def load(self) -> Suite:
        """The suite of the file; raises InputError."""
        from rewardlab.suites.file import load_suite

        return load_suite(self.file, self.source)

    def cells(self, suite: Suite, rows: Rows | None = None, *, may_lack_model: bool = False) -> list[Cell]:
        """Its cells that fit the filters; raises InputError."""
        from rewardlab.pipeline.rows import Rows
        from rewardlab.suites.cells import cells
        from rewardlab.suites.filter import select

        found = cells(suite, self.runs, may_lack_model=may_lack_model, rows=rows or Rows())
        return list(select(found, list(self.filters)))


def run_planned(asked: AskedSuite, suite: Suite, todo: Sequence[Cell]) -> SuiteRun:
    """Build what is missing of these cells, and report.

    Args:
        asked: How.
        suite: Of the file.
        todo: Its cells.
    Raises:
        InputError: The report cannot be written.
    """
    from rewardlab.suites.scheduler import Scheduler

    place = asked.out or asked.runs / report_name(suite.name, asked.filters)
    if asked.has_report:
        make_folder(place)
    scheduler, runner = Scheduler(todo, asked.runs), make_runner(asked.runs, quiet=asked.quiet)
    tell = say_nothing if asked.quiet else say
    build(scheduler, runner, suite, asked.file, asked.source, asked.jobs, asked.ray, tell)
    found = SuiteRun(None, missing=[(cell.title, why) for cell, why in scheduler.failures()])
    if asked.has_report:
        command = report_command(asked.file, asked.filters, asked.source)
        found = report_suite(suite, scheduler, asked.runs, place, command, runner.purse, tell)
    return replace(found, cells=len(scheduler.cells))


def check_alone() -> None:
    """Refuse to run in one of several processes of accelerate: a suite starts its own."""
    if processes.count() > 1:
        raise InputError("a suite starts processes of its own (--jobs); run it without accelerate launch")


def build(
    scheduler: Scheduler,
    runner: Runner,
    suite: Suite,
    file: Path,
    source: str | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    say: Say = say,
) -> None:
    """Build what is missing: here, in processes of one thread each, or on a Ray cluster.

    Args:
        scheduler: The stages.
        runner: Builds here, and counts what others built.
        suite: The suite, which nodes plan again.
        file: Its file, which processes plan again.
        source: Where rows come from, whatever the suite says.
        jobs: Stages side by side; None: as many as processors and memory allow.
        ray: Address of a Ray cluster, which takes the place of processes; None: this machine.
        say: Is told of failures.
    """
    from rewardlab.suites.durations import Durations
    from rewardlab.suites.jobs import jobs_for, share_processors
    from rewardlab.suites.local import Workers
    from rewardlab.suites.run import Here, Places
    from rewardlab.suites.run import build as build_at
    from rewardlab.suites.worker import worker_command

    root = runner.root
    count = jobs or jobs_for(scheduler.missing())
    if ray is None:
        share_processors(jobs, count)
        if count == 1:
            build_at(scheduler, Here(runner, scheduler.done()), say)
            return
    scheduler.longest_first(Durations(root).guess)
    places: Places
    if ray is None:
        places = Workers(count, worker_command(file, root, source, sys.argv[1:]))
    else:
        from rewardlab.suites.known import find_in
        from rewardlab.suites.on_ray import RayPlaces

        places = RayPlaces(ray, partial(find_in, suite), root, say, shows_stages=say is not say_nothing)
    build_at(scheduler, places, say)
    for stage in scheduler.done():
        runner.count(stage)


def check_places(jobs: int | None, ray: str | None) -> None:
    """Refuse two kinds of places at once, and a cluster that cannot be asked; before anything is planned.

    Raises:
        InputError: The line says what to do.
    """
    if ray is not None:
        from rewardlab.suites.on_ray import check_ray

        check_ray(ray)
        if jobs is not None:
            raise InputError(f"--ray {ray} --jobs {jobs}: the nodes say how many stages run; give one of both")


def report_suite(
    suite: Suite, scheduler: Scheduler, root: Path, out: Path, command: str, purse: Purse | None = None, say: Say = say
) -> SuiteRun:
    """Write record and report of the finished cells.

    Args:
        suite: What was run.
        scheduler: Its cells.
        root: Where run folders live.
        out: Folder of the report; outside ``root`` it gets copies of what is small in the runs that it links to.
        command: What makes the report; printed under it.
        purse: What the suite spends, which pays for what has to be judged; None is what the judge spends.
        say: Is told what could not be judged.
    """
    from rewardlab.reports.links import Links
    from rewardlab.reports.page import write_report
    from rewardlab.reports.sections.suite import suite_sections, write_choices
    from rewardlab.suites.record import choices, write_record
    from rewardlab.training.methods import methods

    links = Links(out, brings=not out.resolve().is_relative_to(root.resolve()))
    links.clear()
    write_record(out, suite, scheduler, root, links)
    done, found = scheduler.finished(), choices(scheduler.cells, root)
    seconds, missing = stage_times(done, root), [(cell.title, why) for cell, why in scheduler.failures()]
    if suite.only_grid:
        page = out / "report.md" if found else None
        if page:
            write_choices(page, suite.title or suite.name, found, command)
        return SuiteRun(page, choices=found, seconds=seconds, missing=missing)
    folders, cards = [path for cell in done for path in cell.evaluations(root)], _folders(done, "card", root)
    if not folders and not cards:
        return SuiteRun(None, choices=found, seconds=seconds, missing=missing)
    unjudged = judge_claims(suite.claim, done, root, purse, suite.against, say)
    page = write_report(
        out,
        folders,
        [path for kind in methods.every() for path in _folders(done, kind, root)],
        _folders(done, "rm", root),
        _folders(done, "pairs", root),
        seconds,
        card_runs=cards,
        convention=suite.convention,
        command=command,
        more=suite_sections(missing, found, unjudged),
        suite=_facts(suite, done),
        brings_runs=links.brings,
    )
    compared = compare_runs(folders, convention=suite.convention, wanted=suite.against) if folders else None
    return SuiteRun(page, compared, found, cards, seconds, missing, unjudged)


def judge_claims(
    claims: Sequence[Claim],
    done: Sequence[Cell],
    root: Path,
    purse: Purse | None = None,
    against: Sequence[str] = (),
    say: Say = say,
) -> list[tuple[str, str]]:
    """Have the answers judged that a claim compares by a judge, and against every rival.

    Returns:
        What could not be judged, and why.
    """
    from rewardlab.suites.judged import judge_cells, judged_cells

    outcomes = [(each.title, judge_cells(each, root, purse)) for each in judged_cells(claims, done, against)]
    problems = [(title, why) for title, why in outcomes if why is not None]
    for title, why in problems:
        say(f"{title}: {why}")
    return problems


def stage_times(todo: Sequence[Cell], root: Path) -> dict[str, list[tuple[Path, float]]]:
    """Stage -> the folder of each run of it, and the seconds it took when it ran; equal stages of seeds together.

    Tries that a grid did not choose took their time too.
    """
    from rewardlab.pipeline.kinds import stage_kinds
    from rewardlab.suites.cells import distinct

    times: dict[str, list[tuple[Path, float]]] = {}
    stages = distinct(stage for cell in todo for stage in (*cell.chain(), *cell.searched()))
    for kind in stage_kinds():
        for stage in (stage for stage in stages if stage.kind == kind):
            folder = stage.folder(root)
            times.setdefault(stage.title, []).append((folder.path, float(folder.result()["stage_seconds"])))
    return times


def report_name(name: str, filters: Sequence[str]) -> str:
    """Folder of the report; a part of the suite does not take the place of the whole, or of another part.

    >>> report_name("demo", []), report_name("demo", ["seed=0", "task=sandbox-topic"])
    ('demo', 'demo-seed-0-task-sandbox-topic')
    >>> report_name("demo", ["method=ppo-rule"]), report_name("demo", ["method=PPO, rule"])
    ('demo-method-ppo-rule', 'demo-method-ppo-rule-34e78e')
    """
    from rewardlab.config import fingerprint

    given = [each.lower() for each in filters]
    slugs = [re.sub(r"\W+", "-", each).strip("-") for each in given]
    return "-".join([name, *slugs, *([] if all(map(_is_kept, given)) else [fingerprint(given)[:6]])])


def _is_kept(filter: str) -> bool:
    """True when its slug is unique among all: words, none of which could begin another filter."""
    from rewardlab.suites.filter import KEYS

    found = re.fullmatch(r"\w+=(\w+(?:-\w+)*)", filter)
    return found is not None and not set(found[1].split("-")) & set(KEYS)


def report_command(file: Path, filters: Sequence[str], source: str | None) -> str:
    """What makes the same report again, wherever its runs lie.

    >>> report_command(Path("experiments/demo.toml"), ["method=label RM"], None)
    "rewardlab suite run experiments/demo.toml --filter 'method=label RM'"
    """
    given = [part for each in filters for part in ("--filter", each)] + (["--source", source] if source else [])
    return shlex.join(["rewardlab", "suite", "run", file.as_posix(), *given])


def _folders(done: Sequence[Cell], kind: str, root: Path) -> list[Path]:
    """Of the stages of one kind."""
    from rewardlab.suites.cells import stages_of

    return [stage.folder(root).path for stage in stages_of(done, kind)]


def _facts(suite: Suite, done: Sequence[Cell]) -> SuiteFacts:
    from rewardlab.reports.page import SuiteFacts

    models, seeds = (list(dict.fromkeys(getattr(cell, name) for cell in done)) for name in ("model", "seed"))
    return SuiteFacts(suite.name, suite.title, suite.budget, suite.claim, models, sorted(seeds), suite.against)
