"""The results of study 1, which reward at which label budget, read back: tables, policies, differences, claims.

Each budget has a folder named after a suite file of ``experiments/``, with reports of single seeds (``seed-1``,
``seed-2`` ...) that brought their runs. Labels are those that a method has read, so a method that reads the gold labels
of its prompts has more than its budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rewardlab.claims.claim import Claim
from rewardlab.claims.findings import Finding, corrected, findings
from rewardlab.claims.measures import Evidence
from rewardlab.comparison.differences import BASELINE, find_baseline
from rewardlab.comparison.evaluations import EvalRun
from rewardlab.comparison.paired import Comparison, correct
from rewardlab.comparison.runs import collect
from rewardlab.comparison.statistics import RESAMPLES
from rewardlab.comparison.table import AVERAGE, ComparisonTable, Row, build_table, compare_rows, differing_formats
from rewardlab.errors import InputError
from rewardlab.runs import read_result
from rewardlab.suites.file import Suite, load_suite

DECODING = "greedy"
"""A gain that sampling alone shows is mere sharpening."""
SUITES = Path(__file__).resolve().parents[1]
BASE = "base"
"""The start of SFT."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What validation rows said of a run that continues SFT.

    Attributes:
        step: Step of the policy that was evaluated; 0 is the SFT model it began from.
        start, last: Greedy validation accuracy at its start and at its last measure.
    """

    step: int
    start: float
    last: float

    @property
    def is_start(self) -> bool:
        """Whether the SFT model itself was evaluated."""
        return self.step == 0


@dataclass(frozen=True, slots=True)
class Budget:
    """The results at one label budget.

    Attributes:
        labels: Labelled rows a task.
        suite: What was run.
        folder: Where its results lie.
        table: Its methods, over all seeds that are there.
    """

    labels: int
    suite: Suite
    folder: Path
    table: ComparisonTable

    @property
    def start(self) -> Row:
        """SFT with rationales, from which all others start."""
        return find_baseline(self.table)

    @property
    def seeds(self) -> list[int]:
        """Those of any row."""
        return sorted({seed for row in self.table.rows for seed in row.seeds})

    def labels_of(self, row: Row) -> float:
        """Gold labels that a method read, a task, mean over seeds."""
        return row.cost["gold_labels"] / len(self.table.averaged)

    def answers_alike(self, row: Row) -> bool:
        """Whether a method answers in the format of SFT with rationales."""
        return differing_formats(row, self.start) is None

    def reads_more(self, row: Row) -> bool:
        """Whether a method read labels beyond the budget."""
        return self.labels_of(row) > self.labels

    def is_rival(self, row: Row) -> bool:
        """Whether a method has the labels of SFT with rationales, and its answer format, and is another one."""
        return row.name != BASELINE and self.answers_alike(row) and not self.reads_more(row)

    def policies(self, row: Row) -> dict[int, Policy]:
        """Seed -> what validation rows said; empty for what begins from the base model."""
        runs = [run for run in row.runs if row.key.start != BASE and run.model_run is not None]
        return {run.seed: _policy(run) for run in runs}

    def by_seed(self, row: Row, base: Row) -> dict[int, float]:
        """Seed -> difference of two rows' accuracies, mean of the tasks, as a share."""
        seeds = sorted(set(row.seeds) & set(base.seeds))
        return {seed: _mean_at(self.table, row, seed) - _mean_at(self.table, base, seed) for seed in seeds}


def _policy(run: EvalRun) -> Policy:
    assert run.model_run is not None  # asked by the caller
    trained = run.path.parents[1].joinpath(*run.model_run.parts[-2:])
    measured = read_result(trained)["validation"]
    return Policy(measured["best"]["step"], measured["start"]["accuracy"], measured["last"]["accuracy"])


def _mean_at(table: ComparisonTable, row: Row, seed: int) -> float:
    values = [row.by_seed[column, DECODING][seed] for column in table.averaged]
    return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Difference:
    """A method less another, average of the tasks, corrected over all of the study."""

    budget: Budget
    row: Row
    base: Row
    comparison: Comparison

    @property
    def is_clear(self) -> bool:
        """Whether it is significant after correction."""
        return self.comparison.test.is_significant

    @property
    def value(self) -> float:
        """Its size, as a share."""
        return self.comparison.estimate.value

    @property
    def is_better(self) -> bool:
        """Whether the method was shown to be more accurate."""
        return self.is_clear and self.value > 0


