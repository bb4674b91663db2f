"""Charts as SVG text: lines with bands, dots with intervals, stacked bars. Colours come from ``assets/chart.css``.

A panel is one pair of axes, ``WIDTH`` x ``HEIGHT`` units; a picture is some panels with one legend. The same panels
stand inside the page, where they follow its colours and link to runs, and in a file of their own beside Markdown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rewardlab.comparison.grid import Source
from rewardlab.reports.markers import SIZE, caps, crowded, marker
from rewardlab.reports.scales import Scale, axis_range, number_text, ticks
from rewardlab.runs import write_atomic

WIDTH, HEIGHT = 380, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 28, 38
BAR_LEFT, BAR_STEP = 150, 24
LABEL_LETTERS = 24
PANELS_PER_ROW = 3
COLOURS = 10
OTHER = COLOURS
"""Number of the grey that all methods beyond the tenth share."""
CSS = Path(__file__).parent / "assets" / "chart.css"

Link = Callable[[Sequence[Source]], str]
"""Attributes of a link to runs, or nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """One method's curve; ``low`` and ``high`` are empty without a band; thin lines stand back behind the others."""

    name: str
    colour: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    sources: Sequence[Source] = ()
    is_thin: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """One method as a point with its interval in y; it is drawn where its numbers are, whatever else lies there."""

    name: str
    colour: int
    x: float
    y: float
    low: float
    high: float
    sources: Sequence[Source] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A horizontal bar of parts (share, colour), with an optional interval of its whole length."""

    label: str
    parts: Sequence[tuple[float, int]]
    text: str
    interval: tuple[float, float] | None = None
    sources: Sequence[Source] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; all its marks are of one kind. Bars have their own axis, from 0 to 100 %."""

    title: str
    marks: Sequence[Line] | Sequence[Dot] | Sequence[Bar]
    x_label: str = ""

    @property
    def height(self) -> int:
        """In units; bars need as much as there are of them."""
        bars = sum(isinstance(mark, Bar) for mark in self.marks)
        return TOP + BOTTOM + bars * BAR_STEP if bars else HEIGHT


@dataclass(frozen=True, slots=True)
class Picture:
    """Panels side by side with one legend of (name, colour); ``name`` is that of its file."""

    name: str
    alt: str
    panels: Sequence[Panel]
    legend: Sequence[tuple[str, int]]

    def key(self, colour: int) -> str:
        """What stands before an entry of its legend, in a box of 10 x 10 units: a marker or a square."""
        if any(isinstance(mark, Dot) for panel in self.panels for mark in panel.marks):
            return f'<g transform="scale({10 / (SIZE + 2):.3f})">{marker(colour, 6, 6)}</g>'
        return f'<rect class="c{colour}" width="10" height="10"/>'


def no_link(sources: Sequence[Source]) -> str:
    """For pictures outside the page."""
    return ""


def draw(panel: Panel, link: Link = no_link) -> str:
    """A panel as an ``svg`` element."""
    inside = _bars(panel, link) if panel.marks and isinstance(panel.marks[0], Bar) else _plot(panel, link)
    title = f'<text class="title" x="{WIDTH / 2}" y="16">{escape(panel.title)}</text>'
    box = f'viewBox="0 0 {WIDTH} {panel.height}" width="{WIDTH}" height="{panel.height}"'
    return f'<svg class="chart" role="img" aria-label="{escape(panel.title)}" {box}>{title}{inside}</svg>'


