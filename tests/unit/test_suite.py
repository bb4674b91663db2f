"""Suite files: one extends another, none extends itself; the processes of a suite end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewardlab.errors import ConfigError
from rewardlab.pipeline.suite import _first_done
from rewardlab.pipeline.suite_file import load_suite

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


METHODS = """
[[method]]
name = "PPO"
stage = "ppo"
settings = { "ppo.lr" = 1e-4 }
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = [0, 1, 0]", "seeds: 0 more than once"),
        ('models = ["a", "a"]', "models: a more than once"),
        ('tasks = ["agnews,sst2", "mr, sst2"]', "tasks: sst2 more than once"),
        ('[[method]]\nname = "PPO"\nstage = "base"', "method names: PPO more than once"),
        ('[[method]]\nstage = "sft"\nscope = "each"', "method.0: scope belongs to methods of stage ppo, found sft"),
        ('[[method]]\nstage = "ppo"\nmatch_seconds_of = "PPO"', "match_seconds_of belongs to methods of stage sft"),
        ('[[method]]\nstage = "sft"\nmatch_seconds_of = "PQO"', "match_seconds_of: 'PQO' is no name .* known: PPO"),
        ('[grid]\n"ppo.steps" = []', "grid: ppo.steps has no values"),
        ('[grid]\n"ppo.lr" = [1e-5]', "grid: method PPO sets ppo.lr itself"),
        ('budget = "dollars"', "budget: input should be 'updates', 'tokens' or 'seconds'"),
        ('[[claim]]\nid = "C1"', "claim.0.says: field required"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.toml").write_text(f'name = "bad"\n{text}\n{METHODS}')
    with pytest.raises(ConfigError, match=said):
        load_suite(tmp_path / "bad.toml")


def test_a_suite_holds_its_grid_its_claims_and_its_places(tmp_path: Path) -> None:
    text = """
name = "full"
budget = "tokens"
tasks = ["agnews,sst2", "mr"]
models = ["one", "two"]
[grid]
"ppo.batch" = [4, 8]
[[method]]
name = "PPO-ST"
stage = "ppo"
scope = "each"
[[method]]
name = "as long"
stage = "sft"
match_seconds_of = "PPO-ST"
[[claim]]
id = "C11"
says = "PPO beats SFT"
published = "+1.54"
better = "PPO-ST"
than = "as long"
decoding = "greedy"
"""
    (tmp_path / "full.toml").write_text(text)
    suite = load_suite(tmp_path / "full.toml")
    assert (suite.budget, suite.tasks, suite.models) == ("tokens", ("agnews,sst2", "mr"), ("one", "two"))
    assert suite.grid == {"ppo.batch": (4, 8)}
    assert [(method.scope, method.match_seconds_of) for method in suite.method] == [
        ("each", None),
        ("together", "PPO-ST"),
    ]
    claim = suite.claim[0]
    assert (claim.id, claim.column, claim.decoding) == ("C11", "average", "greedy")


def test_the_process_that_ends_first_is_found_whatever_its_place() -> None:
    slow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    quick = subprocess.Popen([sys.executable, "-c", ""])
    try:
        assert _first_done({0: slow, 1: quick}) == 1
    finally:
        slow.kill()
        slow.wait()
        quick.wait()


TWO_SEEDS = """
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from rewardlab.pipeline import suite
from rewardlab.pipeline.suite_file import Suite

def spawn(file, root, seed):
    lives = "import sys, time; time.sleep(60)" if seed else FIRST
    return subprocess.Popen([sys.executable, "-c", lives])

def report_and_wait(running, wait=suite._first_done):
    print(*(process.pid for process in running.values()), sep="\\n", flush=True)
    return wait(running)

suite._spawn, suite._first_done, suite._distinct = spawn, report_and_wait, lambda *arguments: []
made = Suite(name="two", seeds=(0, 1), method=[{"stage": "base"}])
suite.run_parallel(Path("two.toml"), made, SimpleNamespace(root=Path("runs")), 2, lambda line: None)
"""


def started(first: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A suite of two processes, the first of which runs ``first``; and the ids of both."""
    script = f"FIRST = {first!r}\n{TWO_SEEDS}"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, [int(parent.stdout.readline()) for _ in range(2)]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def all_gone(pids: list[int], patience_s: float = 10.0) -> bool:
    end = time.monotonic() + patience_s
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_no_process_of_a_suite_outlives_it(ending: signal.Signals) -> None:
    """The signal goes to the suite alone, as from a scheduler or ``kill``."""
    parent, children = started("import time; time.sleep(60)")
    try:
        parent.send_signal(ending)
        _, said = parent.communicate(timeout=30)
        assert all_gone(children)
        assert "KeyboardInterrupt" in said  # what the command line turns into "interrupted", exit code 130
    finally:
        for pid in filter(is_alive, children):
            os.kill(pid, signal.SIGKILL)


def test_a_seed_that_fails_ends_the_others() -> None:
    parent, children = started("import sys; sys.exit(3)")
    try:
        _, said = parent.communicate(timeout=30)
        assert "seed 0 failed with exit code 3" in said
        assert all_gone(children)
    finally:
        for pid in filter(is_alive, children):
            os.kill(pid, signal.SIGKILL)
