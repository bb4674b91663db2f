"""Pictures: which panels there are, means and bands over seeds, logs that cannot be read; and the SVG they become."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rewardlab.comparison.grid import Source
from rewardlab.reports.charts import OTHER, Bar, Dot, Line, Panel, Picture
from rewardlab.reports.drawing import CSS, draw, write_picture
from rewardlab.reports.placing import Box, overlapping
from rewardlab.reports.plots import (
    CurveRun,
    colours_of,
    curves_picture,
    legend,
    load_curves,
    pair_kinds_picture,
    saturation_picture,
)
from rewardlab.reports.sheet import PALETTE
from tests.support.runs import ppo_folder

SVG = "{http://www.w3.org/2000/svg}"


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


def test_the_best_methods_have_colours() -> None:
    """Of twelve, the two with the lowest values are grey, wherever they stand."""
    values = {f"m{number}": 0.5 + 0.01 * number for number in range(12)}
    colours = colours_of(values, values)
    assert [name for name, colour in colours.items() if colour == OTHER] == ["m0", "m1"]
    assert [colours[f"m{number}"] for number in range(2, 12)] == list(range(10))


def parts_of(svg: str, name: str) -> list[ElementTree.Element]:
    """What is drawn of one method."""
    groups = [each for each in ElementTree.fromstring(svg).iter(f"{SVG}g") if each.get("data-method") == name]
    return [part for group in groups for part in group.iter() if part is not group]


def places(svg: str, name: str) -> list[tuple[float, float]]:
    """Where the markers of a method stand, across and down."""
    return [
        (float(part.get("x", "nan")), float(part.get("y", "nan")))
        for part in parts_of(svg, name)
        if part.tag == f"{SVG}use"
    ]


def test_places_in_a_panel_are_worked_out_by_hand() -> None:
    svg = draw(Panel("dots", [Dot("a", 0, 0.0, 50.0, 40.0, 60.0), Dot("b", 1, 10.0, 50.0, 50.0, 50.0)], "x"))
    # x: -0.5 to 10.5 over 48 to 368, 320 units; y: 39 to 61 over 202 up to 28
    assert places(svg, "a") == [pytest.approx((62.55, 115.0), abs=0.01)]  # 48 + 0.5 / 11 * 320; middle of 202 and 28
    assert places(svg, "b") == [pytest.approx((353.45, 115.0), abs=0.01)]
    lines = [part.get("d") for part in parts_of(svg, "a") if part.tag == f"{SVG}path" and "L" in part.get("d", "")]
    assert "M 62.55 194.09 L 62.55 35.91" in lines  # 202 - 1 / 22 * 174; 202 - 21 / 22 * 174
    assert "a: 0; 50.0 [40.0, 60.0]" in {part.text for part in parts_of(svg, "a") if part.tag == f"{SVG}title"}


def test_points_that_cover_each_other_stay_where_their_numbers_are_and_are_open() -> None:
    """Three methods of one cost, two of them nearly level, and one nearby: none is moved."""
    costs, values = (2000.0, 2000.0, 2000.0, 2100.0, 9000.0), (80.0, 80.5, 92.0, 80.0, 85.0)
    dots = [Dot(f"m{n}", n, x, y, y - 3, y + 3) for n, (x, y) in enumerate(zip(costs, values, strict=True))]
    svg = draw(Panel("cost", dots, "calls"))
    for n, (x, y) in enumerate(zip(costs, values, strict=True)):
        # x: 7000 and 5 % air, 1650 to 9350 over 48 to 368; y: 77 to 95 and air, 76.1 to 95.9 over 202 up to 28
        expected = (48 + (x - 1650) / 7700 * 320, 202 - (y - 76.1) / 19.8 * 174)
        assert places(svg, f"m{n}") == [pytest.approx(expected, abs=0.01)]
    fills = [
        "fill-opacity: 0" in next(part.get("style", "") for part in parts_of(svg, f"m{n}") if part.tag == f"{SVG}use")
        for n in range(5)
    ]
    assert fills == [True, True, False, True, False]


def boxes(svg: str, size: float) -> list[Box]:
    """Where the names in a chart of dots stand, at most."""
    found = []
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        if f"font-size: {size:g}px" in text.get("style", ""):
            width = len(text.text or "") * 5.4 * size / 10
            found.append(Box(float(text.get("x", "nan")), -float(text.get("y", "nan")), width, size * 0.8))
    return found


def test_names_of_points_never_cover_each_other() -> None:
    """Sixty points in three crowds: some names have no room, and those that do stand apart."""
    dots = [Dot(f"method {n}", n % 10, n % 3, 50 + n / 7, 49 + n / 7, 51 + n / 7) for n in range(60)]
    named = boxes(draw(Panel("p", dots)), 10)
    assert 3 <= len(named) < 60
    assert not [1 for n, a in enumerate(named) for b in named[:n] if overlapping(a, b)]
    alone = boxes(draw(Panel("p", [Dot("alone", 0, 1.0, 2.0, 1.0, 3.0)])), 10)
    assert len(alone) == 1


def test_colours_are_variables_and_labels_are_left_alone() -> None:
    svg = draw(
        Panel("#3266c8 $\\frac{1}{2}$", [Line("a_$1$", 0, [0, 1], [0.0, 1.0]), Line("b", 3, [0, 1], [1.0, 0.0])])
    )
    root = ElementTree.fromstring(svg)
    assert "#3266c8 $\\frac{1}{2}$" in {element.text for element in root.iter(f"{SVG}text")}
    assert any("stroke: var(--c0)" in part.get("style", "") for part in parts_of(svg, "a_$1$"))
    assert not re.findall("#[0-9a-f]{6}", " ".join(element.get("style", "") for element in root.iter()))


def test_colours_of_the_page_and_of_paper_are_the_same() -> None:
    light = CSS.read_text(encoding="utf-8").partition("@media")[0]
    assert dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light)) == PALETTE


def test_equal_charts_are_equal_texts_and_panels_of_a_page_have_ids_of_their_own() -> None:
    panel = Panel("p", [Line("a", 0, [0, 1], [0.0, 1.0], [0.0, 0.5], [0.5, 1.5])])
    one, again, other = draw(panel, name="x 0"), draw(panel, name="x 0"), draw(panel, name="x 1")
    assert one == again
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', one)) == ids[0]


def test_letters_that_the_measuring_font_lacks_are_no_warning() -> None:
    assert "\u65e5\u672c" in draw(Panel("p", [Dot("\u65e5\u672c", 0, 1.0, 2.0, 1.0, 3.0)]))


def test_our_style_leaves_the_settings_of_the_process_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        loud = draw(Panel("p", [Line("a", 0, [0, 1], [0.0, 1.0])]))
    assert loud == draw(Panel("p", [Line("a", 0, [0, 1], [0.0, 1.0])]))
    assert dict(matplotlib.rcParams) == before


def test_a_picture_is_a_file_of_its_own(tmp_path: Path) -> None:
    line = Line("R<1>", 3, [0, 1], [0.0, 1.0], sources=[Source(Path("run"))])
    panels = [Panel(f"p & {number}", [line], "step") for number in range(4)]
    svg, pdf = write_picture(Picture("curves", "alt", panels, [("R<1>", 3)]), tmp_path)
    root = ElementTree.parse(svg).getroot()
    assert (svg.name, pdf.name) == ("curves.svg", "curves.pdf")
    assert (
        root.attrib["viewBox"] == "0 0 1140 508"
    )  # three of 380 wide; two rows of 240 and one line of legend, 18 + 10
    texts = {element.text for element in root.iter(f"{SVG}text")}
    assert {"p & 3", "R<1>"} <= texts
    assert "<a " not in svg.read_text()
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in pdf.read_bytes()


def test_long_curves_are_means_over_stretches(tmp_path: Path) -> None:
    """Three hundred steps at their number: points at the means of two steps each."""
    run = CurveRun(tmp_path, "A", {"policy/kl": {step: float(step) for step in range(300)}})
    (line,) = _lines(curves_picture([run], {"A": 0}))
    assert line.x == line.y == [2 * pair + 0.5 for pair in range(150)]


def test_of_many_methods_those_with_colours_are_drawn(tmp_path: Path) -> None:
    runs = [CurveRun(tmp_path, f"m{n}", {"policy/kl": {0: 0.0, 1: float(n)}}) for n in range(40)]
    colours = {f"m{n}": 0 if n == 39 else OTHER for n in range(40)}
    picture = curves_picture(runs, colours)
    assert picture is not None
    assert "m39" in {line.name for line in _lines(picture)}
    assert len(picture.panels[0].marks) == 30
    assert picture.note == "10 more methods are not drawn."
