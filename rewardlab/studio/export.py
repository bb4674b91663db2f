"""The studio as static pages: runs, their curves, and the first samples and pairs of each, one file a page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from rewardlab.disk import make_folder, write_atomic, writing
from rewardlab.errors import InputError, RewardlabError
from rewardlab.studio.addresses import ASSETS, Static, run_file
from rewardlab.studio.app import asset_file
from rewardlab.studio.index import StudioRun
from rewardlab.studio.pages import ITEMS_A_PAGE, Shown, Studio
from rewardlab.studio.rendering import render
from rewardlab.studio.verdicts import PAIR_FILES

Made = tuple[str, Callable[[], Shown]]
"""A page below the export, and what shows it."""


def export(studio: Studio, out: Path, samples: int = ITEMS_A_PAGE) -> int:
    """Write the pages; returns how many.

    Args:
        studio: What to show.
        out: A new or empty folder.
        samples: The most samples, and the most pairs, of a run that get a page.
    Raises:
        InputError: The folder holds files, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: holds files already; choose a new folder")
    make_folder(out)
    pages = dict(_pages(studio, min(samples, ITEMS_A_PAGE)))
    with writing(out):
        for name in ASSETS:
            shutil.copyfile(asset_file(name), out / name)
        for page, show in pages.items():
            common = {"root": studio.index.root.name, "token": ""}
            write_atomic(out / page, render(show(), Static(page, pages.keys()), common))
    return len(pages)


def _pages(studio: Studio, most: int) -> Iterator[Made]:
    yield "index.html", lambda: studio.home({})
    for key, run in studio.index.runs().items():
        yield run_file(key), lambda key=key: studio.one_run(key)  # type: ignore[misc]
        if not run.problem:
            yield from _samples(studio, run, most)
            yield from _pairs(studio, run, most)


def _samples(studio: Studio, run: StudioRun, most: int) -> Iterator[Made]:
    """The table of samples and its rows; none for a run whose file is damaged."""
    try:
        frame = studio.tables.samples(run.path)
    except RewardlabError:
        return
    if frame is None or frame.is_empty():
        return
    yield run_file(run.key, "samples"), lambda: studio.samples(run.key, {})
    for row in range(min(most, frame.height)):
        yield run_file(run.key, f"sample-{row}"), lambda row=row: studio.sample(run.key, row)  # type: ignore[misc]


def _pairs(studio: Studio, run: StudioRun, most: int) -> Iterator[Made]:
    for file in PAIR_FILES:
        try:
            count = studio.pairs_of(run, file).frame.height
        except RewardlabError:
            continue
        for row in range(min(most, count)):
            page = run_file(run.key, f"{file.removesuffix('.jsonl')}-{row}")
            yield page, lambda file=file, row=row: studio.pairs(run.key, file, {"row": str(row)})  # type: ignore[misc]