def read_budget(folder: Path, suites: Path = SUITES, resamples: int = RESAMPLES) -> Budget:
    """The results of one suite.

    Args:
        folder: Named after the suite; its subfolders ``seed-*`` are reports that brought their runs.
        suites: Where the suite's file lies.
        resamples: Bootstrap resamples.
    Raises:
        InputError: There is no report of a seed, or no suite of that name, or it sets no label budget.
    """
    seeds = sorted(each for each in folder.glob("seed-*") if each.is_dir())
    if not seeds:
        raise InputError(f"{folder}: no folder seed-*; expected the reports of single seeds of a suite")
    suite = load_suite(suites / f"{folder.resolve().name}.toml")
    labels = suite.settings.get("data.labelled")
    if not isinstance(labels, int):
        raise InputError(f"suite {suite.name} sets no data.labelled; expected a number of labelled rows a task")
    found = collect(seeds)
    table = build_table(found.runs, convention=suite.convention, warnings=found.warnings, resamples=resamples)
    return Budget(labels, suite, folder, table)


def read_study(folders: Sequence[Path], suites: Path = SUITES, resamples: int = RESAMPLES) -> list[Budget]:
    """The budgets, the smallest first.

    Raises:
        InputError: As :func:`read_budget` does, or two folders have the same label budget.
    """
    study = sorted((read_budget(folder, suites, resamples) for folder in folders), key=lambda each: each.labels)
    if len({each.labels for each in study}) < len(study):
        raise InputError(f"two of {', '.join(map(str, folders))} have the same label budget; give each once")
    return study


def differences(study: Sequence[Budget]) -> list[Difference]:
    """Every method of the baseline's format against it, and methods with more labels against SFT on the same ones.

    Holm's correction is over all of them.
    """
    places = [(budget, row, base) for budget in study for row in budget.table.rows for base in _bases(budget, row)]
    compared = [compare_rows(budget.table, (row, DECODING), (base, DECODING), AVERAGE) for budget, row, base in places]
    return [Difference(*place, each) for place, each in zip(places, correct(compared), strict=True)]


def _bases(budget: Budget, row: Row) -> Iterator[Row]:
    """What a row is compared with: SFT with rationales, and SFT that read as many further labels."""
    if row.name == BASELINE or not budget.answers_alike(row):
        return
    yield budget.start
    if budget.reads_more(row) and row.key.start != BASE:
        yield from (
            base
            for base in budget.table.rows
            if base.key.start == BASE
            if budget.answers_alike(base) and budget.labels_of(base) == budget.labels_of(row)
        )


def study_findings(study: Sequence[Budget]) -> list[list[Finding]]:
    """The claims of each budget's suite, corrected over all budgets together."""
    measured = [
        [_with_shared(each, budget) for each in findings(budget.suite.claim, Evidence(budget.table))]
        for budget in study
    ]
    together = iter(corrected([each for own in measured for each in own]))
    return [[next(together) for _ in own] for own in measured]


def _with_shared(finding: Finding, budget: Budget) -> Finding:
    """The finding with a note where both of its methods are one checkpoint in some seeds, and their difference 0."""
    shared, seeds = shared_checkpoints(finding.claim, budget)
    if finding.estimate is None or not shared:
        return finding
    told = f"in {shared} of {seeds} seeds both are one checkpoint, SFT's own"
    return replace(finding, note="; ".join(filter(None, (finding.note, told))))


def shared_checkpoints(claim: Claim, budget: Budget) -> tuple[int, int]:
    """Seeds in which both methods of a claim are the SFT model they began from, and seeds that both have."""
    rows = [row for name in claim.methods if (row := budget.table.row(name)) is not None]
    if len(rows) < 2:
        return 0, 0
    sides: list[Mapping[int, bool]] = [
        {seed: policy.is_start for seed, policy in budget.policies(row).items()}
        or dict.fromkeys(row.seeds, row.name == BASELINE)
        for row in rows
    ]
    seeds = sorted(set(sides[0]) & set(sides[1]))
    return sum(sides[0][seed] and sides[1][seed] for seed in seeds), len(seeds)
