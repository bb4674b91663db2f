"""What a chart shows, before it is drawn: lines with bands, dots and rows with intervals, stacked bars.

A panel is one pair of axes; a picture is some panels with one legend. ``drawing.py`` draws both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rewardlab.comparison.grid import Source

COLOURS = 10
OTHER = COLOURS
"""Number of the grey that all methods without a colour of their own share."""
GLYPHS = "●■◆▲▼"
"""Markers of dots: that of a colour is the one at its number modulo five."""
Sign = Literal["better", "worse", "level", "missing"]


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

    @property
    def told(self) -> str:
        """Its tooltip."""
        return self.name


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

    @property
    def told(self) -> str:
        """Its tooltip: its numbers."""
        return f"{self.name}: {number_text(self.x)}; {self.y:.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True, slots=True)
class Bar:
    """A horizontal bar of parts (share, colour), with an optional interval of its whole length."""

    label: str
    parts: Sequence[tuple[float, int]]
    text: str
    interval: tuple[float, float] | None = None
    sources: Sequence[Source] = ()

    @property
    def name(self) -> str:
        """What it is of."""
        return self.label

    @property
    def told(self) -> str:
        """Its tooltip."""
        return f"{self.label}: {self.text}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of a forest plot: a difference with its interval, or why there is none.

    Attributes:
        name: The method.
        group: What it is compared with; stands above the rows of one group where there are several.
        value, low, high: In the unit of the axis; nan where the sign is ``missing``.
        told: Its tooltip.
    """

    name: str
    group: str
    value: float
    low: float
    high: float
    sign: Sign
    told: str
    sources: Sequence[Source] = ()


Mark = Line | Dot | Bar | Difference


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; all its marks are of one kind. Bars have their own axis, from 0 to 100 %.

    Attributes:
        is_main: Drawn heavier than the panels beside it.
    """

    title: str
    marks: Sequence[Line] | Sequence[Dot] | Sequence[Bar] | Sequence[Difference]
    x_label: str = ""
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Panels side by side with one legend of (name, colour).

    Attributes:
        name: That of its files.
        alt: What it shows, for those who do not see it.
        note: Stands under it.
        is_split: Each panel is folded away by itself in a page, under its title.
    """

    name: str
    alt: str
    panels: Sequence[Panel]
    legend: Sequence[tuple[str, int]]
    note: str = ""
    is_split: bool = False

    def glyph(self, colour: int) -> str:
        """What stands before an entry of its legend."""
        return GLYPHS[colour % len(GLYPHS)] if self.has_dots else "■"

    @property
    def has_dots(self) -> bool:
        """Whether its legend needs markers."""
        return any(isinstance(mark, Dot) for panel in self.panels for mark in panel.marks)

    @property
    def has_lines(self) -> bool:
        """Whether one of its methods can be looked at alone."""
        return any(isinstance(mark, Line) for panel in self.panels for mark in panel.marks)

    @property
    def is_forest(self) -> bool:
        """Whether its panels share their rows."""
        return any(isinstance(mark, Difference) for panel in self.panels for mark in panel.marks)


def number_text(value: float) -> str:
    """A tick's number, as short as it can be.

    >>> number_text(0.30000000000000004), number_text(12000.0)
    ('0.3', '12000')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def shortened(text: str, letters: int) -> str:
    """A name of at most ``letters`` letters; a longer one ends in an ellipsis.

    >>> shortened("RLLR-mixed", 6)
    'RLLR-…'
    """
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
