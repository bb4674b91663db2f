"""README's tables of results say what the results beside the experiments say, after each new run of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results"
NUMBER = re.compile(r"[+−]?\d+(?:\.\d+)?")
START = "SFT w. rationale"
ROUNDED = 0.0501
"""Half of the last printed digit."""
SETS = ("held_out_label", "held_out_ranked", "held_out_rationale", "policy_sampled")
BASELINES = {"length alone": "length_only", "label alone": "label_only"}


def readme_rows(first_heading: str) -> dict[str, list[str]]:
    """First cell -> the others, of README's table whose first heading is this."""
    lines = iter((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    rows: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(f"| {first_heading} |"):
            break
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return rows
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name] = cells
    return rows


def numbers(cell: str) -> list[float]:
    """Every number of a printed cell."""
    return [float(found.replace("−", "-")) for found in NUMBER.findall(cell.replace("−", "-").replace("-", "−"))]


def read(path: Path, **wanted: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV whose cells are these."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from (row for row in csv.DictReader(file) if wanted.items() <= row.items())


def hundredfold(row: Mapping[str, str], names: Sequence[str]) -> list[float]:
    """Numbers of a row, in points."""
    return [100 * float(row[name]) for name in names]


def same(printed: str, measured: Sequence[float]) -> bool:
    """True when a cell prints these numbers."""
    found = numbers(printed)
    return len(found) == len(measured) and found == pytest.approx(measured, abs=ROUNDED)


@pytest.mark.parametrize(("decoding", "at"), [("sampled", 0), ("greedy", 2)])
def test_the_comparison(decoding: str, at: int) -> None:
    folder, printed = RESULTS / "claims-sandbox", readme_rows("method")
    scores = {row["method"]: row for row in read(folder / "table.csv", column="average", decoding=decoding)}
    assert printed.keys() == scores.keys()
    gains = {
        row["method"]: hundredfold(row, ("difference", "low", "high"))
        for row in read(folder / "differences.csv", column="average", decoding=decoding, baseline=START)
    }
    for method, cells in printed.items():
        assert same(cells[at], hundredfold(scores[method], ("value", "low", "high"))), method
        assert same(cells[at + 1], gains.get(method, [])), method
        assert numbers(cells[4]) == [round(float(scores[method]["gold_labels"]))], method
        assert numbers(cells[5]) == [round(float(scores[method]["annotator_calls"]))], method


def test_the_reward_models() -> None:
    table, printed = RESULTS / "rm-sandbox" / "table.csv", readme_rows("reward model")
    models = {row["method"] for row in read(table)}
    assert printed.keys() == models | BASELINES.keys()
    for at, test_set in enumerate(SETS):
        rows = list(read(table, column="average", test_set=test_set))
        assert len(rows) == len(models)
        for row in rows:
            assert same(printed[row["method"]][at], hundredfold(row, ("value", "low", "high")))
            for name, column in BASELINES.items():
                assert same(printed[name][at], hundredfold(row, (column,)))
