"""What ``suite run`` shows before it begins: stages, time and money, and how settings are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.annotate.registry import named_annotator
from rewardlab.claims.claim import claims_sha256
from rewardlab.cli.output import echo
from rewardlab.config_loading import CONFIG_FILE
from rewardlab.errors import InputError, ModelError
from rewardlab.models.names import check_model
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stages.encoder import encoder_name
from rewardlab.printable import printable
from rewardlab.suites.cells import Cell
from rewardlab.suites.file import Suite
from rewardlab.suites.grid import combinations
from rewardlab.suites.own_code import own_code
from rewardlab.suites.plan import Plan, PlanRow, make_plan

if TYPE_CHECKING:
    from rewardlab.comparison.grid import Grid

UNKNOWN = "unknown"
ROUGHLY = "~"
UNNAMED = "a folder that is named when its rows are read"


def print_plan(suite: Suite, todo: Sequence[Cell], root: Path, rows: Rows, *, to_stderr: bool) -> None:
    """The plan as a table, and what stands behind it."""
    from rich.console import Console

    from rewardlab.comparison.terminal import rich_grid

    plan = make_plan(todo, root, suite.claim, rows, suite.against)
    console = Console(stderr=to_stderr)
    console.print(rich_grid(_grid(plan)))
    for line in _notes(suite, todo, plan):
        console.print(printable(line), style="dim", markup=False, highlight=False)


def print_own_code(suite: Suite, *, to_stderr: bool) -> None:
    """A line for each piece of code that the suite file names and that is not rewardlab's."""
    for line in own_code(suite):
        echo(f"runs code of your own: {line}", err=to_stderr)


def print_cells(todo: Sequence[Cell], root: Path) -> None:
    """One line a goal of each cell: its state and its folder."""
    for cell in todo:
        for goal in cell.goals:
            folder = goal.folder(root)
            state = "done" if folder.is_done else "to run"
            what = f"{cell.title}: try of {goal.title}" if cell.again else cell.title
            echo(f"[{state}] {what}: {folder.path if goal.has_rows else UNNAMED}")


def print_missing_models(todo: Sequence[Cell]) -> None:
    """A line for each model that a run could not have here."""
    encoders = [encoder_name(cell.config) for cell in todo if cell.stage == "encoder"]
    for name in dict.fromkeys([*(cell.model for cell in todo), *encoders]):
        try:
            check_model(name)
        except ModelError as error:
            echo(f"the plan stands, a run would stop here: {error}")


def print_missing_key(todo: Sequence[Cell]) -> None:
    """A line when a run would ask a hosted model without a key."""
    try:
        for cell in todo:
            if annotator := named_annotator(cell.config):
                annotator.check_access()
    except InputError as error:
        echo(f"the plan stands, a run would stop here: {error}")


def print_missing_rows(rows: Rows) -> None:
    """A line on the tasks whose rows a run could not have here."""
    lacking = rows.lacking
    if lacking:
        others = list(lacking)[1:]
        also = f". Nor are there any for {', '.join(others)}" if others else ""
        echo(f"the plan stands, a run would stop here: {next(iter(lacking.values()))}{also}")


def _grid(plan: Plan) -> Grid:
    from rewardlab.comparison.grid import Cell as Shown
    from rewardlab.comparison.grid import Grid, Heading

    titles = ("stages", "finished", "to run", "seconds", "requests", "USD at most")
    headings = [Heading(title, is_number=place > 0) for place, title in enumerate(titles)]
    rows = [*plan.rows, plan.total]
    return Grid(headings, [[Shown(text) for text in _texts(row)] for row in rows])


def _texts(row: PlanRow) -> list[str]:
    seconds = UNKNOWN if row.seconds is None else f"{ROUGHLY if row.is_rough else ''}{row.seconds:.0f}"
    cost = UNKNOWN if row.cost_usd is None else f"{row.cost_usd:.4f}"
    requests = UNKNOWN if row.requests is None else str(row.requests)
    return [row.kind, str(row.done), str(row.to_run), seconds, requests, cost]


def _notes(suite: Suite, todo: Sequence[Cell], plan: Plan) -> list[str]:
    """How to read the plan, and what it cannot count."""
    lines = [f"{len(todo)} cells. Seconds: as finished stages like them took, one after the other."]
    if plan.total.is_rough:
        lines.append(
            f"{ROUGHLY}: none like them is finished here; as measured with the embedded model on two CPU cores."
        )
    lines += _grid_notes(suite)
    if suite.claim:
        lines.append(
            f"{len(suite.claim)} claims, sha256 {claims_sha256(suite.claim)}; the report prints the same hash."
        )
    if Path(CONFIG_FILE).exists():
        lines.append(f"{CONFIG_FILE} in this folder is not read: what a suite compares stands in its own file.")
    if not all(goal.has_rows for cell in todo for goal in cell.goals):
        lines.append("Rows that are not here: stages that read them count as not finished.")
    if plan.waiting and not suite.only_grid:
        lines.append(f"{plan.waiting} cells wait for that choice; what they need besides the tries is not counted.")
    return lines


def _grid_notes(suite: Suite) -> list[str]:
    """What is tried, a line for each grid, with the methods that have it."""
    grids: dict[str, list[str]] = {}
    for number, method in enumerate(suite.method, 1):
        if values := suite.grid_of(method):
            text = ", ".join(f"{key} of {', '.join(map(str, tried))}" for key, tried in values.items())
            count = len(combinations(values))
            grids.setdefault(f"{count} tries each ({text})", []).append(method.name or f"method {number}")
    seeds = f"seed{'s' if len(suite.tried_on) > 1 else ''} {', '.join(map(str, suite.tried_on))}"
    end = "; nothing is evaluated, no test row is answered" if suite.only_grid else ""
    return [
        f"grid: {text} for {'; '.join(names)}, on {seeds}, chosen on validation rows{end}."
        for text, names in grids.items()
    ]
