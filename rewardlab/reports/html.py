"""``report.html``: the sections of a report as one page without outside files, through ``assets/report.html.j2``.

A number links to the runs it comes from: ``href`` leads to the first of them in the list at the end of the page, and
``data-runs`` names all of them as ``number=value``, from which the page's script makes a small list with each run's
folder and configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rewardlab import __version__
from rewardlab.comparison.grid import SIGNS, Cell, Heading, Source
from rewardlab.comparison.runs import trained_folder
from rewardlab.reports.blocks import Section
from rewardlab.reports.charts import Panel, draw
from rewardlab.reports.links import Links
from rewardlab.reports.report import Report

ASSETS = Path(__file__).parent / "assets"
TEMPLATE = "report.html.j2"


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in the list at the end of the page: what it is, and links relative to the page."""

    title: str
    folder: str
    config: str


@dataclass
class Runs:
    """All runs that a page links to, in order of mention."""

    links: Links
    titles: dict[Path, str]
    numbers: dict[Path, int] = field(default_factory=dict)

    def link(self, sources: Sequence[Source]) -> Markup:
        """Attributes of a link to these runs; empty for none."""
        if not sources:
            return Markup()
        named = [(self._number(source.path), source.value) for source in sources]
        runs = " ".join(f"{number}={value}" for number, value in named)
        return Markup('href="#run-{}" data-runs="{}"').format(named[0][0], runs)

    def listed(self) -> Iterator[Listed]:
        """The runs, as far as the page has mentioned them."""
        for path in self.numbers:
            folder, config = (quote(self.links.to(path, file)) for file in ("", "config.json"))
            yield Listed(self.titles.get(path, path.name), f"{folder}/", config)

    def _number(self, path: Path) -> int:
        return self.numbers.setdefault(path, len(self.numbers))


def to_html(title: str, sections: Sequence[Section], report: Report) -> str:
    """The page.

    Args:
        title: Its heading.
        sections: What it shows.
        report: Where it will lie, and the runs behind it.
    """
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    runs = Runs(report.links, dict(_titles(report)))
    environment.globals.update(link=runs.link, cell=lambda cell: _cell(cell, runs), groups=_groups)
    environment.globals.update(panel=lambda panel: _panel(panel, runs), asset=_asset, anchor=_anchor)
    environment.globals.update(key=lambda picture, colour: Markup(picture.key(colour)))
    page = environment.get_template(TEMPLATE)
    return page.render(title=title, sections=sections, runs=runs, command=report.command, version=__version__)


def _titles(report: Report) -> Iterator[tuple[Path, str]]:
    for row in report.table.rows:
        for run in row.runs:
            title = f"{row.name}, seed {run.seed}"
            yield run.path, title
            if (trained := trained_folder(run)) is not None:
                yield trained.resolve(), f"{title} (training)"
                yield trained, f"{title} (training)"
    for name in report.cards.methods:
        yield from ((card.path, f"{name}, seed {card.seed}") for card in report.cards.folders(name))


def _asset(name: str) -> Markup:
    """Our own style or script, unescaped."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def _panel(panel: Panel, runs: Runs) -> Markup:
    return Markup(draw(panel, runs.link))


def _anchor(title: str) -> str:
    """A section's id.

    >>> _anchor("Saturation of λ")
    'saturation-of-λ'
    """
    return "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split())


def _groups(headings: Sequence[Heading]) -> list[tuple[str, int]]:
    """(group, columns) from left to right; no groups, no list."""
    groups = [(name, len(list(members))) for name, members in groupby(headings, key=lambda heading: heading.group)]
    return groups if any(name for name, _ in groups) else []


def _cell(cell: Cell, runs: Runs) -> Markup:
    """The inside of a ``td``."""
    shape = {"best": Markup("<strong>{}</strong>"), "second": Markup("<u>{}</u>")}.get(cell.mark, Markup("{}"))
    text = (Markup("<code>{}</code>") if cell.is_code else shape).format(cell.text)
    if cell.href:
        text = Markup('<a href="{}">{}</a>').format(quote(cell.href), text)
    elif cell.sources:
        text = Markup("<a {}>{}</a>").format(runs.link(cell.sources), text)
    for sign in cell.sign:
        text += Markup('<abbr title="{}">{}</abbr>').format(SIGNS[sign], sign)
    spread = Markup(" <small>{}</small>").format(cell.spread.strip()) if cell.spread else ""
    return text + spread + (Markup(' <small class="detail">{}</small>').format(cell.detail) if cell.detail else "")
