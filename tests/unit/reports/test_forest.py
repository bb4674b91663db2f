"""The forest plot: which differences it draws, where they stand, and the files that become of it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rewardlab.comparison.differences import gains
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import build_table
from rewardlab.reports import forest
from rewardlab.reports.charts import Difference, Panel, Picture
from rewardlab.reports.drawing import draw_forest
from rewardlab.reports.forest import forest_picture
from tests.support.commands import Command
from tests.support.runs import both, eval_folder

RIGHT = {"SFT w. rationale": (80, 80), "A <b>$x$</b>": (150, 82), "B": (20, 81), "C": (120, 30)}
"""Method -> right answers of 200 on two columns."""
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for number, (name, rights) in enumerate(RIGHT.items()):
        columns = {column: both(0, right, 200) for column, right in zip(("toy", "other"), rights, strict=True)}
        eval_folder(tmp_path / "eval" / str(number), method=name, reward="r", columns=columns)
    return tmp_path


def picture(runs: Path, *against: str) -> Picture:
    table = build_table(collect([runs]).runs, resamples=200)
    drawn = forest_picture(table, gains(table, against or ("SFT w. rationale",)))
    assert drawn is not None
    return drawn


def rows(panel: Panel) -> list[Difference]:
    return [mark for mark in panel.marks if isinstance(mark, Difference)]


def test_differences_stand_by_value_with_the_average_first(runs: Path) -> None:
    drawn = picture(runs)
    assert [panel.title for panel in drawn.panels] == ["average", "toy", "other"]
    average, toy, other = map(rows, drawn.panels)
    # means of the two columns less 40: (75 + 41) / 2 = 58, (60 + 15) / 2 = 37.5, (10 + 40.5) / 2 = 25.25
    assert [row.name for row in average] == ["A <b>$x$</b>", "C", "B"]
    assert [row.value for row in average] == pytest.approx([18.0, -2.5, -14.75])
    assert [row.value for row in toy] == pytest.approx([35.0, 20.0, -30.0])
    assert [(row.name, row.sign) for row in other] == [("A <b>$x$</b>", "level"), ("C", "worse"), ("B", "level")]
    assert [row.sign for row in toy] == ["better", "better", "worse"]
    assert all((row.low > 0 or row.high < 0) == (row.sign != "level") for row in (*average, *toy, *other))


def test_equal_methods_stand_in_the_order_of_the_table(tmp_path: Path) -> None:
    names = ["base", *(f"method {letter}" for letter in "qmcxaztb")]
    for number, name in enumerate(names):
        columns = {"toy": both(0, 80 if name == "base" else 120, 200)}
        eval_folder(tmp_path / "eval" / str(number), method=name, reward="r", columns=columns)
    table = build_table(collect([tmp_path]).runs, resamples=200)
    drawn = forest_picture(table, gains(table, ("base",)))
    assert drawn is not None
    assert [row.name for row in rows(drawn.panels[0])] == [row.name for row in table.rows if row.name != "base"]


def test_of_more_methods_than_can_be_read_the_highest_are_drawn_and_the_others_named(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forest, "MOST_ROWS", 2)
    drawn = picture(runs)
    assert [row.name for row in rows(drawn.panels[0])] == ["A <b>$x$</b>", "C"]
    assert "Not drawn, with lower values: B." in drawn.note


def test_groups_are_named_where_there_are_several(runs: Path) -> None:
    svg = draw_forest(picture(runs, "SFT w. rationale", "B"))
    texts = [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert texts.count("minus SFT w. rationale") == 1
    assert texts.count("minus B") == 1
    assert not any(text and text.startswith("minus") for text in re.findall(">(.*?)<", draw_forest(picture(runs))))


def test_intervals_are_drawn_to_scale(runs: Path) -> None:
    """Of one panel, the line of each row: its two ends have the ratio of the numbers around the line at 0."""
    (panel, *_) = picture(runs).panels
    svg = ElementTree.fromstring(draw_forest(Picture("p", "p", [panel], [])))
    drawn = {}
    for group in svg.iter(f"{SVG}g"):
        for path in group.findall(f"{SVG}path"):
            if group.get("data-method") and (
                found := re.fullmatch(r"M ([\d.]+) ([\d.]+) L ([\d.]+) \2", path.get("d"))
            ):
                drawn[group.get("data-method")] = (float(found[1]), float(found[3]))
    assert set(drawn) == {row.name for row in rows(panel)}
    first, second = rows(panel)[0], rows(panel)[2]
    unit = (drawn[first.name][1] - drawn[second.name][0]) / (first.high - second.low)
    for row in rows(panel):
        assert drawn[row.name][1] - drawn[row.name][0] == pytest.approx(unit * (row.high - row.low), abs=0.1)
        assert drawn[row.name][0] - drawn[first.name][0] == pytest.approx(unit * (row.low - first.low), abs=0.1)


def test_names_are_shown_as_they_are(runs: Path) -> None:
    root = ElementTree.fromstring(draw_forest(picture(runs)))
    assert "A <b>$x$</b>" in {element.text for element in root.iter(f"{SVG}text")}
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{name}" for name in ("svg", "g", "path", "text", "title", "use", "defs", "clipPath", "rect")
    }


def test_compare_draws_one_figure(rewardlab: Command, runs: Path) -> None:
    for name, begins in (("f.pdf", b"%PDF"), ("f.svg", b"<svg"), ("f.png", b"\x89PNG")):
        done = rewardlab("compare", str(runs), "--figure", name)
        assert done.code == 0, done.err
        first = Path(name).read_bytes()
        assert first.startswith(begins)
        assert f"written: {name}" in done.out
        assert rewardlab("compare", str(runs), "--figure", name).code == 0
        assert Path(name).read_bytes() == first  # no date, no random ids
    root = ElementTree.parse("f.svg").getroot()
    assert any("prefers-color-scheme: dark" in (element.text or "") for element in root.iter(f"{SVG}style"))


@pytest.mark.parametrize("name", ["f.jpg", "f"])
def test_another_ending_is_refused(rewardlab: Command, runs: Path, name: str) -> None:
    done = rewardlab("compare", str(runs), "--figure", name)
    assert done.code == 2
    assert "expected a file that ends in .pdf, .svg or .png" in done.err
    assert not Path(name).exists()


def test_one_method_has_nothing_to_draw(rewardlab: Command, runs: Path) -> None:
    done = rewardlab("compare", str(runs / "eval" / "0"), "--figure", "f.pdf")
    assert done.code == 2
    assert "no two methods to compare" in done.err
