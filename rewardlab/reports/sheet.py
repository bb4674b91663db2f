"""The sheet that charts are drawn on: matplotlib's figure in our style, and the SVG that becomes of it.

One SVG serves both themes: it is drawn in the light colours of :data:`PALETTE`, and each of them then becomes the
variable of that name in ``assets/chart.css``. Text stays text. Equal charts give equal texts.

Lengths are units of 1/72 inch, which are the points of a PDF and, at full size, the pixels of a page.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from rewardlab.comparison.grid import Source
from rewardlab.printable import printable
from rewardlab.reports.charts import Mark, number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
Attributes = Mapping[str, str]
Link = Callable[[Sequence[Source]], Attributes]
"""Attributes of a link to runs, or none."""
_lock = threading.Lock()


@contextmanager
def matplotlib_style(salt: str) -> Iterator[None]:
    """Our style, for one thread at a time: matplotlib's settings are the process's."""
    from matplotlib import style

    with _lock, warnings.catch_warnings(), style.context(["default", {**STYLE, "svg.hashsalt": salt}]):
        # letters that the measuring font lacks: the reader's font has them
        warnings.filterwarnings("ignore", message="Glyph")
        yield


@dataclass
class Sheet:
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


def new_sheet(width: float, height: float) -> Sheet:
    """An empty sheet of so many units."""
    from matplotlib.figure import Figure

    return Sheet(Figure(figsize=(width / 72, height / 72)), width, height)


def ticked(axes: Axes, which: str, count: int) -> None:
    """Ticks at about ``count`` round numbers of ``xaxis`` or ``yaxis``."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = getattr(axes, which)
    axis.set_major_locator(MaxNLocator(count, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value).replace("-", "−")))


_COLOUR = re.compile(r"#[0-9a-f]{6}")
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_VARIABLES = {value: f"var(--{name})" for name, value in PALETTE.items()}


def svg_element(sheet: Sheet, link: Link, label: str) -> str:
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
