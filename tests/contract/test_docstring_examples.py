"""The examples in the package's docstrings give what they print."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import rewardlab
from rewardlab.rewards import rewards

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "rewardlab"
SHOWING = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _own_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What examples register is gone after them."""
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))


@pytest.mark.parametrize("path", SHOWING, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_examples_give_what_they_print(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("name", [name for name in rewardlab.__all__ if name != "__version__"])
def test_every_public_name_has_an_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a reader of ``help(rewardlab.NAME)`` would type it, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    public = getattr(rewardlab, name)
    examples = doctest.DocTestParser().get_doctest(inspect.getdoc(public) or "", {}, name, None, None)
    assert examples.examples
    assert doctest.DocTestRunner(verbose=False).run(examples).failed == 0
    assert list(tmp_path.iterdir()) == []
