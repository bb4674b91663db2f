"""Rows of a run folder as data frames, and ``Compared`` of evaluations made by hand."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest

import rewardlab as rl
from rewardlab.disk import write_json, write_jsonl
from rewardlab.lab.finished import frame_of
from tests.support.runs import both, eval_folder


def test_nested_fields_are_columns_and_mixed_kinds_are_text() -> None:
    rows = [
        {"step": 1, "gold": "Sports", "parts": {"rule": 1}, "shaped": {"kl": 0.5}, "score": 1},
        {"step": 2, "gold": 3.5, "parts": {"rule": None, "mine": 2.5}, "shaped": None, "score": None},
        {"step": 3, "gold": None, "parts": {}, "terms": {"2 * rule": 0.5}, "score": 0.25},
    ]
    frame = frame_of(rows)
    assert frame.to_dict(as_series=False) == {
        "step": [1, 2, 3],
        "gold": ["Sports", "3.5", None],
        "part/rule": [1, None, None],
        "shaped/kl": [0.5, None, None],
        "score": [1.0, None, 0.25],
        "part/mine": [None, 2.5, None],
        "term/2 * rule": [None, None, 0.5],
    }
    assert frame.schema["score"] == polars.Float64
    assert frame_of([]).shape == (0, 0)


def test_a_run_is_read_whatever_made_it(tmp_path: Path) -> None:
    folder = tmp_path / "pairs" / "toy"
    write_json(folder / "config.json", {"stage": "pairs", "fingerprint": "0", "identity": {}})
    with pytest.raises(rl.RunFolderError, match="no finished run"):
        rl.Run(folder)
    write_json(folder / "result.json", {"outcomes": {"pairs": 1}, "outputs": {"pairs.jsonl": {}}})
    write_jsonl(folder / "pairs.jsonl", [{"chosen": "a", "rejected": "b"}])
    run = rl.Run(folder)
    assert run.result == {"outcomes": {"pairs": 1}}
    assert run.rows("pairs.jsonl").rows() == [("a", "b")]
    assert repr(run) == f"Run('pairs', '{folder}')"


class TestAgainst:
    @pytest.fixture
    def runs(self, tmp_path: Path) -> Path:
        eval_folder(tmp_path / "eval" / "sft-0", columns={"toy": both(70, 80, 200)})
        eval_folder(tmp_path / "eval" / "mix-0", method="RLLR-mixed", reward="x", columns={"toy": both(90, 90, 200)})
        return tmp_path

    def test_the_first_words_of_a_method_are_enough(self, runs: Path) -> None:
        found = rl.compare(runs, against="sft")
        assert {gain.baseline for gain in found.gains} == {"SFT w. rationale"}
        assert set(found.differences()["method"]) == {"RLLR-mixed"}

    def test_a_part_of_a_word_is_not(self, runs: Path) -> None:
        with pytest.raises(rl.InputError, match="no method 'RLLR' among the runs"):
            rl.compare(runs, against="RLLR")

    def test_two_methods_that_begin_so_are_not_chosen_between(self, runs: Path) -> None:
        eval_folder(runs / "eval" / "sft-1", method="SFT on all", columns={"toy": both(75, 80, 200)})
        with pytest.raises(rl.InputError, match="no method 'SFT' among the runs"):
            rl.compare(runs, against="SFT")
        assert {gain.baseline for gain in rl.compare(runs, against="SFT on").gains} == {"SFT on all"}

    def test_values_are_shares_and_decodings_can_be_chosen(self, runs: Path) -> None:
        """Worked by hand: 90 and 70 of 200 right."""
        frame = rl.compare(runs, decoding="sampled").frame()
        assert frame.select("method", "value").sort("method").rows() == [
            ("RLLR-mixed", 0.45),
            ("SFT w. rationale", 0.35),
        ]

    def test_pages_are_written_where_they_are_asked_for(self, runs: Path, tmp_path: Path) -> None:
        found = rl.compare(runs)
        assert found.html(tmp_path / "page.html") == tmp_path / "page.html"
        assert "RLLR-mixed" in (tmp_path / "page.html").read_text(encoding="utf-8")
        assert {path.name for path in found.write(tmp_path / "out")} >= {"table.md", "table.csv", "differences.csv"}
        (tmp_path / "file").touch()
        with pytest.raises(rl.InputError, match="cannot be written"):
            found.html(tmp_path / "file" / "page.html")
