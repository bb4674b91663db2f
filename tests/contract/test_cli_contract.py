"""The console script as a process: what starts at once imports nothing heavy, and every command says what it does."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from rewardlab.cli.main import app

HEAVY = (
    "torch",
    "transformers",
    "polars",
    "numpy",
    "sklearn",
    "scipy",
    "datasets",
    "peft",
    "trl",
    "openai",
    "matplotlib",
)
START_S = 0.5
TRIES = 10
"""The least of so many is what the command takes; the rest is what else the machine does."""
PLAN_S = 10.0
ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "import json, sys; from rewardlab.cli.main import run; code = run(sys.argv[1:]); "
    "print(json.dumps([code, sorted(name for name in sys.modules if '.' not in name)]), file=sys.stderr)"
)


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in an empty folder, on one thread, without network."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"REWARDLAB_CACHE": str(folder / ".cache")}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def cpu_seconds(folder: Path, *command: str) -> float:
    """User and system time of one process, seconds; unlike the clock, it does not depend on who else is busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = start(folder, *command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(command line, command) of everything that can be called."""
    if prefix:
        yield " ".join(prefix), group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*prefix, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_commands_are_found() -> None:
    stages = {"annotate", "pair-gen", "sft", "rm train", "ppo", "eval"}
    others = {"tasks", "tasks show", "reward list", "reward show", "reward score", "compare", "suite run"}
    assert stages | others <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
class TestEveryCommand:
    def test_says_what_it_does(self, name: str) -> None:
        text = COMMANDS[name].help or ""
        assert len(text.split()) >= 2
        assert text.endswith(".")

    def test_explains_every_option(self, name: str) -> None:
        silent = [parameter.name for parameter in COMMANDS[name].params if not getattr(parameter, "help", None)]
        assert silent == []


@pytest.mark.parametrize("arguments", [("--help",), ("tasks",), ("tasks", "show", "sandbox-topic"), ("ppo", "--help")])
class TestStart:
    def test_imports_nothing_heavy(self, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        done = start(tmp_path, "-c", MODULES, *arguments)
        code, modules = json.loads(done.stderr.splitlines()[-1])
        assert code == 0
        assert "rewardlab" in modules
        assert set(modules) & set(HEAVY) == set()
        assert list(tmp_path.iterdir()) == []

    def test_takes_less_than_half_a_second(self, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        assert any(cpu_seconds(tmp_path, "-m", "rewardlab", *arguments) < START_S for _ in range(TRIES))


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, rewardlab; print(sorted(name for name in sys.modules if '.' not in name))"
    assert not any(repr(name) in start(tmp_path, "-c", code).stdout for name in HEAVY)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("calibrate", "empty"), "empty: no sft_samples.jsonl"),
        (("sweep", "rm", "--r2", "empty"), "empty: no finished reward model"),
        (("sweep", "rm", "--r2", "rm", "--lambda", "q50,high"), "--lambda 'high'"),
    ],
)
def test_reward_model_commands_check_their_input_first(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    for path in ("rm/result.json", "rm/sft_samples.jsonl"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "rm" / "config.json").write_text('{"stage": "rm"}')
    done = start(tmp_path, "-c", MODULES, "rm", *arguments)
    *error, last = done.stderr.splitlines()
    code, modules = json.loads(last)
    assert code == 2
    assert len(error) == 1
    assert said in error[0]
    assert set(modules) & set(HEAVY) == set()


def plan_of_the_users_command(folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """What it prints, and its seconds."""
    begin = time.perf_counter()
    done = start(folder, "-m", "rewardlab", "ppo", "--reward", "mixed", "--lambda", "5", "--dry-run")
    return done, time.perf_counter() - begin


def test_a_plan_takes_less_than_ten_seconds(tmp_path: Path) -> None:
    done, seconds = plan_of_the_users_command(tmp_path)
    if seconds >= PLAN_S:  # a busy machine is not a slow command
        seconds = min(plan_of_the_users_command(tmp_path)[1] for _ in range(2))
    assert seconds < PLAN_S
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("[to run]") == 9
    assert [path.name for path in tmp_path.iterdir()] in ([], [".cache"])


def test_bad_input_has_no_traceback(tmp_path: Path) -> None:
    done = start(tmp_path, "-m", "rewardlab", "ppo", "--task", "agnwes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown task 'agnwes'; did you mean agnews?\n"


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    """As in ``rewardlab tasks | head -1``."""
    command = f"{sys.executable} -m rewardlab tasks | head -1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
