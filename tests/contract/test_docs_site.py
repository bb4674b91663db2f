"""The documentation site builds, strictly: a link, an anchor or a page of the API that is missing is an error."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.pages import ROOT, navigation

NEEDED = ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers")
LACKING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACKING), reason=f"{', '.join(LACKING)} missing: pip install -e '.[docs]'"),
]


def build(site: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    """``mkdocs build --strict`` in a process of its own; the pages go to ``site``."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config, "--site-dir", site]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)


def test_the_site_builds(tmp_path: Path) -> None:
    done = build(tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert [page for page in navigation() if not (tmp_path / "site" / page).with_suffix(".html").is_file()] == []
    api = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    assert 'id="rewardlab.Lab.train"' in api
    assert 'id="rewardlab.compare"' in api


def test_a_link_that_leads_nowhere_fails(tmp_path: Path) -> None:
    """The same settings on one page of its own."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# Start\n\n[gone](gone.md)\n", encoding="utf-8")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    kept = settings[: settings.index("plugins:")] + settings[settings.index("validation:") : settings.index("nav:")]
    (tmp_path / "mkdocs.yml").write_text(kept, encoding="utf-8")
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    assert "'gone.md'" in done.stderr
