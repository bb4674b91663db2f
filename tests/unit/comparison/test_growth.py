"""What a comparison costs grows no faster than its runs: counted in lines of Python, never by the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.claims.rivals import measure_gains, told_of
from rewardlab.comparison import label_shares
from rewardlab.comparison.evaluations import EvalRun, MethodKey
from rewardlab.comparison.frames import frame
from rewardlab.comparison.grid import grid
from rewardlab.comparison.markdown import to_markdown
from rewardlab.comparison.method_names import row_names
from rewardlab.comparison.runs import LeftOut, collect
from rewardlab.comparison.table import ComparisonTable, build_table
from tests.support.runs import both, eval_folder, ppo_folder
from tests.support.steps import steps

SMALL, LARGE = 60, 120


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> EvalRun:
    folder = eval_folder(tmp_path_factory.mktemp("runs") / "run", columns={"toy": both(5, 6, 10)})
    return collect([folder]).runs[0]


def assert_linear(work: Callable[[int], object]) -> None:
    """The steps a unit are the same at twice the size; what is quadratic takes twice as many."""
    work(2)  # imports and caches
    small, large = (steps(lambda size=size: work(size)) for size in (SMALL, LARGE))  # type: ignore[misc]
    assert small < large < 2.1 * small


def table_of(run: EvalRun, methods: int) -> ComparisonTable:
    """Many methods that answer alike; only the first row is made from its cells."""
    table = build_table([run], resamples=20)
    names = [f"method {number}" for number in range(methods)]
    rows = [replace(table.rows[0], key=replace(run.key, method=name), name=name) for name in names]
    return replace(table, rows=rows)


@pytest.mark.parametrize("shown", [grid, to_markdown, frame])
def test_a_table_in_its_rows(run: EvalRun, shown: Callable[[ComparisonTable], object]) -> None:
    tables = {size: table_of(run, size) for size in (2, SMALL, LARGE)}
    assert_linear(lambda size: shown(tables[size]))


@pytest.mark.parametrize("method", ["one method", "method {}"])
def test_names_in_methods(method: str) -> None:
    keys = [MethodKey(method.format(number), "sft", reward=f"rule + {number}") for number in range(LARGE)]
    assert_linear(lambda size: row_names(keys[:size]))
    assert len(set(row_names(keys).values())) == LARGE


def test_measures_against_one_rival(run: EvalRun) -> None:
    tables = {size: table_of(run, size) for size in (2, SMALL, LARGE)}
    assert_linear(lambda size: list(told_of(measure_gains(tables[size], ["method 0"]))))


def test_the_label_shares_of_a_rival_are_resampled_once(run: EvalRun, monkeypatch: pytest.MonkeyPatch) -> None:
    methods, asked = 12, []
    original = label_shares.column_means
    monkeypatch.setattr(label_shares, "column_means", lambda *given: asked.append(1) or original(*given))
    table = table_of(run, methods)
    own = [replace(row, cells={p: {0: replace(c[0])} for p, c in row.cells.items()}) for row in table.rows]
    gains = measure_gains(replace(table, rows=own), ["method 0"])
    assert len([gain for gain in gains if gain.measure == "label shift"]) == 2 * (methods - 1)  # two decodings
    assert len(asked) == 2 * methods  # each row once, the rival too


def test_seeds_of_one_method(run: EvalRun) -> None:
    runs = [replace(run, seed=seed) for seed in range(LARGE)]
    assert_linear(lambda size: build_table(runs[:size], resamples=20))


def test_what_was_left_out() -> None:
    class Line(str):
        """A text that tells how often it was compared."""

        compared = 0

        def __eq__(self, other: object) -> bool:
            Line.compared += 1
            return str.__eq__(self, str(other))

        __hash__ = str.__hash__

    left_out = LeftOut()
    for number in (*range(LARGE), 7):
        left_out.add(Line(f"run {number}"))
    assert left_out.lines == [f"run {number}" for number in range(LARGE)]
    assert Line.compared <= 2 * LARGE  # one list would be compared 7 000 times


def test_evaluations_of_named_runs(tmp_path: Path) -> None:
    def make(size: int) -> list[Path]:
        runs = [ppo_folder(tmp_path / str(size) / "ppo" / f"p{number}", []) for number in range(size)]
        for number, trained in enumerate(runs):
            where = tmp_path / str(size) / "eval" / f"e{number}"
            eval_folder(where, method=f"M{number}", model_run=trained, columns={"toy": both(1, 1, 4)})
        return runs

    named = {size: make(size) for size in (2, SMALL // 3, LARGE // 3)}
    collect(named[2])
    small, large = (steps(lambda size=size: collect(named[size])) for size in (SMALL // 3, LARGE // 3))  # type: ignore[misc]
    assert small < large < 2.1 * small
