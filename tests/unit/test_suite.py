"""Suite files: one extends another, none extends itself; the process that ends first is the one reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rewardlab.errors import ConfigError
from rewardlab.pipeline.suite import _first_done, load_suite

BASE = 'name = "base"\nseeds = [3]\n[[method]]\nstage = "base"\n'


def test_a_suite_takes_what_it_does_not_say_from_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "more.toml").write_text('extends = "base.toml"\nname = "more"\nseeds = [0, 1]\n')
    suite = load_suite(tmp_path / "more.toml")
    assert (suite.name, suite.seeds, suite.method[0].stage) == ("more", (0, 1), "base")


@pytest.mark.parametrize("chain", [["a"], ["a", "b"]])
def test_a_suite_that_leads_back_to_itself_is_refused(tmp_path: Path, chain: list[str]) -> None:
    for name, following in zip(chain, [*chain[1:], chain[0]], strict=True):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{following}.toml"\nname = "{name}"\n')
    with pytest.raises(ConfigError, match="extends itself"):
        load_suite(tmp_path / "a.toml")


def test_all_problems_of_a_suite_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('seeds = []\n[[method]]\nstage = "train"\n')
    with pytest.raises(ConfigError) as caught:
        load_suite(tmp_path / "bad.toml")
    assert all(word in str(caught.value) for word in ("name", "seeds", "method.0.stage"))


def test_the_process_that_ends_first_is_found_whatever_its_place() -> None:
    slow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    quick = subprocess.Popen([sys.executable, "-c", ""])
    try:
        assert _first_done({0: slow, 1: quick}) == 1
    finally:
        slow.kill()
        slow.wait()
        quick.wait()
