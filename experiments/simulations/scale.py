"""How long does a suite take on 1 to 256 workers, beside what no scheduler could beat?

The scheduler is the one that runs suites (``rewardlab/suites/scheduler.py`` and ``run.py``). The cluster is simulated:
its clock jumps from one end of a stage to the next. The plan is that of ``experiments/claims-sandbox.toml``, five seeds
of 36 stages each, with the seconds that its stages took when they were measured (``rewardlab/suites/seconds.toml``);
more seeds are copies of these. A stage takes longer or shorter than that by a factor with a log-normal spread of 0.15.
Two in a hundred attempts lose their node at a random moment and begin again, and one stage in a hundred fails for good,
with all that needs it.

    python experiments/simulations/scale.py             # the tables of docs/scale.md
    python experiments/simulations/scale.py --record    # plan the suite again, which reads its rows

No order of the stages takes less than the work of all divided by the workers, nor less than the longest chain of stages
that need each other; the larger of the two is the bound. The efficiency is the bound as a share of what the suite took
when the stages with the longest chain behind them came first.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rewardlab.pipeline.stage import Stage
from rewardlab.suites.cells import Cell
from rewardlab.suites.run import Ended, build
from rewardlab.suites.scheduler import Job, Scheduler

PLAN = Path(__file__).with_name("claims-sandbox-plan.json")
SUITE = Path(__file__).parents[1] / "claims-sandbox.toml"
NOWHERE = Path("no-such-runs")
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SEEDS = (5, 40)
SPREAD, LOST, FAILED = 0.15, 0.02, 0.01


@dataclass(frozen=True)
class Suite:
    """Cells, and the seconds that their stages were measured to take, by id."""

    cells: Sequence[Cell]
    seconds: dict[str, float]

    @classmethod
    def of(cls, seeds: int, plan: Path = PLAN) -> Suite:
        """The recorded plan, copied until it has so many seeds."""
        stored = json.loads(plan.read_text(encoding="utf-8"))
        own = sorted({row["seed"] for row in stored["cells"]})
        cells: list[Cell] = []
        for number in range(seeds):
            seed = own[number % len(own)]
            cells += _copy(stored, seed, number)
        return cls(cells, {name: row["seconds"] for name, row in stored["stages"].items()})

    def estimate(self, stage: Stage) -> float:
        """What the scheduler expects."""
        return self.seconds[str(stage.settings["id"])]


def _copy(stored: dict[str, Any], seed: int, number: int) -> list[Cell]:
    """The cells of one seed under another."""
    made: dict[str, Stage] = {}

    def stage(name: str) -> Stage:
        if name not in made:
            row = stored["stages"][name]
            inputs = {each: stage(each) for each in row["inputs"]}
            settings = {"id": name, "seed": number}
            made[name] = Stage(row["kind"], row["title"], row["kind"], settings, inputs, lambda work: {})
        return made[name]

    rows = [row for row in stored["cells"] if row["seed"] == seed]
    return [Cell(row["method"], "toy", "tiny", number, tuple(map(stage, row["goals"])), "ppo") for row in rows]


@dataclass
class Cluster:
    """Workers with a clock of their own; what happens to a stage depends on the stage alone."""

    suite: Suite
    workers: int
    spread: float = SPREAD
    is_one_process: bool = False
    clock: float = 0.0
    taken: dict[str, float] = field(default_factory=dict)
    _running: list[tuple[float, int, Job, str | None]] = field(default_factory=list)

    def has_room(self, stage: Stage) -> bool:
        """Whether a worker is free."""
        return len(self._running) < self.workers

    def start(self, job: Job) -> None:
        """Decide when it will end, and how."""
        fate = random.Random(f"{job.stage.settings['id']} {job.stage.settings['seed']}")
        whole = self.suite.estimate(job.stage) * fate.lognormvariate(0.0, self.spread)
        seconds = whole
        while fate.random() < LOST:
            seconds += whole * fate.random()
        error = "failed" if fate.random() < FAILED else None
        self.taken[job.stage.fingerprint] = seconds
        heapq.heappush(self._running, (self.clock + seconds, len(self.taken), job, error))

    def wait(self) -> Sequence[Ended]:
        """Go to the next end."""
        self.clock, _, job, error = heapq.heappop(self._running)
        return [(job, error)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@dataclass(frozen=True)
class Outcome:
    """One suite on one cluster: seconds it took, seconds of all stages, and of the longest chain of them."""

    workers: int
    makespan: float
    work: float
    path: float

    @property
    def bound(self) -> float:
        """No order of the stages takes less."""
        return max(self.path, self.work / self.workers)

    @property
    def efficiency(self) -> float:
        """Bound by makespan."""
        return self.bound / self.makespan


def simulate(
    suite: Suite, workers: int, *, longest_first: bool, spread: float = SPREAD, is_known: bool = True
) -> Outcome:
    """Run a suite on a simulated cluster.

    Args:
        suite: What is run.
        workers: Size of the cluster.
        longest_first: The order; False is that of the cells.
        spread: Of a stage's seconds about the expected ones, the standard deviation of their logarithm.
        is_known: The scheduler expects the measured seconds; False: one second of every stage.
    """
    scheduler, cluster = Scheduler(suite.cells, NOWHERE), Cluster(suite, workers, spread)
    if longest_first:
        scheduler.longest_first(suite.estimate if is_known else lambda stage: 1.0)
    build(scheduler, cluster, lambda line: None)
    path: dict[str, float] = {}
    for stage in (stage for cell in scheduler.cells for stage in cell.chain()):
        if stage.fingerprint in cluster.taken:
            before = max((path[each.fingerprint] for each in stage.inputs.values()), default=0.0)
            path[stage.fingerprint] = before + cluster.taken[stage.fingerprint]
    return Outcome(workers, cluster.clock, sum(cluster.taken.values()), max(path.values()))


def table(seeds: int, workers: Sequence[int] = WORKERS) -> str:
    """One row a size of the cluster."""
    suite = Suite.of(seeds)
    lines = [
        "| workers | work / workers, s | longest chain, s | cells in order, s | longest chain first, s | efficiency |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for count in workers:
        plain, best = (simulate(suite, count, longest_first=longest) for longest in (False, True))
        lines.append(
            f"| {count} | {best.work / count:.0f} | {best.path:.0f} | {plain.makespan:.0f} | {best.makespan:.0f} "
            f"| {100 * best.efficiency:.0f} % |"
        )
    return "\n".join(lines)


def robustness(seeds: int = SEEDS[-1], workers: Sequence[int] = (32, 64, 128, 256)) -> str:
    """Efficiency, one row a size of the cluster, where seconds are expected badly or not at all."""
    suite, cases = Suite.of(seeds), [(known, spread) for known in (True, False) for spread in (SPREAD, 4 * SPREAD)]
    heads = [f"{'measured seconds' if known else 'one second each'}, spread {spread:g}" for known, spread in cases]
    lines = [f"| workers | {' | '.join(heads)} |", f"| {' | '.join(['---:'] * (1 + len(cases)))} |"]
    for count in workers:
        found = (simulate(suite, count, longest_first=True, spread=spread, is_known=known) for known, spread in cases)
        lines.append(f"| {count} | {' | '.join(f'{100 * each.efficiency:.0f} %' for each in found)} |")
    return "\n".join(lines)


def record() -> None:
    """Plan the suite and store its stages."""
    from rewardlab.pipeline.rows import Rows
    from rewardlab.suites.cells import cells
    from rewardlab.suites.durations import Durations
    from rewardlab.suites.file import load_suite

    found, known = cells(load_suite(SUITE), NOWHERE, rows=Rows()), Durations(NOWHERE)
    names: dict[str, str] = {}
    stages: dict[str, Any] = {}
    for stage in (stage for cell in found for stage in cell.chain()):
        if stage.fingerprint not in names:
            names[stage.fingerprint] = name = f"{stage.kind}-{len(names)}"
            duration = known.of(stage)
            assert duration is not None, stage.title
            inputs = [names[each.fingerprint] for each in stage.inputs.values()]
            seconds = round(duration.seconds, 2)
            stages[name] = {"kind": stage.kind, "title": stage.title, "seconds": seconds, "inputs": inputs}
    rows = [
        {"method": cell.method, "seed": cell.seed, "goals": [names[goal.fingerprint] for goal in cell.goals]}
        for cell in found
    ]
    text = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in stages.items())
    text += '\n },\n "cells": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows)
    PLAN.write_text('{\n "stages": {\n' + text + "\n ]\n}\n", encoding="utf-8")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="plan the suite again")
    if parser.parse_args().record:
        record()
    for seeds in SEEDS:
        print(f"{seeds} seeds:\n\n{table(seeds)}\n")
    print(f"What is expected, {SEEDS[-1]} seeds:\n\n{robustness()}")


if __name__ == "__main__":
    main()
