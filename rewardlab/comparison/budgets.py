"""What training spent in each method, and who got more.

The table is the same in the terminal and in reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, all_sources
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.runs import trained_once
from rewardlab.comparison.table import ComparisonTable, Row

SPENT = ("updates", "tokens", "forward", "backward", "device_seconds", "prompts", "responses")
"""What training spent, as evaluations store it."""
EVEN = "even_groups"
"""Share of prompts whose responses all had the same score, of which the score teaches nothing."""
TITLES: Mapping[str, str] = {
    "updates": "updates",
    "tokens": "tokens generated",
    "forward": "sequences forward",
    "backward": "sequences backward",
    "device_seconds": "training device seconds",
    "prompts": "prompts",
    "responses": "responses",
}
UNEQUAL = 0.02
"""Budgets that differ by less than this share are called equal: a step ends only after the budget does."""
BUDGETS: Mapping[str, str] = {"updates": "updates", "tokens": "tokens", "seconds": "device_seconds"}
"""A suite's budget -> what it is counted in."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What training of one row spent.

    Attributes:
        amounts: Each of :data:`SPENT`, mean over seeds.
        even: :data:`EVEN`, mean over seeds and runs; None of methods without groups.
        orders: Seed -> fingerprints of the prompts in the order they were read, one a trained run.
    """

    row: Row
    amounts: Mapping[str, float]
    orders: Mapping[int, tuple[str, ...]]
    even: float | None = None


def training_spent(table: ComparisonTable) -> list[Spent]:
    """The rows that say what their training spent."""
    return [spent for row in table.rows if (spent := _spent(row)) is not None]


def budgets_grid(table: ComparisonTable) -> Grid:
    """A line a row that says what its training spent; last, whether it read the first row's prompts in their order.

    Gold labels, annotator calls and seconds of all stages stand in the table of scores.
    """
    spent = training_spent(table)
    groups = any(each.even is not None for each in spent)
    headings = [Heading("method", is_number=False), *(Heading(TITLES[name]) for name in SPENT)]
    headings += [Heading("even groups, %")] if groups else []
    rows = [
        [
            Cell(each.row.name),
            *(Cell(_amount(each, name), sources=all_sources(each.row)) for name in SPENT),
            *([Cell(MISSING if each.even is None else shown_value(each.even))] if groups else []),
            Cell("yes" if _same_prompts(each, spent[0]) else "no"),
        ]
        for each in spent
    ]
    return Grid([*headings, Heading("same prompts", is_number=False)], rows)


def _amount(spent: Spent, name: str) -> str:
    return f"{spent.amounts[name]:.0f}" if name in spent.amounts else MISSING


def budget_lines(table: ComparisonTable, budget: str = "updates") -> list[str]:
    """Whether trained rows were given the same, named where they were not.

    Args:
        table: The comparison.
        budget: ``updates``, ``tokens`` or ``seconds``: what they were meant to be equal in.
    """
    spent = training_spent(table)
    if len(spent) < 2:
        return []
    name = BUDGETS[budget]
    amounts = {each.row.name: each.amounts[name] for each in spent}
    least, most = min(amounts.values()), max(amounts.values())
    listed = ", ".join(f"{row} {amount:.0f}" for row, amount in amounts.items())
    told = f"Budgets differ in {TITLES[name]}: {listed}."
    if most - least <= UNEQUAL * most:
        equal = f"all trained rows have {spent[0].amounts[name]:.0f} {TITLES[name]}"
        told = f"Equal budgets: {equal}, within {100 * UNEQUAL:.0f} %."
    others = [each.row.name for each in spent[1:] if not _same_prompts(each, spent[0])]
    if not others:
        return [told, "All trained rows read the same prompts in the same order."]
    return [told, f"Other prompts, or another order, than {spent[0].row.name}: {', '.join(others)}."]


def _spent(row: Row) -> Spent | None:
    if not all(run.budget for run in row.runs):
        return None
    runs = trained_once(row.runs)
    by_seed = {seed: [run.budget for run in runs if run.seed == seed] for seed in row.seeds}
    amounts = {
        name: fmean(sum(float(each[name]) for each in budgets) for budgets in by_seed.values())
        for name in SPENT
        if all(name in each for budgets in by_seed.values() for each in budgets)
    }
    orders = {
        seed: tuple(str(each.get("prompts_order", "")) for each in budgets_of_seed)
        for seed, budgets_of_seed in by_seed.items()
    }
    even = [float(run.budget[EVEN]) for run in runs if EVEN in run.budget]
    return Spent(row, amounts, orders, fmean(even) if even else None)


def _same_prompts(a: Spent, b: Spent) -> bool:
    """True when the seeds that both have read the same prompts in the same order."""
    common = set(a.orders) & set(b.orders)
    return bool(common) and all(a.orders[seed] == b.orders[seed] for seed in common)
