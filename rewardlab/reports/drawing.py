"""Charts as matplotlib draws them: SVG that follows the page's colours, and PDF or PNG for papers.

One SVG serves both themes: it is drawn in the light colours of :data:`PALETTE`, and each of them then becomes the
variable of that name in ``assets/chart.css``. Text stays text. Equal charts give equal files.

Lengths are units of 1/72 inch, which are the points of a PDF and, at full size, the pixels of a page.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from rewardlab.comparison.grid import Source
from rewardlab.printable import printable
from rewardlab.reports.charts import (
    OTHER,
    Bar,
    Difference,
    Dot,
    Line,
    Mark,
    Panel,
    Picture,
    number_text,
    shortened,
)
from rewardlab.reports.placing import Box, axis_range, free_place, near_range, overlapping
from rewardlab.runs import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 380, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 28, 38
BAR_LEFT, BAR_RIGHT, BAR_STEP = 150, 42, 24
WIDE, ROW_STEP, GAP = 1120, 21, 18
"""Width of a forest plot on a wide page, height of its rows, and room between its panels."""
NARROW = 360
LETTER = 5.9
"""Width of a letter on the average, at 11 units; an upper bound for names, so that they do not meet the axes."""
BOLD = 6.6
"""The same of bold letters."""
PANELS_PER_ROW = 3
FOREST_PER_ROW = 4
DOT_LETTERS = 24
LABEL_LETTERS = 24
FOREST_LETTERS, NARROW_LETTERS, HEAD_LETTERS = 38, 21, 44
CSS = Path(__file__).parent / "assets" / "chart.css"
PALETTE: Mapping[str, str] = {
    "ink": "#1f2328",
    "soft": "#59636e",
    "faint": "#d5d9de",
    "paper": "#ffffff",
    "c0": "#3266c8",
    "c1": "#d1660f",
    "c2": "#23843b",
    "c3": "#b8304f",
    "c4": "#7a4fc0",
    "c5": "#8a5a2b",
    "c6": "#c2418f",
    "c7": "#5f6b0d",
    "c8": "#0c8797",
    "c9": "#8c7a00",
    "c10": "#9aa1a9",
}
"""Variable -> its colour on light paper, as ``assets/chart.css`` has it."""
SIGN_COLOURS = {"better": "c0", "worse": "c1", "level": "ink", "missing": "soft"}
MARKERS = "osD^v"
STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "figure.dpi": 72,
    "savefig.dpi": "figure",
    "axes.unicode_minus": True,
    "text.color": PALETTE["ink"],
    "xtick.labelcolor": PALETTE["ink"],
    "ytick.labelcolor": PALETTE["ink"],
    "axes.labelcolor": PALETTE["ink"],
    "axes.edgecolor": PALETTE["faint"],
    "grid.color": PALETTE["faint"],
    "axes.grid": True,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.linewidth": 1.0,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlepad": 8,
    "axes.labelsize": 11,
    "lines.solid_capstyle": "butt",
    "lines.solid_joinstyle": "round",
    "figure.facecolor": PALETTE["paper"],
}
FORMATS = ("svg", "pdf", "png")
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
Attributes = Mapping[str, str]
Link = Callable[[Sequence[Source]], Attributes]
"""Attributes of a link to runs, or none."""
_lock = threading.Lock()


def no_link(sources: Sequence[Source]) -> Attributes:
    """For pictures outside the page."""
    return {}


def draw(panel: Panel, link: Link = no_link, name: str = "", *, has_title: bool = True) -> str:
    """A panel as an ``svg`` element.

    Args:
        panel: What to draw.
        link: Attributes of links to runs.
        name: Tells it from the others of a page.
        has_title: False where its title stands above it.
    """
    with _matplotlib(f"{name} {panel.title}"):
        sheet = _sheet([panel if has_title else replace(panel, title="")], 1, ())
        return _svg_element(sheet, link, panel.title)


def draw_forest(picture: Picture, link: Link = no_link, *, is_narrow: bool = False) -> str:
    """A forest plot as an ``svg`` element: its panels side by side, or on a phone one below the other."""
    with _matplotlib(f"{picture.name} {is_narrow}"):
        sheet = _forest_sheet(picture.panels, is_narrow)
        return _svg_element(sheet, link, picture.alt)


def write_picture(picture: Picture, folder: Path, formats: Sequence[str] = ("svg", "pdf")) -> list[Path]:
    """Write a picture with its legend into a folder, a file a format; returns the files.

    The SVG follows the reader's dark or light setting; PDF and PNG are on white.
    """
    files = [folder / f"{picture.name}.{each}" for each in formats]
    for file in files:
        write_figure(picture, file)
    return files


def write_figure(picture: Picture, file: Path) -> Path:
    """Write a picture with its legend as the format that the file's ending names: one of :data:`FORMATS`."""
    with _matplotlib(picture.name):
        forest = picture.is_forest
        sheet = _forest_sheet(picture.panels) if forest else _sheet(picture.panels, PANELS_PER_ROW, picture.legend)
        if file.suffix == ".svg":
            style = f"<style>{CSS.read_text(encoding='utf-8')}</style>"
            paper = '<rect class="paper" width="100%" height="100%"/>'
            svg = _svg_element(sheet, no_link, picture.alt)
            opening, _, inside = svg.partition(">")
            write_atomic(file, f"{opening}>{style}{paper}{inside}\n")
        else:
            buffer = BytesIO()
            metadata = {"CreationDate": None} if file.suffix == ".pdf" else {"Software": None}
            sheet.figure.savefig(buffer, format=file.suffix[1:], dpi=144, metadata=metadata)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(buffer.getvalue())
    return file


