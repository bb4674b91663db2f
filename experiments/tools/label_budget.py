"""Which reward at which label budget: figure, sentences and claims of study 1, from the results of its suites.

Run as ``python -m experiments.tools.label_budget experiments/results/budget-*0-sandbox --out FOLDER``. Each folder is
named after a suite file of ``experiments/`` and holds reports of single seeds (``seed-0``, ``seed-1`` ...), which bring
their answers. Written are ``label-budget.svg`` and ``label-budget.md`` in FOLDER, and ``claims.md`` and ``claims.json``
in the folder of each suite. With ``--readme FILE`` the figure and the sentences take the place of the block of results
in that file; a test makes the block again and compares.

Labels are those that a method has read, so a method that reads the gold labels of its prompts stands further to the
right than its label budget. All differences in the sentences are corrected together (Holm), and so are all claims.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.tools.readme_table import with_block
from rewardlab.claims.findings import Finding, corrected, findings, write_claims
from rewardlab.claims.measures import Evidence
from rewardlab.comparison.differences import BASELINE, find_baseline
from rewardlab.comparison.grid import Cell, Grid, Heading
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.numbers import interval_text, p_text, points, points_interval, shown_value
from rewardlab.comparison.paired import Comparison, correct
from rewardlab.comparison.runs import collect
from rewardlab.comparison.statistics import RESAMPLES
from rewardlab.comparison.table import AVERAGE, ComparisonTable, Row, build_table, compare_rows, differing_formats
from rewardlab.disk import write_atomic
from rewardlab.errors import InputError, RewardlabError
from rewardlab.reports.drawing import write_sheet
from rewardlab.reports.page import SuiteFacts
from rewardlab.reports.sheet import PALETTE, Sheet, matplotlib_style, new_sheet
from rewardlab.runs import read_result
from rewardlab.suites.file import Suite, load_suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECODING = "greedy"
"""A gain that sampling alone shows is mere sharpening."""
NAME = "label-budget"
SUITES = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 420, 340, 52, 30, 44
KEY_STEP, KEYS_PER_ROW = 20, 3
MARKERS = "osD^vPX*<>ph"
DODGE = 0.022
"""Methods at one label budget stand this much apart, as a share of the budget on either side, so that all are seen."""
MODULE = "python -m experiments.tools.label_budget"
COMMAND = f"{MODULE} experiments/results/budget-*0-sandbox --out {{out}}"


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

    def labels_of(self, row: Row) -> float:
        """Gold labels that a method read, a task, mean over seeds."""
        return row.cost["gold_labels"] / len(self.table.averaged)

    def is_within(self, row: Row) -> bool:
        """Whether a method read no label beyond the budget, and answers in the baseline's format."""
        formats = differing_formats(row, find_baseline(self.table))
        return self.labels_of(row) <= self.labels and formats is None

    def kept_start(self, row: Row) -> list[bool]:
        """For each seed, whether no later checkpoint has a higher validation accuracy than the SFT model it began from.

        Empty for what begins from the base model.
        """
        policies = [read_result(run.path).get("policy") or {} for run in row.runs if row.key.start != "base"]
        return [policy["step"] == 0 for policy in policies if "step" in policy]


@dataclass(frozen=True, slots=True)
class Difference:
    """A method less SFT with rationales, average of the tasks, corrected over all of the study."""

    budget: Budget
    row: Row
    comparison: Comparison

    @property
    def told(self) -> str:
        """The method with its size."""
        size = self.comparison.estimate
        numbers = f"{points(size.value)} points {points_interval(size)}, {p_text(self.comparison.test.p_holm)}"
        return f"{self.row.name} ({numbers})"


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


def differences(study: Sequence[Budget]) -> list[Difference]:
    """Every method of the baseline's format against it, at every budget; corrected over all of them."""
    places = [
        (budget, row)
        for budget in study
        for row in budget.table.rows
        if row.name != BASELINE and differing_formats(row, find_baseline(budget.table)) is None
    ]
    compared = [
        compare_rows(budget.table, (row, DECODING), (find_baseline(budget.table), DECODING), AVERAGE)
        for budget, row in places
    ]
    return [Difference(*place, each) for place, each in zip(places, correct(compared), strict=True)]


