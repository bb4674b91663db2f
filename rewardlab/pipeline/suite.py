"""A suite: methods x seeds on the same tasks, from the same SFT model, with shared stages built once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from rewardlab.config import RunConfig, Section, load_config
from rewardlab.errors import ConfigError, RewardlabError
from rewardlab.pipeline.runner import Runner
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.stages import Pipeline, check
from rewardlab.types import AnswerFormat

PACKAGED = Path(__file__).resolve().parents[1] / "suites"
"""Where a wheel keeps ``experiments/*.toml``."""


POLL_S = 0.5
"""Seconds between two looks at the processes of a suite."""


class Method(Section):
    """One row of the table."""

    name: str | None = Field(None, description="what the table calls it; default by stage and reward")
    stage: Literal["base", "sft", "ppo"] = Field(description="what is evaluated")
    rationales: bool = Field(True, description="sft: with rationales")
    format: AnswerFormat | None = Field(None, description="answer format; default: that of the settings")
    settings: dict[str, Any] = Field(default_factory=dict, description="dotted configuration keys of this method")


class Suite(Section):
    """What a suite file holds."""

    name: str = Field(description="names the report's folder")
    title: str = Field("", description="heading of the report")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="seeds of training and sampling")
    settings: dict[str, Any] = Field(default_factory=dict, description="dotted configuration keys of all methods")
    method: tuple[Method, ...] = Field(min_length=1, description="the rows")


@dataclass(frozen=True, slots=True)
class Cell:
    """One method under one seed."""

    method: str
    seed: int
    goal: Stage


def load_suite(path: Path) -> Suite:
    """Read a suite file, and the one it ``extends``; raises ConfigError with all its problems.

    A file that is not there is looked for among the suites that come with the package, by its name.
    """
    try:
        return Suite.model_validate(_read(path))
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg'].lower()}" for item in error.errors())
        raise ConfigError(f"{path}: {found}") from error


def _read(path: Path, behind: tuple[Path, ...] = ()) -> dict[str, Any]:
    found = path if path.exists() else PACKAGED / path.name
    try:
        values = tomllib.loads(found.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a suite file (TOML)") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if found.with_name(str(base)) in (found, *behind):
        raise ConfigError(f"{path}: extends itself, by way of {base}; name a suite that does not lead back here")
    return {**_read(found.with_name(str(base)), (found, *behind)), **values}


def cells(suite: Suite, root: Path, seeds: Sequence[int] | None = None) -> list[Cell]:
    """All cells, methods inside seeds; bad input is found before anything runs."""
    return [_cell(suite, method, seed, root) for seed in seeds or suite.seeds for method in suite.method]


def run_cells(todo: Sequence[Cell], runner: Runner, say: Any) -> list[Path]:
    """Run the cells one after the other and return the folders of their evaluations."""
    folders = []
    for number, cell in enumerate(todo, 1):
        say(f"({number}/{len(todo)}) {cell.method}, seed {cell.seed}")
        folders.append(runner.execute(cell.goal).path)
    return folders


def run_parallel(file: Path, suite: Suite, runner: Runner, jobs: int, say: Any) -> None:
    """Run the seeds in processes of one thread each; stages that several seeds share are built first, here.

    Raises:
        RewardlabError: A process failed; its output has said why.
    """
    shared = Counter(stage.fingerprint for seed in suite.seeds for stage in _distinct(suite, runner.root, seed))
    for stage in _distinct(suite, runner.root, suite.seeds[0]):
        if shared[stage.fingerprint] > 1:
            runner.execute(stage)
    waiting = list(suite.seeds)
    running: dict[int, subprocess.Popen[bytes]] = {}
    with _ending(running):
        while waiting or running:
            while waiting and len(running) < jobs:
                seed = waiting.pop(0)
                say(f"seed {seed}: started")
                running[seed] = _spawn(file, runner.root, seed)
            seed = _first_done(running)
            _finish(seed, running.pop(seed), say)


def _first_done(running: Mapping[int, subprocess.Popen[bytes]]) -> int:
    """The seed whose process has ended; waits for one."""
    while True:
        for seed, process in running.items():
            if process.poll() is not None:
                return seed
        time.sleep(POLL_S)


@contextmanager
def _ending(running: Mapping[int, subprocess.Popen[bytes]]) -> Iterator[None]:
    """End the processes that still run when the block is left: by an error, by Ctrl-C, or by SIGTERM, which is turned
    into an interrupt here, since it would end this process alone."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _finish(seed: int, process: subprocess.Popen[bytes], say: Any) -> None:
    if process.wait() != 0:
        raise RewardlabError(f"seed {seed} failed with exit code {process.returncode}; its message stands above")
    say(f"seed {seed}: done")


def _spawn(file: Path, root: Path, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rewardlab", "suite", "run", str(file), "--seed", str(seed), "--runs", str(root)]
    return subprocess.Popen([*command, "--no-report"], env={**os.environ, "OMP_NUM_THREADS": "1"})


def _distinct(suite: Suite, root: Path, seed: int) -> list[Stage]:
    """All stages of one seed, each once, inputs first."""
    found: dict[str, Stage] = {}
    for cell in cells(suite, root, [seed]):
        for stage in cell.goal.chain():
            found.setdefault(stage.fingerprint, stage)
    return list(found.values())


def _cell(suite: Suite, method: Method, seed: int, root: Path) -> Cell:
    own = {} if method.format is None else {"format": method.format}
    config = load_config({**suite.settings, **method.settings, **own, "seed": seed})
    check(config)
    pipeline = Pipeline(config, root)
    trained = _trained(pipeline, method)
    name = method.name or pipeline.method(trained)
    return Cell(name, seed, pipeline.eval(trained, name))


def _trained(pipeline: Pipeline, method: Method) -> Stage | None:
    if method.stage == "base":
        return None
    return pipeline.ppo() if method.stage == "ppo" else pipeline.sft(method.rationales)


def stages_of(todo: Sequence[Cell], kind: str) -> list[Stage]:
    """The distinct stages of one kind behind the cells."""
    found = {stage.fingerprint: stage for cell in todo for stage in cell.goal.chain() if stage.kind == kind}
    return list(found.values())


def config_of(cell: Cell) -> RunConfig:
    """The configuration behind a cell."""
    return RunConfig.model_validate(cell.goal.config)