@contextmanager
def _matplotlib(salt: str) -> Iterator[None]:
    """Our style, for one thread at a time: matplotlib's settings are the process's."""
    from matplotlib import style

    with _lock, warnings.catch_warnings(), style.context(["default", {**STYLE, "svg.hashsalt": salt}]):
        # letters that the measuring font lacks: the reader's font has them
        warnings.filterwarnings("ignore", message="Glyph")
        yield


@dataclass
class _Sheet:
    """A figure, and the marks whose groups have to become links."""

    figure: Figure
    width: float
    height: float
    marks: dict[str, Mark] = field(default_factory=dict)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """A pair of axes; ``top`` counts downwards."""
        w, h = self.width, self.height
        axes: Axes = self.figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
        return axes

    def of(self, mark: Mark) -> str:
        """The id of another group of this mark."""
        name = f"mark-{len(self.marks)}"
        self.marks[name] = mark
        return name


def _new_sheet(width: float, height: float) -> _Sheet:
    from matplotlib.figure import Figure

    return _Sheet(Figure(figsize=(width / 72, height / 72)), width, height)


def _height(panel: Panel) -> int:
    bars = sum(isinstance(mark, Bar) for mark in panel.marks)
    return TOP + BOTTOM + bars * BAR_STEP if bars else HEIGHT


