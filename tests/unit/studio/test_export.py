"""The studio as static pages: whole, self-contained, and in a folder of its own."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote

import pytest

from rewardlab.errors import InputError
from rewardlab.studio.export import export
from tests.support.studio import eval_run, ledger_row, links, pair_row, ppo_run, prediction, stage_folder, studio_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    ppo_run(runs, [ledger_row(1, f"r{number}", "positive") for number in range(4)], "λ = q75 #1-p1")
    eval_run(runs, "PPO-e2", [prediction("a", "negative")], 0.5, inputs={"model": "p1"})
    stage_folder(runs, "pairs", "toy-q1", result={}, files={"held_out.jsonl": [pair_row("a"), pair_row("b")]})
    return runs


def test_every_link_of_an_export_leads_to_a_file_of_it(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    count = export(studio_of(root), out)
    pages = sorted(out.rglob("*.html"))
    assert len(pages) == count == 1 + 3 + (1 + 4) + (1 + 1) + 2  # runs, each run, samples and pairs
    for page in pages:
        for link in links(page.read_text(encoding="utf-8")):
            if link == "data:,":
                continue
            place = posixpath.normpath(posixpath.join(page.parent.as_posix(), unquote(link)))
            assert Path(place).is_file(), (page, link)
            assert Path(place).is_relative_to(out)


def test_an_export_has_as_many_samples_as_asked_and_no_form(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    export(studio_of(root), out, samples=2)
    assert len(list(out.rglob("sample-*.html"))) == 2 + 1
    assert "<form" not in (out / "run" / "pairs" / "toy-q1" / "held_out-0.html").read_text()
    assert str(tmp_path) not in (out / "index.html").read_text()  # nobody else has this path


def test_a_folder_with_files_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="choose a new folder"):
        export(studio_of(root), tmp_path / "site")
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["mine.txt"]
