"""Charts as elements of a page, and as files: SVG that follows the reader's theme, PDF and PNG for papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from rewardlab.comparison.grid import Source
from rewardlab.disk import write_atomic
from rewardlab.reports.charts import Panel, Picture
from rewardlab.reports.forest_sheet import forest_sheet
from rewardlab.reports.panels_sheet import panels_sheet
from rewardlab.reports.sheet import Attributes, Link, Sheet, matplotlib_style, svg_element

PANELS_PER_ROW = 3
CSS = Path(__file__).parent / "assets" / "chart.css"
FORMATS = ("svg", "pdf", "png")


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
    with matplotlib_style(f"{name} {panel.title}"):
        sheet = panels_sheet([panel if has_title else replace(panel, title="")], 1, ())
        return svg_element(sheet, link, panel.title)


def draw_forest(picture: Picture, link: Link = no_link, *, is_narrow: bool = False) -> str:
    """A forest plot as an ``svg`` element: its panels side by side, or on a phone one below the other."""
    with matplotlib_style(f"{picture.name} {is_narrow}"):
        sheet = forest_sheet(picture.panels, is_narrow)
        return svg_element(sheet, link, picture.alt)


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
    with matplotlib_style(picture.name):
        forest = picture.is_forest
        sheet = forest_sheet(picture.panels) if forest else panels_sheet(picture.panels, PANELS_PER_ROW, picture.legend)
        return write_sheet(sheet, file, picture.alt)


def write_sheet(sheet: Sheet, file: Path, alt: str) -> Path:
    """Write a sheet that was drawn in our style, as the format that the file's ending names.

    Args:
        sheet: The figure.
        file: Ends in one of :data:`FORMATS`.
        alt: What it shows, for who cannot see it.
    """
    if file.suffix == ".svg":
        style = f"<style>{CSS.read_text(encoding='utf-8')}</style>"
        paper = '<rect class="paper" width="100%" height="100%"/>'
        opening, _, inside = svg_element(sheet, no_link, alt).partition(">")
        write_atomic(file, f"{opening}>{style}{paper}{inside}\n")
    else:
        buffer = BytesIO()
        metadata = {"CreationDate": None} if file.suffix == ".pdf" else {"Software": None}
        sheet.figure.savefig(buffer, format=file.suffix[1:], dpi=144, metadata=metadata)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buffer.getvalue())
    return file
