"""Links of the site's pages: those that leave ``docs/``, and those of pages that lie outside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.tools.site_pages import named, on_page_markdown, targets


@dataclass
class Files:
    """The pages that a site has."""

    places: tuple[str, ...] = ("index.md", "ppo.md", "experiments/LOG.md", "experiments/results/README.md")

    def get_file_from_path(self, place: str) -> str | None:
        return place if place in self.places else None


def shown(tmp_path: Path, page: str, markdown: str) -> str:
    """A page as the site has it; ``index.md`` lies in ``docs/``."""
    (tmp_path / "index.md").touch()
    file = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    return on_page_markdown(markdown, file, SimpleNamespace(docs_dir=str(tmp_path)), Files())


@pytest.mark.parametrize(
    ("page", "written", "expected"),
    [
        ("index.md", "[log](../experiments/LOG.md#a)", "[log](experiments/LOG.md#a)"),
        ("index.md", "[PPO](ppo.md#pitfalls) [x](https://a.b/c)", "[PPO](ppo.md#pitfalls) [x](https://a.b/c)"),
        ("experiments/LOG.md", "[r](results/README.md)", "[r](results/README.md)"),
        ("experiments/LOG.md", "[r](results/a/report.md) [p](../docs/ppo.md)", "r [p](../ppo.md)"),
        ("experiments/results/README.md", "[log](../LOG.md)", "[log](../LOG.md)"),
        ("CONTRIBUTING.md", "[t](docs/ppo.md) [h](#top) [m](https://a.b)", "[t](ppo.md) [h](#top) [m](https://a.b)"),
    ],
)
def test_links_lead_to_the_page_of_the_site(tmp_path: Path, page: str, written: str, expected: str) -> None:
    assert shown(tmp_path, page, written) == expected


def test_an_anchor_of_another_page_is_kept(tmp_path: Path) -> None:
    assert shown(tmp_path, "CONTRIBUTING.md", "[a](docs/ppo.md#scores)") == "[a](ppo.md#scores)"


def test_what_is_named_and_linked_is_found() -> None:
    assert list(named([{"Start": ["index.md", {"Log": "experiments/LOG.md"}]}, "a.md"])) == [
        "index.md",
        "experiments/LOG.md",
        "a.md",
    ]
    assert list(targets("[a](b.md#c) and [d](../e.md)")) == ["b.md", "../e.md"]
