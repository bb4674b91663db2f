"""Which reward at which label budget: page, figure, claims and README's block, from the results of study 1.

Run as ``python -m experiments.tools.label_budget experiments/results/budget-*0-sandbox --out FOLDER``. Written are
``label-budget.svg`` and ``label-budget.md`` in FOLDER, and ``claims.md`` and ``claims.json`` in the folder of each
suite. With ``--readme FILE`` the sentences take the place of the block of results in that file; a test makes the block
again and compares.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from experiments.tools.label_budget_figure import NAME, draw
from experiments.tools.label_budget_study import (
    DECODING,
    SUITES,
    Budget,
    Difference,
    differences,
    read_study,
    study_findings,
)
from experiments.tools.readme_table import with_block
from rewardlab.claims.findings import write_claims
from rewardlab.comparison.differences import BASELINE
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.numbers import interval_text, p_text, points, points_interval, shown_value
from rewardlab.comparison.table import AVERAGE, Row
from rewardlab.disk import write_atomic
from rewardlab.errors import InputError, RewardlabError
from rewardlab.reports.page import SuiteFacts
from rewardlab.runs import read_result

MODULE = "python -m experiments.tools.label_budget"
COMMAND = f"{MODULE} experiments/results/budget-*0-sandbox --out {{out}}"
KINDS: Mapping[str, str] = {"label": "held_out_label", "ranked": "held_out_ranked"}
"""Kind of reward model -> the held-out pairs of its own kind."""
CHANCE = 0.5


def answer(study: Sequence[Budget], found: Sequence[Difference]) -> str:
    """The answer: at which budgets which methods are more accurate than SFT, on the same labels and with more."""
    better = [each for each in found if each.is_better and each.base is each.budget.start]
    same = _by_budget(study, [each for each in better if each.budget.is_rival(each.row)])
    more = _by_budget(study, [each for each in better if each.budget.reads_more(each.row)])
    return f"Shown to be more accurate than {BASELINE} on the same labels: {same}. With more labels: {more}."


def _by_budget(study: Sequence[Budget], found: Sequence[Difference]) -> str:
    """The methods of some differences, budgets with the same ones together."""
    named = [(b.labels, _listed([each.row.name for each in found if each.budget is b]) or "no method") for b in study]
    grouped = {who: [labels for labels, each in named if each == who] for who in dict.fromkeys(w for _, w in named)}
    return "; ".join(f"with {_listed(list(map(str, labels)))} labels a task, {who}" for who, labels in grouped.items())


def caution(study: Sequence[Budget], found: Sequence[Difference]) -> Iterator[str]:
    """What the answer leaves open: how large a difference may still be, and which methods are shown to be worse."""
    rivals = [each for each in found if each.budget.is_rival(each.row)]
    if level := [each for each in rivals if not each.is_clear]:
        widest = max(level, key=lambda each: each.comparison.estimate.high)
        high = points(widest.comparison.estimate.high)
        yield (
            "Where no difference is shown, there may still be one: the intervals reach up to "
            f"{high} points ({widest.row.name}, {widest.budget.labels} labels a task)."
        )
    if worse := [each for each in rivals if each.is_clear and each.value < 0]:
        yield f"Shown to be less accurate than {BASELINE} on the same labels: {_by_budget(study, worse)}."


def start_line(study: Sequence[Budget]) -> str:
    """How many runs on the same labels are no more accurate on validation rows than the SFT model they began from."""
    kept = {
        budget.labels: [
            policy.is_start
            for row in budget.table.rows
            if budget.is_rival(row)
            for policy in budget.policies(row).values()
        ]
        for budget in study
    }
    told = _listed([f"{sum(runs)} of {len(runs)} with {labels}" for labels, runs in kept.items()])
    return (
        f"Runs on the same labels that ended as the SFT model they began from, because no later checkpoint was more "
        f"accurate on the validation rows, which had chosen SFT's epoch too: {told} labels a task."
    )


def more_lines(study: Sequence[Budget], found: Sequence[Difference]) -> Iterator[str]:
    """What methods reach with further labels: against SFT without them, and against SFT on the same labels."""
    more = [each for each in found if each.budget.reads_more(each.row)]
    for name, base in dict.fromkeys((each.row.name, each.base.name) for each in more):
        own = [each for each in more if (each.row.name, each.base.name) == (name, base)]
        sizes = "; ".join(
            f"{points(each.value)} {points_interval(each.comparison.estimate)} with {each.budget.labels}"
            for each in own
        )
        further = fmean(each.budget.labels_of(each.row) - each.budget.labels for each in own)
        beside = f"{further:.0f} further labels a task" if base == BASELINE else "the same labels"
        yield f"{name} minus {base} ({beside}), points: {sizes} labels a task."


def readme_block(study: Sequence[Budget], out: str) -> str:
    """What README says of the study.

    Args:
        study: The budgets.
        out: Folder of figure and page, as README links to it.
    """
    found = differences(study)
    link = f"[Every difference, its cost, and what can be attacked]({out}/README.md)."
    parts = [
        f"**{answer(study, found)}**",
        "\n".join(f"* {line}" for line in more_lines(study, found)),
        " ".join([*caution(study, found), _scope(study), link]),
    ]
    return "\n\n".join(parts) + "\n"


def _scope(study: Sequence[Budget]) -> str:
    """Model, tasks, seeds and decoding."""
    first = study[0]
    models = _listed(sorted({row.key.model for row in first.table.rows if row.key.model}))
    tasks = _listed(list(first.table.averaged))
    seeds = max(len(budget.seeds) for budget in study)
    return f"Measured with {models} on {tasks}, {seeds} seed{'s' if seeds > 1 else ''}, {DECODING} decoding."


def study_page(study: Sequence[Budget], found: Sequence[Difference], out: Path) -> str:
    """Figure, answer, differences, tables and how to read them, in Markdown."""
    parts = [
        _unfinished(study),
        f"![Accuracy over gold labels read; below, each method minus SFT on the same labels]({NAME}.svg)",
        f"**{answer(study, found)}**",
        "\n".join(f"* {line}" for line in (*more_lines(study, found), *caution(study, found), start_line(study))),
        _how_to_read(study, found),
        "## Every method at every budget",
        markdown_grid(_methods_grid(study, found)),
        "## The reward models",
        markdown_grid(_reward_models_grid(study)),
        f"Accuracy in per cent, mean over seeds and tasks, lowest and highest in brackets. {_GUESSING}",
        "## Claims",
        "\n".join(_claim_links(study, out)),
        *_warnings(study),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


_GUESSING = (
    "Own answers are pairs of the SFT model's sampled answers that differ in the label. Above guessing: reward models "
    "and tasks whose interval on own answers begins above 50 %."
)


def _unfinished(study: Sequence[Budget]) -> str:
    """A warning while seeds of the suites are missing."""
    planned = {len(budget.suite.seeds) for budget in study}
    done = {len(budget.seeds) for budget in study}
    if done == planned:
        return ""
    return f"**{min(done)} of {max(planned)} planned seeds: nothing here can be quoted.**"


def _how_to_read(study: Sequence[Budget], found: Sequence[Difference]) -> str:
    """What the numbers are."""
    fewest = min(len(budget.seeds) for budget in study)
    one = "One seed: intervals are over test items, of these runs and not of others. " if fewest == 1 else ""
    return (
        f"{_scope(study)} Average of the tasks. Differences are over seeds and test items, given the validation rows, "
        f"which chose settings, SFT's epoch and every checkpoint. All {len(found)} are corrected together (Holm), so "
        f"the level of each interval is that of its own step, and an interval excludes 0 where p is below 0.05. {one}"
        "Labels are those that were read for training; validation labels are not counted."
    )


def _methods_grid(study: Sequence[Budget], found: Sequence[Difference]) -> Grid:
    """A line for each budget and method: labels, costs, accuracy, difference, what validation rows said."""
    against_start = {(id(each.budget), each.row.name): each for each in found if each.base is each.budget.start}

    def difference(budget: Budget, row: Row) -> str:
        each = against_start.get((id(budget), row.name))
        if each is None:
            return MISSING if budget.answers_alike(row) else "another answer format"
        p = p_text(each.comparison.test.p_holm)
        return f"{points(each.value)} {points_interval(each.comparison.estimate)}, {p}"

    columns: dict[str, Callable[[Budget, Row], str]] = {
        "labels read, a task": lambda budget, row: f"{budget.labels_of(row):.0f}",
        "annotator calls, a task": _calls,
        "seconds": lambda _, row: f"{row.cost['seconds']:.0f}",
        "greedy accuracy": _accuracy,
        f"minus {BASELINE}": difference,
        "start kept": _kept,
        "validation, start → last": _drift,
    }
    rows = [
        [Cell(f"{budget.labels}"), Cell(row.name), *(Cell(cell(budget, row)) for cell in columns.values())]
        for budget in study
        for row in budget.table.rows
    ]
    return Grid([Heading("budget"), Heading("method", is_number=False), *map(Heading, columns)], rows)


def _calls(budget: Budget, row: Row) -> str:
    return f"{row.cost['annotator_calls'] / len(budget.table.averaged):.0f}"


def _accuracy(budget: Budget, row: Row) -> str:
    score = row.scores.get((AVERAGE, DECODING))
    return MISSING if score is None else f"{shown_value(score.value)} {interval_text(score)}"


def _kept(budget: Budget, row: Row) -> str:
    """In how many seeds the SFT model itself was evaluated."""
    policies = budget.policies(row).values()
    return f"{sum(policy.is_start for policy in policies)} of {len(policies)}" if policies else MISSING


def _drift(budget: Budget, row: Row) -> str:
    """Validation accuracy at the start and at the last measure, mean over seeds."""
    policies = budget.policies(row).values()
    if not policies:
        return MISSING
    return " → ".join(shown_value(fmean(getattr(policy, when) for policy in policies)) for when in ("start", "last"))


def _reward_models_grid(study: Sequence[Budget]) -> Grid:
    """How often the reward models order pairs rightly, a line for each budget and kind."""
    titles = ["held-out pairs", "own answers", "above guessing"]
    headings = [Heading("budget"), Heading("reward model", is_number=False), *map(Heading, titles)]
    rows = []
    for budget in study:
        for kind, own_pairs in KINDS.items():
            held_out, own = (_accuracies(budget, kind, pairs) for pairs in (own_pairs, "policy_sampled"))
            above = f"{sum(each['low'] > CHANCE for each in own)} of {len(own)}"
            rows.append([Cell(f"{budget.labels}"), Cell(kind), _spread(held_out), _spread(own), Cell(above)])
    return Grid(headings, rows)


def _accuracies(budget: Budget, kind: str, pairs: str) -> list[Mapping[str, float]]:
    """Accuracies with intervals of all reward models of a kind, an entry for each seed and task."""
    results = map(read_result, sorted(budget.folder.glob("seed-*/run-files/rm/*")))
    return [each for result in results if result["kind"] == kind for each in result["accuracy"][pairs].values()]


def _spread(found: Sequence[Mapping[str, float]]) -> Cell:
    values = [each["value"] for each in found]
    if not values:
        return Cell(MISSING)
    return Cell(f"{shown_value(fmean(values))} ({shown_value(min(values))} to {shown_value(max(values))})")


def _claim_links(study: Sequence[Budget], out: Path) -> Iterator[str]:
    """Where the claims of each budget stand."""
    for budget in study:
        place = Path(os.path.relpath(budget.folder, out)).as_posix()
        yield f"* [{len(budget.suite.claim)} claims at {budget.labels} labels a task]({place}/claims.md)"


def _warnings(study: Sequence[Budget]) -> list[str]:
    """What the tables warn of, under a heading."""
    found = [f"* {budget.labels} labels a task: {each}" for budget in study for each in budget.table.warnings]
    return ["## Warnings", "\n".join(found)] if found else []


def _listed(words: Sequence[str]) -> str:
    """
    >>> _listed(["20", "50", "150"]), _listed(["20"]), _listed([])
    ('20, 50 and 150', '20', '')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def write_study(study: Sequence[Budget], out: Path) -> list[Path]:
    """Write figure, page and claims; returns the files."""
    found = differences(study)
    files = [draw(study, found, out / f"{NAME}.svg"), out / f"{NAME}.md"]
    write_atomic(files[1], f"# Which reward at which label budget?\n\n{study_page(study, found, out)}")
    for budget, measured in zip(study, study_findings(study), strict=True):
        suite, models = budget.suite, sorted({row.key.model for row in budget.table.rows})
        facts = SuiteFacts(suite.name, suite.title, suite.budget, suite.claim, models, budget.seeds)
        files += write_claims(measured, budget.folder, facts.about(COMMAND.format(out=out.as_posix())))
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