def _sheet(panels: Sequence[Panel], per_row: int, legend: Sequence[tuple[str, int]]) -> _Sheet:
    """Panels in rows, and the legend below them."""
    columns, height = min(per_row, len(panels)), max(map(_height, panels))
    rows, lines = -(-len(panels) // columns), -(-len(legend) // columns)
    below = 18 * lines + 10 if legend else 0
    sheet = _new_sheet(columns * WIDTH, rows * height + below)
    has_dots = any(isinstance(mark, Dot) for panel in panels for mark in panel.marks)
    for number, panel in enumerate(panels):
        left, top = number % columns * WIDTH, number // columns * height
        is_bars = any(isinstance(mark, Bar) for mark in panel.marks)
        sides = (BAR_LEFT, BAR_RIGHT) if is_bars else (LEFT, RIGHT)
        axes = sheet.axes(left + sides[0], top + TOP, WIDTH - sum(sides), _height(panel) - TOP - BOTTOM)
        axes.set_title(printable(panel.title), x=(WIDTH / 2 - sides[0]) / (WIDTH - sum(sides)))
        axes.set_xlabel(printable(panel.x_label), labelpad=3)
        (_bars if is_bars else _plot)(sheet, axes, panel)
    for number, (name, colour) in enumerate(legend):
        place = (LEFT + number % columns * WIDTH, rows * height + 8 + 18 * (number // columns))
        _key(sheet, place, name, colour, MARKERS[colour % len(MARKERS)] if has_dots else "s")
    return sheet


def _key(sheet: _Sheet, place: tuple[float, float], name: str, colour: int, marker: str) -> None:
    """An entry of the legend."""
    from matplotlib.lines import Line2D

    x, y = place[0] / sheet.width, 1 - place[1] / sheet.height
    key = Line2D([x], [y], marker=marker, markersize=9, color=_colour(colour), linestyle="", markeredgewidth=0)
    sheet.figure.add_artist(key)
    sheet.figure.text(x + 12 / sheet.width, y, printable(name), va="center")


def _colour(number: int) -> str:
    return PALETTE[f"c{number}"]


def _ticked(axes: Axes, which: str, count: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = getattr(axes, which)
    axis.set_major_locator(MaxNLocator(count, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value).replace("-", "−")))


def _plot(sheet: _Sheet, axes: Axes, panel: Panel) -> None:
    """Lines or dots on two axes of numbers."""
    lines = [mark for mark in panel.marks if isinstance(mark, Line)]
    dots = [mark for mark in panel.marks if isinstance(mark, Dot)]
    axes.set_xlim(*axis_range([*(x for line in lines for x in line.x), *(dot.x for dot in dots)]))
    values = [value for line in lines for value in (*line.y, *line.low, *line.high)]
    axes.set_ylim(*axis_range([*values, *(end for dot in dots for end in (dot.low, dot.high))], from_zero=True))
    _ticked(axes, "xaxis", 5)
    _ticked(axes, "yaxis", 5)
    for line in sorted(lines, key=lambda line: line.colour != OTHER):  # grey lines lie behind the others
        _line(sheet, axes, line)
    _dots(sheet, axes, dots)


def _line(sheet: _Sheet, axes: Axes, line: Line) -> None:
    colour = _colour(line.colour)
    if line.low:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0, gid=sheet.of(line))
    axes.plot(line.x, line.y, color=colour, linewidth=0.9 if line.is_thin else 1.8, gid=sheet.of(line))


def _dots(sheet: _Sheet, axes: Axes, dots: Sequence[Dot]) -> None:
    """Points where their numbers are, open where they overlap, with names where there is room for them."""
    places = [tuple(axes.transData.transform((dot.x, dot.y))) for dot in dots]
    ends = [[axes.transData.transform((dot.x, end))[1] for end in (dot.low, dot.high)] for dot in dots]
    boxes = [Box(x - 6, y - 6, 12, 12) for x, y in places]
    whiskers = [Box(x - 1.5, low, 3, high - low) for (x, _), (low, high) in zip(places, ends, strict=True)]
    taken = [*boxes, *whiskers]
    frame = axes.bbox
    room = Box(frame.x0, frame.y0, frame.width, frame.height)
    for dot, place, box in zip(dots, places, boxes, strict=True):
        colour, is_open = _colour(dot.colour), sum(overlapping(box, other) for other in boxes) > 1
        axes.vlines(dot.x, dot.low, dot.high, color=colour, linewidth=1.6, gid=sheet.of(dot))
        axes.plot(
            *([dot.x], [dot.y]),
            marker=MARKERS[dot.colour % len(MARKERS)],
            markersize=9,
            linestyle="",
            gid=sheet.of(dot),
            markerfacecolor="none" if is_open else colour,
            markeredgecolor=colour,
            markeredgewidth=1.6,
        )
        label = shortened(printable(dot.name), DOT_LETTERS)
        free = free_place((float(place[0]), float(place[1])), len(label) * LETTER * 10 / 11, 10, taken, room)
        if free is not None:
            taken.append(free)
            x, y = axes.transData.inverted().transform((free.left, free.bottom + free.height / 2))
            axes.text(x, y, label, fontsize=10, va="center", gid=sheet.of(dot))


def _bars(sheet: _Sheet, axes: Axes, panel: Panel) -> None:
    bars = [mark for mark in panel.marks if isinstance(mark, Bar)]
    axes.set_xlim(0, 1)
    axes.set_ylim(len(bars), 0)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50", "", "100"])
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for number, bar in enumerate(bars):
        done, middle = 0.0, number + 0.5
        for share, colour in bar.parts:
            axes.barh(middle, share, height=0.66, left=done, color=_colour(colour))[0].set_gid(sheet.of(bar))
            done += share
        if bar.interval is not None:
            ends = [min(1.0, max(0.0, end)) for end in bar.interval]
            axes.plot(ends, [middle, middle], color=PALETTE["ink"], linewidth=1.6, gid=sheet.of(bar))
        label = shortened(printable(bar.label), LABEL_LETTERS)
        axes.text(-0.03, middle, label, ha="right", va="center", gid=sheet.of(bar))
        axes.text(1.02, middle, printable(bar.text), va="center", gid=sheet.of(bar))


def _forest_sheet(panels: Sequence[Panel], is_narrow: bool = False) -> _Sheet:
    """Panels of one set of rows and one range; those at the left have the names of the rows."""
    rows = _forest_rows([mark for mark in panels[0].marks if isinstance(mark, Difference)])
    letters = NARROW_LETTERS if is_narrow else FOREST_LETTERS
    labels = [
        shortened(printable(each), HEAD_LETTERS) if isinstance(each, str) else shortened(printable(each.name), letters)
        for each in rows
    ]
    heads = [len(label) * BOLD for label, each in zip(labels, rows, strict=True) if isinstance(each, str)]
    names = [len(label) * LETTER for label, each in zip(labels, rows, strict=True) if not isinstance(each, str)]
    gutter, width = max([*names, *([] if is_narrow else heads)]) + 14, NARROW if is_narrow else WIDE
    columns = 1 if is_narrow else min(FOREST_PER_ROW, len(panels))
    one = min(420.0, (width - gutter - RIGHT - GAP * (columns - 1)) / columns)
    height = TOP + BOTTOM + ROW_STEP * len(rows)
    total = gutter + columns * one + GAP * (columns - 1) + RIGHT
    sheet = _new_sheet(total, height * -(-len(panels) // columns))
    marks = [mark for panel in panels for mark in panel.marks if isinstance(mark, Difference)]
    limits = axis_range([0.0, *near_range([(mark.low, mark.high) for mark in marks if mark.sign != "missing"])])
    for number, panel in enumerate(panels):
        left, top = gutter + number % columns * (one + GAP), number // columns * height
        axes = sheet.axes(left, top + TOP, one, ROW_STEP * len(rows))
        axes.set_xlim(*limits)
        _forest_panel(sheet, axes, panel, labels if number % columns == 0 else None, gutter)
    return sheet


def _forest_rows(marks: Sequence[Difference]) -> list[Difference | str]:
    """The rows of a forest plot; where there are several groups, each has its name above it."""
    several = len({mark.group for mark in marks}) > 1
    rows: list[Difference | str] = []
    for number, mark in enumerate(marks):
        if several and (number == 0 or marks[number - 1].group != mark.group):
            rows.append(mark.group)
        rows.append(mark)
    return rows


def _forest_panel(sheet: _Sheet, axes: Axes, panel: Panel, labels: Sequence[str] | None, gutter: float) -> None:
    """One panel; ``labels`` are the names of its rows, which stand to its left in ``gutter`` units."""
    from matplotlib.transforms import blended_transform_factory, offset_copy

    rows = _forest_rows([mark for mark in panel.marks if isinstance(mark, Difference)])
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([])
    _ticked(axes, "xaxis", 5)
    axes.set_title(printable(panel.title), fontweight="bold" if panel.is_main else "normal")
    axes.set_xlabel(printable(panel.x_label), labelpad=3)
    axes.axvline(0, color=PALETTE["soft"], linewidth=1.2)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for number, row in enumerate(rows):
        middle = number + 0.5
        at_start = offset_copy(beside, sheet.figure, x=-gutter + 4, units="points")
        if isinstance(row, str):
            if labels is not None:
                head = axes.text(0, middle, labels[number], transform=at_start, va="center", fontweight="bold")
                head.set_zorder(5)
                head.set_bbox({"facecolor": PALETTE["paper"], "edgecolor": "none", "pad": 1.5})
            continue
        if labels is not None:
            axes.text(0, middle, labels[number], transform=at_start, va="center", gid=sheet.of(row))
        _interval(sheet, axes, row, middle, 7 if panel.is_main else 5.5)


def _interval(sheet: _Sheet, axes: Axes, row: Difference, middle: float, size: float) -> None:
    colour = PALETTE[SIGN_COLOURS[row.sign]]
    if row.sign == "missing":
        axes.text(0, middle, " not compared", va="center", color=colour, fontsize=10, gid=sheet.of(row))
        return
    lowest, highest = axes.get_xlim()
    if row.high < lowest or row.low > highest or not lowest < row.value < highest:
        _far_away(sheet, axes, row, middle, colour)
        return
    axes.hlines(middle, row.low, row.high, color=colour, linewidth=size / 3.5, gid=sheet.of(row))
    axes.plot(
        *([row.value], [middle]),
        marker="o" if row.sign == "level" else "s",
        markersize=size,
        color=colour,
        gid=sheet.of(row),
        markerfacecolor=PALETTE["paper"] if row.sign == "level" else colour,
    )


def _far_away(sheet: _Sheet, axes: Axes, row: Difference, middle: float, colour: str) -> None:
    """A row that lies outside the axis: an arrow at its edge, and its numbers."""
    is_low = row.value < 0
    edge = axes.get_xlim()[0 if is_low else 1]
    (arrow,) = axes.plot([edge], [middle], color=colour, marker="<" if is_low else ">", markersize=7, clip_on=False)
    arrow.set(zorder=5, gid=sheet.of(row))
    numbers = f"{row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}]".replace("-", "−")
    label = axes.annotate(numbers, (edge, middle), xytext=(8 if is_low else -8, 0), textcoords="offset points")
    label.set(ha="left" if is_low else "right", va="center", color=colour, fontsize=10, gid=sheet.of(row))


_COLOUR = re.compile(r"#[0-9a-f]{6}")
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_VARIABLES = {value: f"var(--{name})" for name, value in PALETTE.items()}


def _svg_element(sheet: _Sheet, link: Link, label: str) -> str:
    """The figure as an element of a page: colours as variables, groups of marks as links, nothing that is not drawn."""
    buffer = BytesIO()
    sheet.figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    kept = {name.strip("#") for each in root.iter() for name in _references(each)}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{{{SVG}}}metadata" or (child.tag == f"{{{SVG}}}style"):
                parent.remove(child)
                continue
            mark = sheet.marks.get(child.get("id", ""))
            if mark is not None:
                _make_link(parent, child, mark, link)
    for each in root.iter():
        if each.get("id", "") not in kept:
            each.attrib.pop("id", None)
        _simplify(each)
    root.attrib.clear()
    size = {"width": f"{sheet.width:.0f}", "height": f"{sheet.height:.0f}"}
    box = f"0 0 {sheet.width:.0f} {sheet.height:.0f}"
    root.attrib.update({"class": "chart", "role": "img", "aria-label": printable(label), "viewBox": box, **size})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _references(element: ElementTree.Element) -> Iterable[str]:
    """Ids that an element refers to."""
    texts = (element.get(f"{{{XLINK}}}href", ""), element.get("clip-path", "").removeprefix("url(").removesuffix(")"))
    return [text for text in texts if text.startswith("#")]


def _make_link(parent: ElementTree.Element, group: ElementTree.Element, mark: Mark, link: Link) -> None:
    """Give a mark's group its name and its tooltip, and put it into a link to its runs."""
    title = ElementTree.Element(f"{{{SVG}}}title")
    title.text = printable(mark.told)
    group.insert(0, title)
    group.set("data-method", printable(mark.name))
    attributes = link(mark.sources) if mark.sources else {}
    if attributes:
        place = list(parent).index(group)
        anchor = ElementTree.Element(f"{{{SVG}}}a", dict(attributes))
        anchor.append(group)
        parent[place] = anchor


def _simplify(element: ElementTree.Element) -> None:
    """Variables for colours, one font, two decimals; labels are never touched."""
    for name in ("d", "x", "y", "transform"):
        if value := element.get(name):
            element.set(name, " ".join(_DECIMALS.sub(_rounded, value).split()))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if value := element.get("style"):
        kept = [each for each in value.split("; ") if not each.startswith(("font-family", "stroke-linejoin"))]
        element.set("style", _COLOUR.sub(lambda found: _VARIABLES.get(found[0], found[0]), "; ".join(kept)))
    element.tail = None
    if element.text is not None and not element.text.strip():
        element.text = None


def _rounded(found: re.Match[str]) -> str:
    text = f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
