"""``report.html``: the sections of a report as one page without outside files, through ``assets/report.html.j2``.

A number links to the runs it comes from: ``href`` leads to the first of them in the list at the end of the page, and
``data-runs`` names all of them as ``number=value``, from which the page's script makes a small list with each run's
folder and configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rewardlab import __version__
from rewardlab.comparison.evaluations import EvalRun
from rewardlab.comparison.grid import SIGNS, Cell, Heading, Source
from rewardlab.comparison.runs import trained_folder
from rewardlab.reports.blocks import ANSWER, Section, Text
from rewardlab.reports.charts import Picture
from rewardlab.reports.drawing import draw, draw_forest
from rewardlab.reports.links import Links
from rewardlab.reports.report import Report

ASSETS = Path(__file__).parent / "assets"
TEMPLATE = "report.html.j2"
MOST_ROWS = 300
"""Rows of a table in a page; the files of ``rewardlab compare --out`` have all of them."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in the list at the end of the page: what it is, links relative to the page, and how it was made."""

    title: str
    folder: str
    config: str
    code: str = ""
    command: str = ""


@dataclass
class Runs:
    """All runs that a page links to, in order of mention."""

    links: Links
    titles: dict[Path, str]
    numbers: dict[Path, int] = field(default_factory=dict)
    made: Mapping[Path, EvalRun] = field(default_factory=dict)

    def attributes(self, sources: Sequence[Source]) -> dict[str, str]:
        """Attributes of a link to these runs; none for none."""
        if not sources:
            return {}
        named = [(self._number(source.path), source.value) for source in sources]
        return {"href": f"#run-{named[0][0]}", "data-runs": " ".join(f"{number}={value}" for number, value in named)}

    def link(self, sources: Sequence[Source]) -> Markup:
        """The same as text of a tag."""
        return Markup(" ").join(Markup('{}="{}"').format(*each) for each in self.attributes(sources).items())

    def listed(self) -> Iterator[Listed]:
        """The runs, as far as the page has mentioned them."""
        for path in self.numbers:
            folder, config = (quote(self.links.to(path, file)) for file in ("", "config.json"))
            run = self.made.get(path)
            made = (f"{run.fingerprint}, {run.version}", run.command or "") if run else ("", "")
            yield Listed(self.titles.get(path, path.name), f"{folder}/", config, *made)

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
    made = {run.path: run for row in report.table.rows for run in row.runs}
    runs = Runs(report.links, dict(_titles(report)), made=made)
    environment.globals.update(link=runs.link, cell=lambda cell: _cell(cell, runs), groups=_groups)
    environment.globals.update(panels=lambda picture: _panels(picture, runs), asset=_asset, anchor=_anchor)
    environment.globals.update(figures=quote(report.figures), most=MOST_ROWS, answer=ANSWER)
    page = environment.get_template(TEMPLATE)
    shown = [section for section in sections if section.is_in_page and _has_data(section)]
    return page.render(title=title, sections=shown, runs=runs, command=report.command, version=__version__)


def _has_data(section: Section) -> bool:
    """False for a section that only says why it is empty."""
    return not all(isinstance(block, Text) for block in section.blocks)


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


def _panels(picture: Picture, runs: Runs) -> list[tuple[str, Markup]]:
    """Title and drawing of each panel; of a forest plot, one for wide and one for narrow pages."""
    if picture.is_forest:
        drawn = [draw_forest(picture, runs.attributes, is_narrow=each) for each in (False, True)]
        return [(kind, Markup(svg)) for kind, svg in zip(("wide", "narrow"), drawn, strict=True)]
    return [
        (panel.title, Markup(draw(panel, runs.attributes, f"{picture.name} {number}", has_title=not picture.is_split)))
        for number, panel in enumerate(picture.panels)
    ]


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