def answer(study: Sequence[Budget], found: Sequence[Difference]) -> str:
    """The answer in one sentence: at which budgets which methods are better than SFT, on the same labels."""
    parts = []
    for budget in study:
        better = [
            each.row.name
            for each in found
            if each.budget is budget and budget.is_within(each.row)
            if each.comparison.test.is_significant and each.comparison.estimate.value > 0
        ]
        parts.append((budget.labels, _listed(better) if better else "no method"))
    grouped = {who: [labels for labels, each in parts if each == who] for who in dict.fromkeys(w for _, w in parts)}
    told = [f"with {_listed(list(map(str, labels)))} labels a task, {who}" for who, labels in grouped.items()]
    return f"Significantly more accurate than {BASELINE} on the same labels: {'; '.join(told)}."


def best_lines(study: Sequence[Budget]) -> Iterator[str]:
    """For each budget the method with the highest average among those that read no further label."""
    for budget in study:
        rows = [row for row in budget.table.rows if budget.is_within(row) and (AVERAGE, DECODING) in row.scores]
        best, start = max(rows, key=lambda row: row.scores[AVERAGE, DECODING].value), find_baseline(budget.table)
        value, base = best.scores[AVERAGE, DECODING], start.scores[AVERAGE, DECODING]
        seeds = f"{value.seeds} seed{'s' if value.seeds > 1 else ''}, interval over {value.basis}"
        told = f"{budget.labels} labels a task: highest is {best.name} with {shown_value(value.value)}"
        behind = f"; {BASELINE} has {shown_value(base.value)} {interval_text(base)}" if best is not start else ""
        yield f"{told} {interval_text(value)}{behind} ({seeds})."


def difference_lines(study: Sequence[Budget], found: Sequence[Difference]) -> Iterator[str]:
    """For each budget which methods are significantly better, worse, and neither."""
    for budget in study:
        own = [each for each in found if each.budget is budget]
        clear = [each for each in own if each.comparison.test.is_significant]
        for word, sign in (("better", 1), ("worse", -1)):
            if some := [each.told for each in clear if sign * each.comparison.estimate.value > 0]:
                yield f"{budget.labels} labels a task: significantly {word} than {BASELINE}: {'; '.join(some)}."
        if level := [each.told for each in own if each not in clear]:
            yield f"{budget.labels} labels a task: not significantly different from {BASELINE}: {'; '.join(level)}."


def start_line(study: Sequence[Budget]) -> str:
    """How many runs on the same labels are no more accurate on validation rows than the SFT model they began from."""
    kept = {
        budget.labels: [each for row in budget.table.rows if budget.is_within(row) for each in budget.kept_start(row)]
        for budget in study
    }
    told = _listed([f"{sum(runs)} of {len(runs)} with {labels} labels a task" for labels, runs in kept.items()])
    return (
        f"Runs on the same labels whose highest validation accuracy is that of their start, so that the start was "
        f"evaluated: {told}."
    )


def further_lines(study: Sequence[Budget], found: Sequence[Difference]) -> Iterator[str]:
    """For each budget, what the methods that read further labels reach against SFT without them."""
    for budget in study:
        rows = [each for each in found if each.budget is budget and budget.labels_of(each.row) > budget.labels]
        if rows:
            further = fmean(budget.labels_of(each.row) for each in rows) - budget.labels
            told = "; ".join(each.told for each in rows)
            yield f"{budget.labels} labels a task and {further:.0f} more that {BASELINE} did not read: {told}."


def readme_block(study: Sequence[Budget], out: str) -> str:
    """What README says of the study: figure, answer, and what further labels give.

    Args:
        study: The budgets.
        out: Folder of figure and page, as README links to it.
    """
    found = differences(study)
    lines = [start_line(study), *further_lines(study, found)]
    parts = [
        f"![Accuracy over gold labels read, a line a method]({out}/{NAME}.svg)",
        f"**{answer(study, found)}**",
        "\n".join(f"* {line}" for line in lines),
        f"[Every difference, and how it was measured]({out}/{NAME}.md)",
    ]
    return "\n\n".join(parts) + "\n"


