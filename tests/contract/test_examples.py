"""The notebooks-as-scripts of ``examples/`` run in an empty folder, at the size that they are written for."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewardlab.rewards import rewards
from rewardlab.tasks import tasks
from tests.support.models import tiny_llama

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Names = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Names]:
    """Runs one example as a script; returns the names that it leaves behind."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EXAMPLE_MODEL", str(tiny_llama(tmp_path / "model")))
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    tasks.names()  # imports the generated tasks before the registry is copied
    for registry in (rewards, tasks):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    return lambda name: runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_all_examples_are_tested_and_are_notebooks() -> None:
    """At least two cells behind the first, which imports."""
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"own_reward.py", "own_task.py", "reading_a_run.py"}
    assert all(path.read_text(encoding="utf-8").count("\n# %% ") >= 3 for path in EXAMPLES.glob("*.py"))


def test_own_reward(run: Callable[[str], Names]) -> None:
    """Worked by hand: one word, the right label: 1 + 0.5; four words: 1 + 0.5 * (1 - 0.6)."""
    names = run("own_reward.py")
    assert [score.score for score in names["scores"]] == pytest.approx([1.5, 1.2])
    assert names["run"].metrics["step"].to_list() == [1, 2]
    assert "part/brevity" in names["run"].samples.columns


def test_own_task(run: Callable[[str], Names]) -> None:
    names = run("own_task.py")
    assert [row.label in ("bug", "praise") for row in names["lab"].rows("labelled")] == [True] * 16
    assert {path.name for path in Path("runs").iterdir()} >= {"sft", "eval"}


def test_reading_a_run(run: Callable[[str], Names]) -> None:
    names = run("reading_a_run.py")
    assert set(names["compared"].frame()["method"]) == {"SFT", "PPO on rule - 0.1 * length"}
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!")
    assert (Path("report") / "table.csv").is_file()
