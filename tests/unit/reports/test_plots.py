"""Pictures: which panels there are, means and bands over seeds, logs that cannot be read; and the SVG they become."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rewardlab.comparison.grid import Source
from rewardlab.reports.charts import OTHER, Bar, Dot, Line, Panel, Picture, draw, write_picture
from rewardlab.reports.plots import (
    CurveRun,
    colours_of,
    curves_picture,
    legend,
    load_curves,
    pair_kinds_picture,
    saturation_picture,
)
from rewardlab.reports.scales import ticks
from tests.support.runs import ppo_folder


def _logs(*names: str) -> list[dict[str, float]]:
    return [{name: float(step) for name in names} for step in range(5)]


def _lines(picture: Picture | None, panel: int = 0) -> list[Line]:
    assert picture is not None
    return [mark for mark in picture.panels[panel].marks if isinstance(mark, Line)]


def test_curves_have_a_panel_for_each_part(tmp_path: Path) -> None:
    names = ("reward/score", "reward/part/label", "reward/part/ranked", "reward/gold_accuracy", "policy/kl")
    folders = [ppo_folder(tmp_path / "a", _logs(*names)), ppo_folder(tmp_path / "b", _logs(*names))]
    picture = curves_picture(load_curves(folders, {}), {"a": 0, "b": 1})
    assert picture is not None
    assert [panel.title.split(",")[0] for panel in picture.panels] == [
        "trained reward",
        "part: label",
        "part: ranked",
        "accuracy against gold (monitored",
        "KL to the reference (nats per response)",
    ]
    assert picture.legend == [("a", 0), ("b", 1)]


def test_seeds_of_a_method_are_one_line_with_a_band() -> None:
    runs = [CurveRun(Path(str(seed)), "RLLR", {"policy/kl": {0: 0.0, 1: seed + 1.0, 2: 9.0}}) for seed in (1, 2, 3)]
    del runs[1].series["policy/kl"][2]  # type: ignore[attr-defined]  # a run that stopped a step earlier
    (line,) = _lines(curves_picture(runs, {"RLLR": 0}))
    # step 1: 2, 3 and 4, mean 3, sd over seeds sqrt((1 + 0 + 1) / (3 - 1)) = 1
    assert (line.x, line.y) == ([0, 1], [0.0, 3.0])
    assert (line.low, line.high) == ([0.0, 2.0], [0.0, 4.0])
    assert [source.path.name for source in line.sources] == ["1", "2", "3"]
    (alone,) = _lines(curves_picture(runs[:1], {"RLLR": 0}))
    assert (alone.y, alone.low, alone.high) == ([0.0, 2.0, 9.0], (), ())


def test_a_step_written_twice_counts_as_written_last(tmp_path: Path) -> None:
    folder = ppo_folder(tmp_path / "a", _logs("policy/kl"))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "policy/kl": 40.0, "reward/lambda_saturation": null}\n')
    (run,) = load_curves([folder], {})
    assert run.series == {"policy/kl": {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 40.0}}


def test_curves_are_named_by_the_evaluation(tmp_path: Path) -> None:
    trained = ppo_folder(tmp_path / "ppo-1", _logs("policy/kl"))
    assert [curve.method for curve in load_curves([trained], {"ppo-1": "RLLR"})] == ["RLLR"]
    assert [curve.method for curve in load_curves([trained], {})] == ["ppo-1"]


def test_an_unreadable_log_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = ppo_folder(tmp_path / "broken", _logs("policy/kl"))
    (broken / "metrics.jsonl").write_text("{torn\n")
    assert load_curves([broken], {}) == []
    assert "broken: left out of the curves" in caplog.text


def test_saturation_is_drawn_for_runs_with_lambda_only(tmp_path: Path) -> None:
    plain = CurveRun(tmp_path, "RLLR", {"policy/kl": {0: 0.1}})
    mixed = CurveRun(tmp_path, "RLLR-mixed (λ = 5)", {"reward/lambda_saturation": {0: 0.0, 1: 0.5}})
    colours = colours_of(["RLLR", "RLLR-mixed (λ = 5)"])
    assert saturation_picture([plain], colours) is None
    assert [line.name for line in _lines(saturation_picture([plain, mixed], colours))] == ["RLLR-mixed (λ = 5)"]


def test_pair_kinds_have_a_bar_for_each_task() -> None:
    shares = {"a": {"rationale_sensitive": 0.8, "label_sensitive": 0.2}, "b": {"rationale_sensitive": 1.0}}
    picture = pair_kinds_picture(shares, {"a": [Source(Path("p"))]})
    assert picture is not None
    assert picture.panels[0].marks == [
        Bar("a", [(0.8, 0), (0.2, 1), (0.0, OTHER)], "80.0", sources=[Source(Path("p"))]),
        Bar("b", [(1.0, 0), (0.0, 1), (0.0, OTHER)], "100.0"),
    ]
    assert pair_kinds_picture({}, {}) is None


def test_nothing_logged_draws_nothing() -> None:
    assert curves_picture([], {}) is None


def test_methods_beyond_the_tenth_share_a_grey() -> None:
    colours = colours_of(f"m{number}" for number in range(12))
    assert list(colours.values()) == [*range(10), OTHER, OTHER]
    assert legend(colours, colours)[-1] == ("2 others", OTHER)
    assert legend(["m1", "m11"], colours) == [("m1", 1), ("m11", OTHER)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 10.0, [0, 2, 4, 6, 8, 10]), (-0.02, 0.02, [-0.02, -0.01, 0, 0.01, 0.02]), (61.0, 93.0, [70, 80, 90])],
)
def test_ticks_are_round_numbers_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def drawn_markers(svg: str) -> list[tuple[str, str, str]]:
    """Colour, across and down of every point."""
    return re.findall(r'<path class="mark(?: open)? c(\d+)" transform="translate\(([\d.]+) ([\d.]+)\)"', svg)


def test_places_in_a_panel_are_worked_out_by_hand() -> None:
    svg = draw(Panel("dots", [Dot("a", 0, 0.0, 50.0, 40.0, 60.0), Dot("b", 1, 10.0, 50.0, 50.0, 50.0)], "x"))
    # x: -0.5 to 10.5 over 48 to 368, 320 units; y: 39 to 61 over 202 up to 28
    assert drawn_markers(svg) == [
        ("0", "62.5", "115.0"),  # 48 + 0.5 / 11 * 320, middle of 202 and 28
        ("1", "353.5", "115.0"),
    ]
    assert 'd="M62.5 194.1V35.9"' in svg  # 202 - 1 / 22 * 174; 202 - 21 / 22 * 174
    assert "a: 0; 50.0 [40.0, 60.0]" in svg


def test_points_that_cover_each_other_stay_where_their_numbers_are() -> None:
    """Three methods of one cost, two of them nearly level, and one nearby: none is moved."""
    costs, values = (2000.0, 2000.0, 2000.0, 2100.0, 9000.0), (80.0, 80.5, 92.0, 80.0, 85.0)
    dots = [Dot(f"m{n}", n, x, y, y - 3, y + 3) for n, (x, y) in enumerate(zip(costs, values, strict=True))]
    svg = draw(Panel("cost", dots, "calls"))
    # x: 7000 and 5 % air, 1650 to 9350 over 48 to 368; y: 77 to 95 and air, 76.1 to 95.9 over 202 up to 28
    expected = [
        (str(n), f"{48 + (x - 1650) / 7700 * 320:.1f}", f"{202 - (y - 76.1) / 19.8 * 174:.1f}")
        for n, (x, y) in enumerate(zip(costs, values, strict=True))
    ]
    assert drawn_markers(svg) == expected
    # open where they overlap; caps of widths of their own where whiskers lie on each other
    assert [match == "mark open" for match in re.findall(r'class="(mark(?: open)?) c', svg)] == [
        True,
        True,
        False,
        True,
        False,
    ]
    caps = [re.findall(r"H([\d.]+)", path) for path in re.findall(r'class="whisker c\d" d="([^"]+)"', svg)]
    places = [float(across) for _, across, _ in expected]
    widths = [round(float(ends[0]) - across, 1) if ends else 0 for ends, across in zip(caps, places, strict=True)]
    assert len(set(widths[:4])) == 4
    assert widths[4] == 0


def test_every_method_has_a_marker_of_its_own_in_the_legend(tmp_path: Path) -> None:
    dots = [Dot(name, n, float(n), 1.0, 0.0, 2.0) for n, name in enumerate("abcdefghij")]
    picture = Picture("p", "alt", [Panel("p", dots)], [(name, n) for n, name in enumerate("abcdefghij")])
    keys = [picture.key(n) for n in range(10)]
    assert len(set(keys)) == 10
    assert len({re.sub(r"c\d", "", key) for key in keys}) == 5  # shapes, each in two colours
    assert all(key in write_picture(picture, tmp_path).read_text() for key in keys)


def test_a_picture_is_a_file_of_its_own(tmp_path: Path) -> None:
    line = Line("R<1>", 3, [0, 1], [0.0, 1.0], sources=[Source(Path("run"))])
    panels = [Panel(f"p & {number}", [line], "step") for number in range(4)]
    path = write_picture(Picture("curves", "alt", panels, [("R<1>", 3)]), tmp_path)
    root = ElementTree.parse(path).getroot()
    assert path.name == "curves.svg"
    assert root.attrib["viewBox"] == "0 0 1140 504"  # three of 380 wide; two rows of 240 and one line of legend, 18 + 6
    assert "p & 3" in {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert "<a " not in path.read_text()
