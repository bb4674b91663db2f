"""The sections of a report that come from report cards: accuracy on every set of pairs, and who ranks them better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardlab.comparison.evaluations import version_of
from rewardlab.comparison.frames import csv_text
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.notes import seeds_notes
from rewardlab.comparison.numbers import p_text, points, points_interval, shown_value
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import AVERAGE, Mark, ranked
from rewardlab.disk import read_json, write_atomic
from rewardlab.intervals import SIGNIFICANT
from rewardlab.reports.blocks import Block, Notes, Section, Sentences, Subtitle, Table, Text, Told
from rewardlab.reports.charts import Bar, Panel, Picture
from rewardlab.reports.links import Links
from rewardlab.reward_models.over_seeds import (
    BASELINES,
    CardRun,
    Cards,
    Difference,
    card_rows,
    corrected,
    difference_rows,
)
from rewardlab.reward_models.table import TEST_SETS

EXPLAINED = (
    "Share of pairs in which the better response scores higher, times 100 (ties count half), with its 95 % interval; "
    "best bold, second underlined. Label-only and length-only scorers see nothing but the printed answer, or how long "
    "the responses are; they are fitted on training pairs of the set's own kind. Pairs: mean over seeds."
)
COMPARED = (
    "Differences in points, paired by row and seed. p-values and intervals are corrected over all {family} differences "
    "together (Holm), so an interval excludes zero exactly where p < 0.05."
)


BEST = (
    "How often a right answer scores highest among one right and three wrong answers to one prompt, times 100: the "
    "mean over all draws of four from the answers in all sets. Ties are shared, so chance is 25. Rows with fewer than "
    "three different wrong answers are left out. Rows: mean over seeds."
)


def card_sections(cards: Cards) -> list[Section]:
    """Accuracy and differences; none without a card."""
    if not cards.runs:
        return []
    drawn = accuracy_picture(cards)
    tables: list[Block] = []
    for test_set in cards.sets:
        tables += [Subtitle(_capital(TEST_SETS[test_set])), Table(accuracy_grid(cards, test_set))]
    if (best := best_grid(cards)) is not None:
        tables += [Subtitle("Best of four answers"), Text(BEST), Table(best)]
    return [
        Section("Reward models on held-out pairs", [Text(_explained(cards)), *tables, *([drawn] if drawn else [])]),
        Section("Which reward model ranks better", _differences(cards)),
    ]


def _explained(cards: Cards) -> str:
    """How to read the tables, and what their seeds vary."""
    data_seeds = {name: {seed: run.data_seed for seed, run in runs.items()} for name, runs in cards.methods.items()}
    return " ".join([EXPLAINED, *seeds_notes(data_seeds)])


def differences_of(cards: Cards) -> list[Difference]:
    """Every label RM against its rivals, on every set and in every column, corrected over all of them."""
    return corrected(
        [
            cards.difference(better, than, test_set, column)
            for better, than in cards.rivals()
            for column in cards.columns
            for test_set in cards.sets
        ]
    )


def card_tables(cards: Cards) -> str:
    """What a terminal shows: a table a set, in Markdown."""
    tables = [f"{_capital(TEST_SETS[each])}\n\n{markdown_grid(accuracy_grid(cards, each))}" for each in cards.sets]
    if (best := best_grid(cards)) is not None:
        tables.append(f"Best of four answers (chance 25)\n\n{markdown_grid(best)}")
    return "\n\n".join(tables)


def write_card_tables(cards: Cards, folder: Path, name: str) -> None:
    """Write ``name``.csv and reward_model_differences.csv; values are not multiplied by 100."""
    import polars

    lines = polars.DataFrame(list(card_rows(cards)), infer_schema_length=None)
    differences = polars.DataFrame(list(difference_rows(differences_of(cards))), infer_schema_length=None)
    write_atomic(folder / f"{name}.csv", csv_text(lines))
    write_atomic(folder / "reward_model_differences.csv", csv_text(differences))


def card_origins(cards: Cards, links: Links) -> Grid:
    """Where each card lies, and how it was made."""
    titles = ("reward model", "seed", "report card", "fingerprint", "code", "command")
    return Grid(
        [Heading(title, is_number=title == "seed") for title in titles],
        [_origin(name, run, links) for name in cards.methods for run in cards.folders(name)],
    )


def _origin(name: str, run: CardRun, links: Links) -> list[Cell]:
    file = run.path / "provenance.json"
    provenance = read_json(file) if file.exists() else {}
    return [
        Cell(name),
        Cell(str(run.seed)),
        Cell(run.path.name, href=links.to(run.path)),
        Cell(run.path.name.rsplit("-", 1)[-1], is_code=True),
        Cell(version_of(provenance)),
        Cell(str(provenance.get("command", MISSING)), is_code=True),
    ]


def accuracy_grid(cards: Cards, test_set: str) -> Grid:
    """One line a reward model: accuracy per task and over all, beside the two baselines."""
    titles = ["reward model", *cards.columns, "label-only", "length-only", "pairs", "seeds"]
    headings = [Heading(title, is_number=place > 0) for place, title in enumerate(titles)]
    accuracies = {column: _accuracies(cards, test_set, column) for column in cards.columns}
    judged = [name for name in cards.methods if any(each[name] for each in accuracies.values())]
    cells = {column: _accuracy_cells(each) for column, each in accuracies.items()}
    return Grid(headings, [_line(cards, test_set, name, [each[name] for each in cells.values()]) for name in judged])


def _line(cards: Cards, test_set: str, name: str, cells: Sequence[Cell]) -> list[Cell]:
    known = [cards.baseline(name, test_set, baseline) for baseline in BASELINES]
    return [
        Cell(name, sources=_sources(cards, name)),
        *cells,
        *(Cell(MISSING if value is None else shown_value(value)) for value in known),
        Cell(f"{cards.pair_count(name, test_set):.0f}"),
        Cell(str(len(cards.methods[name]))),
    ]


def best_grid(cards: Cards) -> Grid | None:
    """One line a reward model: best-of-4 accuracy per task and over all; None where no row has four answers."""
    titles = ["reward model", *cards.columns, "chance", "rows", "seeds"]
    found = {column: {name: cards.best_of_four(name, column) for name in cards.methods} for column in cards.columns}
    judged = [name for name in cards.methods if any(each[name] for each in found.values())]
    cells = {column: _accuracy_cells(each) for column, each in found.items()}
    lines = [
        [
            Cell(name, sources=_sources(cards, name)),
            *(each[name] for each in cells.values()),
            Cell("25.0"),
            Cell(f"{cards.best_count(name):.0f}"),
            Cell(str(len(cards.methods[name]))),
        ]
        for name in judged
    ]
    return Grid([Heading(title, is_number=place > 0) for place, title in enumerate(titles)], lines) if lines else None


def accuracy_picture(cards: Cards) -> Picture | None:
    """A panel a set, a bar a reward model, over all tasks; None where no set has a number over all tasks."""
    panels = [panel for test_set in cards.sets if (panel := _panel(cards, test_set)).marks]
    alt = "Accuracy of each reward model on each set of pairs"
    return Picture("reward_models", alt, panels, []) if panels else None


def _panel(cards: Cards, test_set: str) -> Panel:
    column = _headline(cards)
    bars = [
        Bar(name, [(each.value, 0)], shown_value(each.value), (each.low, each.high), _sources(cards, name))
        for name, each in _accuracies(cards, test_set, column).items()
        if each is not None
    ]
    return Panel(TEST_SETS[test_set], bars, f"{column}, pairs ranked right, %")


def sentence(difference: Difference) -> str:
    """A difference in plain words."""
    where = f"{TEST_SETS[difference.test_set]}, {difference.column}"
    if difference.estimate is None:
        return f"{difference.better} and {difference.than} are not compared on {where}: {difference.reason}."
    value = difference.estimate
    verdict = "differ significantly" if difference.p_holm < SIGNIFICANT else "do not differ significantly"
    seeds = f"{value.seeds} seed{'s' if value.seeds > 1 else ''}, interval over {value.basis}"
    numbers = f"{points(value.value)} points {points_interval(value)}, {p_text(difference.p_holm)}"
    return f"{difference.better} and {difference.than} {verdict} on {where}: {numbers} ({seeds})."


def _differences(cards: Cards) -> list[Block]:
    differences = differences_of(cards)
    if not differences:
        return [Text("No label RM was judged on the same pairs as a reward model of another kind.")]
    first = [each for each in differences if each.column == _headline(cards) and each.test_set == cards.sets[0]]
    told = [Told(sentence(each), _both(cards, each)) for each in first]
    note = COMPARED.format(family=sum(each.estimate is not None for each in differences))
    return [Sentences(told), Table(_difference_grid(cards, differences)), Notes([note])]


def _difference_grid(cards: Cards, differences: Sequence[Difference]) -> Grid:
    """One line two reward models and a column, a column a set."""
    headings = [Heading(title, is_number=False) for title in ("difference", "column")]
    headings += [Heading(TEST_SETS[name]) for name in cards.sets]
    lines: dict[tuple[str, str, str], list[Cell]] = {}
    for each in differences:
        lines.setdefault((each.better, each.than, each.column), []).append(_points_cell(cards, each))
    return Grid(
        headings,
        [[Cell(f"{better} − {than}"), Cell(column), *cells] for (better, than, column), cells in lines.items()],
    )


def _points_cell(cards: Cards, difference: Difference) -> Cell:
    if difference.estimate is None:
        return Cell(MISSING, difference.reason)
    return Cell(
        points(difference.estimate.value), points_interval(difference.estimate), sources=_both(cards, difference)
    )


def _both(cards: Cards, difference: Difference) -> list[Source]:
    return [*_sources(cards, difference.better), *_sources(cards, difference.than)]


def _sources(cards: Cards, method: str) -> list[Source]:
    return [Source(run.path) for run in cards.folders(method)]


def _headline(cards: Cards) -> str:
    """The column that stands for all of them."""
    return AVERAGE if AVERAGE in cards.columns else cards.columns[0]


def _accuracies(cards: Cards, test_set: str, column: str) -> dict[str, Estimate | None]:
    return {name: cards.accuracy(name, test_set, column) for name in cards.methods}


def _accuracy_cells(accuracies: Mapping[str, Estimate | None]) -> dict[str, Cell]:
    """A column; best and second by the value as shown, unless there is nothing to compare."""
    marks = ranked({name: each.value for name, each in accuracies.items() if each is not None})
    return {
        name: Cell(MISSING) if each is None else _cell(each, marks.get(name, "")) for name, each in accuracies.items()
    }


def _cell(accuracy: Estimate, mark: Mark) -> Cell:
    spread = "" if accuracy.sd is None else f" ± {shown_value(accuracy.sd)}"
    return Cell(
        shown_value(accuracy.value), f"[{shown_value(accuracy.low)}, {shown_value(accuracy.high)}]", mark, spread
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
