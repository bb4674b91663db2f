"""What stands under tables about seeds comes from the runs' own configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.comparison.evaluations import data_seed_of
from rewardlab.comparison.latex import to_latex
from rewardlab.comparison.markdown import to_markdown
from rewardlab.comparison.notes import OWN_ROWS, SHARED_ROWS, seeds_notes, shared_rows
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import build_table
from rewardlab.disk import read_json, write_json
from tests.support.runs import both, eval_folder


def evaluated(root: Path, method: str, seed: int, data_seed: int | None) -> Path:
    """An evaluation that stores its seeds as a run does."""
    folder = eval_folder(root / f"{method}-{seed}", method=method, seed=seed, columns={"toy": both(5, 6, 10)})
    stored = read_json(folder / "config.json")
    stored["config"] |= {"seed": seed, "data": {"seed": data_seed}}
    write_json(folder / "config.json", stored)
    return folder


def printed(*folders: Path) -> str:
    return to_markdown(build_table(collect(folders).runs, resamples=100))


class TestTables:
    def test_runs_that_draw_their_own_rows_say_so(self, tmp_path: Path) -> None:
        text = printed(*(evaluated(tmp_path, "SFT", seed, None) for seed in (0, 1)))
        assert OWN_ROWS in text
        assert SHARED_ROWS not in text

    @pytest.mark.parametrize("data_seed", [0, 7])
    def test_runs_on_one_draw_of_the_rows_say_so(self, tmp_path: Path, data_seed: int) -> None:
        text = printed(*(evaluated(tmp_path, "SFT", seed, data_seed) for seed in (0, 1)))
        assert SHARED_ROWS in text
        assert OWN_ROWS not in text

    def test_rows_that_differ_in_it_are_named(self, tmp_path: Path) -> None:
        own = [evaluated(tmp_path, "SFT", seed, None) for seed in (0, 1)]
        shared = [evaluated(tmp_path, "RLLR", seed, 0) for seed in (0, 1)]
        text = printed(*own, *shared)
        assert f"{OWN_ROWS} This holds for SFT." in text
        assert f"{SHARED_ROWS} This holds for RLLR." in text

    def test_one_seed_or_an_unknown_one_varies_nothing_that_could_be_told(self, tmp_path: Path) -> None:
        one = evaluated(tmp_path, "SFT", 0, None)
        bare = [eval_folder(tmp_path / f"bare-{n}", seed=n, columns={"toy": both(5, 6, 10)}) for n in (0, 1)]
        for text in (printed(one), printed(*bare)):
            assert "labelled rows, prompts" not in text

    @pytest.mark.parametrize(("seeds", "is_said"), [(1, False), (2, True), (3, True), (5, False)])
    def test_few_seeds_are_said_to_be_few(self, tmp_path: Path, seeds: int, is_said: bool) -> None:
        text = printed(*(evaluated(tmp_path, "SFT", seed, None) for seed in range(seeds)))
        assert (f"{seeds} seeds: the variance between them " in text) is is_said

    def test_latex_says_it_too(self, tmp_path: Path) -> None:
        table = build_table(collect(evaluated(tmp_path, "SFT", seed, None) for seed in (0, 1)).runs, resamples=100)
        assert f"% {OWN_ROWS}" in to_latex(table)


def test_a_run_without_a_data_seed_draws_its_rows_by_its_own() -> None:
    assert data_seed_of({"config": {"seed": 4, "data": {"seed": None}}}) == 4
    assert data_seed_of({"config": {"seed": 4, "data": {"seed": 0}}}) == 0
    assert data_seed_of({"config": {"seed": 4}}) == 4
    assert data_seed_of({}) is None


def test_seeds_that_share_in_part() -> None:
    assert shared_rows({0: 0, 1: 1, 2: 1}) == "some"
    assert seeds_notes({"SFT": {0: 0, 1: 1, 2: 1}}) == ["Some seeds share labelled rows, prompts and label pairs."]
    assert seeds_notes({}) == []