def study_page(study: Sequence[Budget], found: Sequence[Difference]) -> str:
    """Figure, answer, best methods, differences and the table, in Markdown."""
    one = [each for each in found if each.comparison.estimate.seeds == 1]
    caution = "\n\nOne seed: intervals are over test items, of these runs and not of others." if one else ""
    note = (
        f"Greedy decoding, average of the tasks. p-values and intervals of differences are corrected over all "
        f"{len(found)} comparisons of the study (Holm). Labels are those that were read for training; validation "
        f"labels, which choose checkpoints for all methods alike, are not counted.{caution}"
    )
    lists = ["\n".join(f"* {line}" for line in lines) for lines in (best_lines(study), difference_lines(study, found))]
    figure = f"![Accuracy over gold labels read, a line a method]({NAME}.svg)"
    parts = [figure, answer(study, found), start_line(study), *lists, note]
    return "\n\n".join([*parts, markdown_grid(_grid(study))]) + "\n"


def _grid(study: Sequence[Budget]) -> Grid:
    """Accuracy of each method at each budget, with the labels it read and how many of its seeds kept their start."""
    columns = ("labels read", "greedy", "sampled", "start kept")
    titles = [f"{budget.labels}: {what}" for budget in study for what in columns]
    rows = []
    for name in _names(study):
        cells = [Cell(name)]
        for budget in study:
            row = next((each for each in budget.table.rows if each.name == name), None)
            values = [None if row is None else row.scores.get((AVERAGE, each)) for each in (DECODING, "sampled")]
            cells.append(Cell("–" if row is None else f"{budget.labels_of(row):.0f}"))
            cells += [Cell("–" if v is None else f"{shown_value(v.value)} {interval_text(v)}") for v in values]
            kept = [] if row is None else budget.kept_start(row)
            cells.append(Cell(f"{sum(kept)} of {len(kept)}" if kept else "–"))
        rows.append(cells)
    return Grid([Heading("method", is_number=False), *map(Heading, titles)], rows)


