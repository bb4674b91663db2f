"""Pictures: that they are PNGs of the expected size, and draw what they were given."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from rewardlab.reports.collect import load_eval
from rewardlab.reports.plots import CurveRun, draw_curves, draw_pair_kinds, draw_saturation, load_curves
from tests.support.runs import both, eval_folder, ppo_folder

PANEL = (528, 384)  # 4.4 x 3.2 inches at 120 dots


def _size(path: Path) -> tuple[int, int]:
    """Width and height from a PNG's header; fails on anything else."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", header[16:24])
    return width, height


def _logs(*names: str) -> list[dict[str, float]]:
    return [{name: float(step) for name in names} for step in range(5)]


def test_curves_have_a_panel_for_each_part(tmp_path: Path) -> None:
    names = ("reward/score", "reward/part/label", "reward/part/ranked", "reward/gold_accuracy", "policy/kl")
    runs = load_curves([ppo_folder(tmp_path / "a", _logs(*names)), ppo_folder(tmp_path / "b", _logs(*names))])
    path = draw_curves(runs, tmp_path / "deep" / "curves.png")
    assert path is not None
    assert _size(path) == (3 * PANEL[0], 2 * PANEL[1])  # five panels in rows of three
    assert path.stat().st_size > 10_000


def test_seeds_of_a_method_are_one_line_with_a_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: list[list[float]] = []
    bands: list[tuple[list[float], list[float]]] = []
    plot, fill = Axes.plot, Axes.fill_between
    monkeypatch.setattr(Axes, "plot", lambda axes, x, y, **kw: drawn.append(list(y)) or plot(axes, x, y, **kw))
    monkeypatch.setattr(
        Axes, "fill_between", lambda axes, x, a, b, **kw: bands.append((list(a), list(b))) or fill(axes, x, a, b, **kw)
    )
    runs = [CurveRun(Path(str(seed)), "RLLR", {"policy/kl": {0: 0.0, 1: float(seed)}}) for seed in (1, 3)]
    draw_curves(runs, tmp_path / "curves.png")
    # step 1: 1 and 3, mean 2, sd 1
    assert drawn == [[0.0, 2.0]]
    assert bands == [([0.0, 1.0], [0.0, 3.0])]


def test_a_step_written_twice_counts_as_written_last(tmp_path: Path) -> None:
    folder = ppo_folder(tmp_path / "a", _logs("policy/kl"))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "policy/kl": 40.0, "reward/lambda_saturation": null}\n')
    (run,) = load_curves([folder])
    assert run.series == {"policy/kl": {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 40.0}}


def test_curves_are_named_by_the_evaluation(tmp_path: Path) -> None:
    trained = ppo_folder(tmp_path / "ppo-1", _logs("policy/kl"))
    run = load_eval(eval_folder(tmp_path / "e", method="RLLR", model_run=trained, columns={"toy": both(1, 1, 2)}))
    assert [curve.method for curve in load_curves([trained], [run])] == ["RLLR"]
    assert [curve.method for curve in load_curves([trained])] == ["ppo-1"]


def test_an_unreadable_log_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = ppo_folder(tmp_path / "broken", _logs("policy/kl"))
    (broken / "metrics.jsonl").write_text("{torn\n")
    assert load_curves([broken]) == []
    assert "broken: left out of the curves" in caplog.text


def test_saturation_is_drawn_for_runs_with_lambda_only(tmp_path: Path) -> None:
    plain = CurveRun(tmp_path, "RLLR", {"policy/kl": {0: 0.1}})
    mixed = CurveRun(tmp_path, "RLLR-mixed (λ = 5)", {"reward/lambda_saturation": {0: 0.0, 1: 0.5}})
    assert draw_saturation([plain], tmp_path / "none.png") is None
    path = draw_saturation([plain, mixed], tmp_path / "some.png")
    assert path is not None
    assert _size(path) == PANEL


def test_pair_kinds_have_a_bar_for_each_task(tmp_path: Path) -> None:
    shares = {"a": {"rationale_sensitive": 0.8, "label_sensitive": 0.2}, "b": {"rationale_sensitive": 1.0}}
    path = draw_pair_kinds(shares, tmp_path / "pairs.png")
    assert path is not None
    assert _size(path) == (2 * PANEL[0], PANEL[1])
    assert draw_pair_kinds({}, tmp_path / "none.png") is None


def test_nothing_logged_draws_nothing(tmp_path: Path) -> None:
    assert draw_curves([], tmp_path / "curves.png") is None
    assert not (tmp_path / "curves.png").exists()