def write_picture(picture: Picture, folder: Path) -> Path:
    """Write a picture with its legend as one SVG file; it follows the reader's dark or light setting."""
    columns = min(PANELS_PER_ROW, len(picture.panels))
    height = max(panel.height for panel in picture.panels)
    rows = -(-len(picture.panels) // columns)
    legend, legend_height = _legend(picture, columns * WIDTH)
    body = [
        f'<g transform="translate({number % columns * WIDTH} {number // columns * height})">{draw(panel)}</g>'
        for number, panel in enumerate(picture.panels)
    ]
    body.append(f'<g transform="translate(0 {rows * height})">{legend}</g>')
    box = f'viewBox="0 0 {columns * WIDTH} {rows * height + legend_height}" width="{columns * WIDTH}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" class="page" {box}>'
    style = f"<style>{CSS.read_text(encoding='utf-8')}</style>"
    background = '<rect class="paper" width="100%" height="100%"/>'
    path = folder / f"{picture.name}.svg"
    write_atomic(path, "\n".join([opening, style, background, *body, "</svg>", ""]))
    return path


def _legend(picture: Picture, width: int) -> tuple[str, int]:
    """Entries in columns of one panel's width, and the height they take."""
    columns = max(1, width // WIDTH)
    drawn = []
    for number, (name, colour) in enumerate(picture.legend):
        x, y = LEFT + number % columns * WIDTH, 12 + number // columns * 18
        drawn.append(f'<g transform="translate({x} {y - 9})">{picture.key(colour)}</g>')
        drawn.append(f'<text x="{x + 16}" y="{y}">{escape(name)}</text>')
    return "".join(drawn), 18 * -(-len(picture.legend) // columns) + 6


def _plot(panel: Panel, link: Link) -> str:
    x, y = _scales(panel)
    drawn = [_line(mark, x, y, link) for mark in panel.marks if isinstance(mark, Line)]
    dots = [mark for mark in panel.marks if isinstance(mark, Dot)]
    places = [(x(dot.x), y(dot.y)) for dot in dots]
    widths = caps([across for across, _ in places])
    for dot, place, cap, is_open in zip(dots, places, widths, crowded(places), strict=True):
        whisker = _whisker(dot, place[0], y, cap)
        drawn.append(
            _linked(whisker + marker(dot.colour, *place, is_open=is_open, inside=_told(dot)), dot.sources, link)
        )
    return _axes(panel, x, y) + "".join(drawn)


def _scales(panel: Panel) -> tuple[Scale, Scale]:
    xs: list[float] = []
    ys: list[float] = []
    for mark in panel.marks:
        if isinstance(mark, Line):
            xs += mark.x
            ys += [*mark.y, *mark.low, *mark.high]
        elif isinstance(mark, Dot):
            xs.append(mark.x)
            ys += [mark.low, mark.high]
    return Scale(*axis_range(xs), LEFT, WIDTH - RIGHT), Scale(*axis_range(ys, from_zero=True), HEIGHT - BOTTOM, TOP)


def _axes(panel: Panel, x: Scale, y: Scale) -> str:
    bottom = HEIGHT - BOTTOM
    drawn = [f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{bottom - TOP}"/>']
    for value in ticks(y.low, y.high):
        drawn.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>')
        drawn.append(f'<text class="end" x="{LEFT - 5}" y="{y(value) + 4:.1f}">{number_text(value)}</text>')
    for value in ticks(x.low, x.high, 5):
        drawn.append(f'<path class="grid" d="M{x(value):.1f} {TOP}V{bottom}"/>')
        drawn.append(f'<text class="mid" x="{x(value):.1f}" y="{bottom + 14}">{number_text(value)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(f'<text class="mid" x="{middle}" y="{HEIGHT - 6}">{escape(panel.x_label)}</text>')
    return "".join(drawn)


def _line(line: Line, x: Scale, y: Scale, link: Link) -> str:
    path = _path(line.x, line.y, x, y)
    band = ""
    if line.low:
        there, back = _path(line.x, line.high, x, y), _path(line.x[::-1], line.low[::-1], x, y)
        band = f'<path class="band c{line.colour}" d="{there}L{back[1:]}Z"/>'
    weight = "line thin" if line.is_thin else "line"
    shape = f'{band}<path class="{weight} c{line.colour}" d="{path}"><title>{escape(line.name)}</title></path>'
    return _linked(shape, line.sources, link)


def _path(xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale) -> str:
    places = [f"{x(a):.1f} {y(b):.1f}" for a, b in zip(xs, ys, strict=True) if math.isfinite(b)]
    return "M" + "L".join(places) if places else ""


def _whisker(dot: Dot, across: float, y: Scale, cap: float) -> str:
    low, high = y(dot.low), y(dot.high)
    ends = "".join(f"M{across - cap:.1f} {end:.1f}H{across + cap:.1f}" for end in (low, high)) if cap else ""
    return f'<path class="whisker c{dot.colour}" d="M{across:.1f} {low:.1f}V{high:.1f}{ends}"/>'


def _told(dot: Dot) -> str:
    """A point's tooltip: its numbers."""
    told = f"{dot.name}: {number_text(dot.x)}; {dot.y:.1f} [{dot.low:.1f}, {dot.high:.1f}]"
    return f"<title>{escape(told)}</title>"


def _bars(panel: Panel, link: Link) -> str:
    x = Scale(0, 1, BAR_LEFT, WIDTH - RIGHT - 30)
    bottom = panel.height - BOTTOM
    drawn = [f'<path class="grid" d="M{x(share):.1f} {TOP}V{bottom}"/>' for share in (0, 0.25, 0.5, 0.75, 1)]
    drawn += [f'<text class="mid" x="{x(s):.1f}" y="{bottom + 14}">{100 * s:.0f}</text>' for s in (0, 0.5, 1)]
    drawn.append(f'<text class="mid" x="{x(0.5):.1f}" y="{panel.height - 6}">{escape(panel.x_label)}</text>')
    bars = [mark for mark in panel.marks if isinstance(mark, Bar)]
    return "".join([*drawn, *(_bar(bar, TOP + 4 + BAR_STEP * place, x, link) for place, bar in enumerate(bars))])


def _bar(bar: Bar, top: float, x: Scale, link: Link) -> str:
    middle = top + 12
    drawn, done = [], 0.0
    for share, colour in bar.parts:
        width = x(done + share) - x(done)
        drawn.append(f'<rect class="c{colour}" x="{x(done):.1f}" y="{top}" width="{width:.1f}" height="16"/>')
        done += share
    if bar.interval is not None:
        low, high = (min(1.0, max(0.0, end)) for end in bar.interval)
        drawn.append(f'<path class="over" d="M{x(low):.1f} {top + 8}H{x(high):.1f}"/>')
    label = bar.label if len(bar.label) <= LABEL_LETTERS else bar.label[: LABEL_LETTERS - 1] + "…"
    names = f'<text class="end" x="{BAR_LEFT - 6}" y="{middle}">{escape(label)}</text>'
    value = f'<text x="{x(1) + 4:.1f}" y="{middle}">{escape(bar.text)}</text>'
    shape = f"<g><title>{escape(bar.label)}: {escape(bar.text)}</title>{''.join(drawn)}{names}{value}</g>"
    return _linked(shape, bar.sources, link)


def _linked(shape: str, sources: Sequence[Source], link: Link) -> str:
    attributes = link(sources) if sources else ""
    return f"<a {attributes}>{shape}</a>" if attributes else shape
