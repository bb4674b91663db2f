"""A suite whose stages take no model: they note that they were built, and do what a file next to the runs tells them.

Two methods a seed, A and B, each with an evaluation, on an SFT model a seed, on pairs that all seeds share. Run as a
program it is a worker of that suite, or, with a number of jobs or the address of a Ray cluster behind the folder, the
suite itself; it prints why cells failed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars  # noqa: F401  # every suite has loaded it, and it takes over Ctrl-C

from rewardlab.pipeline.runner import Runner
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.suites.cells import Cell
from rewardlab.suites.known import Find
from rewardlab.suites.local import Workers
from rewardlab.suites.run import Places, build
from rewardlab.suites.scheduler import Scheduler
from rewardlab.suites.worker import serve
from tests.support.waiting import until

MODULE = "tests.support.fake_suite"
LOG = "built.log"
SEEDS = (0, 1)


@dataclass(frozen=True)
class FakeSuite:
    """The suite under one folder."""

    root: Path

    def tell(self, slug: str, behaviour: str) -> None:
        """Make a stage fail, crash, print, or wait: until a file called ``go`` is there, or for others to begin."""
        (self.root / f"{slug}.do").write_text(behaviour)

    def stage(self, kind: str, slug: str, inputs: Mapping[str, Stage] | None = None, **more: Any) -> Stage:
        return Stage(
            kind, f"stage {slug}", slug, {"slug": slug, **more}, inputs or {}, lambda job: self._run(slug, job)
        )

    def cell(self, method: str, seed: int) -> Cell:
        shared = self.stage("pairs", "shared")
        start = self.stage("sft", f"sft-{seed}", {"pairs": shared}, seed=seed)
        trained = self.stage("ppo", f"ppo-{method}-{seed}", {"start": start}, seed=seed)
        goal = self.stage("eval", f"eval-{method}-{seed}", {"model": trained}, seed=seed)
        return Cell(method, "toy", "tiny", seed, (goal,), "ppo")

    def cells(self) -> list[Cell]:
        return [self.cell(method, seed) for seed in SEEDS for method in "AB"]

    def built(self) -> list[str]:
        """Slugs in the order in which they were begun."""
        return [line.split()[0] for line in self._lines()]

    def processes(self) -> set[str]:
        """The ids of the processes that built."""
        return {line.split()[1] for line in self._lines()}

    def _lines(self) -> list[str]:
        log = self.root / LOG
        return log.read_text().splitlines() if log.exists() else []

    def _run(self, slug: str, job: Work) -> dict[str, Any]:
        with (self.root / LOG).open("a") as log:
            log.write(f"{slug} {os.getpid()}\n")
        told = self.root / f"{slug}.do"
        match told.read_text().split() if told.exists() else []:
            case ["fail"]:
                raise ValueError(f"{slug} is\nbroken")
            case ["crash"]:
                os._exit(9)
            case ["print"]:
                print("noise on standard output", flush=True)
            case ["wait-for", other]:
                until(lambda: other in self.built())
            case ["wait"]:
                until((self.root / "go").exists)
        return {"columns": {}}

    @property
    def worker(self) -> list[str]:
        """The command of a worker."""
        return [sys.executable, "-m", MODULE, str(self.root)]


def find_in(suite: FakeSuite, root: Path, fetch: Callable[[Stage], None]) -> Find:
    """The plan of a node."""
    return {stage.fingerprint: stage for cell in suite.cells() for stage in cell.chain()}.get


def main() -> None:
    made = FakeSuite(Path(sys.argv[1]))
    if not sys.argv[2:]:
        serve(find_in(made, made.root, lambda stage: None), Runner(made.root))
        return
    scheduler, where = Scheduler(made.cells(), made.root), sys.argv[2]
    places: Places
    if where.isdigit():
        places = Workers(int(where), made.worker)
    else:
        from rewardlab.suites.on_ray import RayPlaces

        places = RayPlaces(where, partial(find_in, made), made.root, lambda line: print(line, file=sys.stderr))
    build(scheduler, places)
    print(json.dumps({cell.title: why for cell, why in scheduler.failures()}))


if __name__ == "__main__":
    main()