def draw(study: Sequence[Budget], file: Path) -> Path:
    """One panel a task: accuracy over labels read, a line a method, with 95 % intervals; SVG, PDF or PNG."""
    columns, names = study[0].table.averaged, _names(study)
    rows = -(-len(names) // KEYS_PER_ROW)
    with matplotlib_style(NAME):
        sheet = new_sheet(WIDTH * len(columns), HEIGHT + KEY_STEP * rows + 10)
        for number, column in enumerate(columns):
            axes = sheet.axes(number * WIDTH + LEFT, TOP, WIDTH - LEFT - 12, HEIGHT - TOP - BOTTOM)
            axes.set_title(column)
            axes.set_xlabel("gold labels read, a task", labelpad=3)
            _panel(axes, study, column, names)
        for number, name in enumerate(names):
            step = WIDTH * len(columns) / KEYS_PER_ROW
            _key(
                sheet,
                LEFT / 2 + number % KEYS_PER_ROW * step,
                HEIGHT + KEY_STEP * (number // KEYS_PER_ROW),
                number,
                name,
            )
        return write_sheet(sheet, file, f"Accuracy of {len(names)} methods over gold labels read, a panel a task")


def _panel(axes: Axes, study: Sequence[Budget], column: str, names: Sequence[str]) -> None:
    """Lines of all methods in one column, on a logarithmic axis of labels."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    for number, name in enumerate(names):
        found = [
            (budget.labels_of(row), row.scores[column, DECODING])
            for budget in study
            for row in budget.table.rows
            if row.name == name and (column, DECODING) in row.scores
        ]
        shift = 1 + DODGE * (number - (len(names) - 1) / 2)
        x, y = [labels * shift for labels, _ in found], [100 * size.value for _, size in found]
        colour, marker = _look(number)
        axes.vlines(x, [100 * s.low for _, s in found], [100 * s.high for _, s in found], color=colour, linewidth=1.0)
        axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.4, linestyle=_dash(name))
    ticks = [budget.labels for budget in study]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [str(tick) for tick in ticks])


def _key(sheet: Sheet, left: float, top: float, number: int, name: str) -> None:
    """An entry of the legend."""
    from matplotlib.lines import Line2D

    colour, marker = _look(number)
    x, y = left / sheet.width, 1 - (top + KEY_STEP / 2) / sheet.height
    ends = [x, x + 24 / sheet.width]
    sheet.figure.add_artist(Line2D(ends, [y, y], color=colour, linewidth=1.4, linestyle=_dash(name)))
    sheet.figure.add_artist(Line2D([fmean(ends)], [y], color=colour, marker=marker, markersize=5, linestyle=""))
    sheet.figure.text(ends[1] + 6 / sheet.width, y, name, va="center")


def _look(number: int) -> tuple[str, str]:
    """Colour and marker of a method."""
    return PALETTE[f"c{number % 11}"], MARKERS[number % len(MARKERS)]


def _dash(name: str) -> str:
    """SFT, the start of all others, is dashed."""
    return "--" if name.startswith("SFT") else "-"


def _names(study: Sequence[Budget]) -> list[str]:
    """The methods of all budgets, in the order of tables."""
    return list(dict.fromkeys(row.name for budget in study for row in budget.table.rows))


def _listed(words: Sequence[str]) -> str:
    """
    >>> _listed(["20", "50", "150"]), _listed(["20"])
    ('20, 50 and 150', '20')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def study_findings(study: Sequence[Budget]) -> list[list[Finding]]:
    """The claims of each budget's suite, corrected over all budgets together."""
    measured = [findings(budget.suite.claim, Evidence(budget.table)) for budget in study]
    together = iter(corrected([each for own in measured for each in own]))
    return [[next(together) for _ in own] for own in measured]


def read_study(folders: Sequence[Path], suites: Path = SUITES, resamples: int = RESAMPLES) -> list[Budget]:
    """The budgets, the smallest first.

    Raises:
        InputError: As :func:`read_budget` does, or two folders have the same label budget.
    """
    study = sorted((read_budget(folder, suites, resamples) for folder in folders), key=lambda each: each.labels)
    if len({each.labels for each in study}) < len(study):
        raise InputError(f"two of {', '.join(map(str, folders))} have the same label budget; give each once")
    return study


def write_study(study: Sequence[Budget], out: Path) -> list[Path]:
    """Write figure, page and claims; returns the files."""
    files = [draw(study, out / f"{NAME}.svg"), out / f"{NAME}.md"]
    write_atomic(files[1], f"# Which reward at which label budget?\n\n{study_page(study, differences(study))}")
    for budget, found in zip(study, study_findings(study), strict=True):
        suite, rows = budget.suite, budget.table.rows
        models, seeds = sorted({row.key.model for row in rows}), sorted({seed for row in rows for seed in row.seeds})
        facts = SuiteFacts(suite.name, suite.title, suite.budget, suite.claim, models, seeds)
        files += write_claims(found, budget.folder, facts.about(COMMAND.format(out=out.as_posix())))
    return files


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line: folders, out, readme, suites."""
    parser = argparse.ArgumentParser(prog="experiments.tools.label_budget", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="results of the suites, each with folders seed-*")
    parser.add_argument("--out", type=Path, required=True, help="folder of figure and page")
    parser.add_argument("--readme", type=Path, help="write the block of results in this file, too")
    parser.add_argument("--suites", type=Path, default=SUITES, help="where the suite files lie; default: experiments/")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    typed = sys.argv[1:] if arguments is None else list(arguments)
    given = parsed(typed)
    try:
        study = read_study(given.folders, given.suites)
        files = write_study(study, given.out)
        if given.readme is not None:
            block = readme_block(study, Path(os.path.relpath(given.out, given.readme.parent)).as_posix())
            text = with_block(given.readme.read_text(encoding="utf-8"), block, f"{MODULE} {shlex.join(typed)}")
            write_atomic(given.readme, text)
            files.append(given.readme)
        sys.stdout.writelines(f"{file}\n" for file in files)
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}; give files and folders that can be written\n")
        return InputError.exit_code
    except RewardlabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
