"""The console script as a process: what starts at once imports nothing heavy, and every command says what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
"""What takes a command that needs none of them seconds to start; ``experiments/bench/speed.py`` times it."""
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
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


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


def test_help_imports_no_task(tmp_path: Path) -> None:
    code = "import sys; from rewardlab.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    modules = start(tmp_path, "-c", code).stderr.split()
    assert "rewardlab.cli.tasks" in modules
    assert [name for name in modules if name.startswith(("rewardlab.tasks", "urllib.request"))] == []


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
    (tmp_path / "rm" / "result.json").write_text("{}")
    (tmp_path / "rm" / "config.json").write_text('{"stage": "rm"}')
    done = start(tmp_path, "-c", MODULES, "rm", *arguments)
    *error, last = done.stderr.splitlines()
    code, modules = json.loads(last)
    assert code == 2
    assert len(error) == 1
    assert said in error[0]
    assert set(modules) & set(HEAVY) == set()


def test_a_plan_loads_no_model_and_nothing_to_train_one_with(tmp_path: Path) -> None:
    """polars reads rows, and brings numpy along."""
    done = start(tmp_path, "-c", MODULES, "ppo", "--reward", "mixed", "--lambda", "5", "--dry-run")
    [last] = done.stderr.splitlines()
    code, modules = json.loads(last)
    assert code == 0
    assert set(modules) & set(HEAVY) <= {"numpy", "polars"}
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
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert "Traceback" not in done.stderr
