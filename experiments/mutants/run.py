"""Draws one-token mutants of the modules that decide numbers, and runs the tests on each: ``make mutants``.

``python experiments/mutants/run.py [--sample 100] [--seed 0] [--jobs 2] [--only GLOB]`` prints a line for each mutant
and, at the end, a diff of each that lived. Another seed draws another sample. Nothing is changed in place: each job
has a copy of the tree. A mutant is killed when a test fails that passes without it, or when the tests take longer
than ``--timeout`` seconds; tests marked ``slow`` are left out. Which changes there are stands in ``operators.py``,
which of them nothing can tell from the code in ``equivalent.toml``, which tests are run in ``selection.py``.

mutmut wants a run of the whole suite before it begins, draws no sample, and mutates texts.
"""

from __future__ import annotations

import argparse
import difflib
import multiprocessing
import os
import queue
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from equivalent import told_apart  # beside this file
from operators import Mutant, mutants
from selection import ROOT, tests_of

MODULES = (
    "rewardlab/functional/*.py",
    "rewardlab/training/advantages.py",
    "rewardlab/training/shaping.py",
    "rewardlab/training/learner.py",
    "rewardlab/training/schedule.py",
    "rewardlab/training/rollout.py",
    "rewardlab/training/metrics.py",
    "rewardlab/training/budget.py",
    "rewardlab/training/validation.py",
    "rewardlab/training/streaks.py",
    "rewardlab/training/checkpoint.py",
    "rewardlab/rewards/*.py",
    "rewardlab/models/logprobs.py",
    "rewardlab/models/heads.py",
    "rewardlab/models/scoring.py",
    "rewardlab/metrics.py",
    "rewardlab/intervals.py",
    "rewardlab/comparison/statistics.py",
    "rewardlab/comparison/paired.py",
    "rewardlab/comparison/differences.py",
    "rewardlab/claims/findings.py",
    "rewardlab/claims/measures.py",
    "rewardlab/comparison/label_shares.py",
    "rewardlab/reward_models/measures.py",
    "rewardlab/evaluation/cost.py",
    "rewardlab/evaluation/reward_difference.py",
    "rewardlab/pairs/statistics.py",
    "rewardlab/pipeline/context.py",
    "rewardlab/pipeline/kinds.py",
    "rewardlab/pipeline/stage.py",
    "rewardlab/runs.py",
    "rewardlab/disk.py",
    "rewardlab/provenance.py",
)
"""Arithmetic, rewards, statistics, and what tells one run from another."""
PASSED, NOTHING_RAN = 0, 5
"""Exit codes of pytest."""
PRELOADED = ("torch", "transformers", "peft", "scipy.stats", "pytest")
"""Imported once; each run of tests is a fork. Not polars, whose threads do not outlive one."""
LEFT_OUT = ("results", ".venv", ".git")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+\.py(?:::[^\s\[]+(?:\[.*?\])?)?)(?: - |$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        outcome: ``killed``, ``timeout`` or ``survived``.
        by: The test that failed.
    """

    mutant: Mutant
    outcome: str
    by: str
    seconds: float


def every_mutant(only: str = "*") -> list[Mutant]:
    """All mutants of the modules whose names match."""
    paths = sorted({path for pattern in MODULES for path in ROOT.glob(pattern)})
    names = [name for path in paths if fnmatch(name := path.relative_to(ROOT).as_posix(), f"*{only}*")]
    return [mutant for name in names for mutant in mutants(name, (ROOT / name).read_text(encoding="utf-8"))]


def drawn(sample: int, seed: int, only: str = "*") -> list[Mutant]:
    """A sample of all that tests could kill, each as likely as any other; the same for the same seed and code."""
    every = told_apart(every_mutant(only))
    return random.Random(seed).sample(every, min(sample, len(every)))


def run_tests(place: Path, said: Path, arguments: Sequence[str]) -> None:
    """Run pytest in a copy of the tree; called in a process of its own, which has the heavy packages already."""
    os.setsid()
    os.chdir(place)
    os.environ.update({"PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"})
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(place)]
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        import pytest

        quiet = ["-x", "-q", "-rfE", "--tb=no", "-m", "not slow", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = pytest.main([*quiet, *arguments])
        sys.stdout.flush()
    os._exit(int(code))


class Bench:
    """Copies of the tree, one a job, and one that stays as it is.

    Args:
        folder: Where they are put.
        jobs: How many mutants are tried at a time.
        timeout_s: Longest run of the tests of one mutant, seconds.
    """

    def __init__(self, folder: Path, jobs: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._clean = self._copy(folder / "clean")
        self._free: queue.Queue[Path] = queue.Queue()
        for number in range(jobs):
            self._free.put(self._copy(folder / str(number)))
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._passes: dict[str, bool] = {}
        self._broken: set[str] = set()

    def judge(self, mutant: Mutant) -> Verdict:
        """Run the tests of a mutant."""
        place, began = self._free.get(), time.monotonic()
        try:
            (place / mutant.module).write_text(mutant.after, encoding="utf-8")
            outcome, by = self._outcome(place, tests_of(mutant.module))
        finally:
            (place / mutant.module).write_text(mutant.before, encoding="utf-8")
            self._free.put(place)
        return Verdict(mutant, outcome, by, time.monotonic() - began)

    def _outcome(self, place: Path, files: list[str]) -> tuple[str, str]:
        if not files:
            return "survived", "no test imports it"
        while True:
            code, said = self._pytest(place, *files)
            if code is None:
                return "timeout", ""
            if code in (PASSED, NOTHING_RAN):
                return "survived", ", ".join(files)
            by = found[1] if (found := FAILED.search(said)) else files[0]
            if by not in self._passes:
                self._passes[by] = self._pytest(self._clean, by)[0] == PASSED
            if self._passes[by]:
                return "killed", by
            if by in self._broken:
                raise SystemExit(f"the tests do not run at all: {said[-2000:]}")
            self._broken.add(by)  # it fails without the mutant too: the others decide

    def _pytest(self, place: Path, *tests: str) -> tuple[int | None, str]:
        """Exit code and output of some tests of a copy; None when they took too long."""
        said = place / "said.txt"
        broken = [f"--deselect={test}" for test in self._broken]
        process = self._context.Process(target=run_tests, args=(place, said, [*broken, *tests]))
        process.start()
        process.join(self._timeout_s)
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            return None, ""
        return process.exitcode, said.read_text(errors="replace")

    @staticmethod
    def _copy(place: Path) -> Path:
        shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*LEFT_OUT, "__pycache__", ".*_cache", "runs"))
        return place


def report(verdicts: list[Verdict]) -> str:
    """Counts, and a diff of each mutant that lived."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    dead = counts["killed"] + counts["timeout"]
    said = [f"{dead} of {len(verdicts)} killed ({dead / max(len(verdicts), 1):.0%}); {dict(counts)}"]
    for verdict in verdicts:
        if verdict.outcome == "survived":
            mutant = verdict.mutant
            lines = (text.splitlines() for text in (mutant.before, mutant.after))
            said += ["", f"survived: {mutant.what}", f"  tests: {verdict.by}"]
            said += difflib.unified_diff(*lines, mutant.module, mutant.module, lineterm="", n=1)
    return "\n".join(said)


def main() -> None:
    """Draw, try, tell."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sample", type=int, default=100)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--jobs", type=int, default=2)
    asked.add_argument("--timeout", type=float, default=900, help="seconds for the tests of one mutant")
    asked.add_argument("--only", default="", help="part of the names of the files to mutate")
    given = asked.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    chosen = drawn(given.sample, given.seed, given.only)
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(given.jobs) as pool:
        bench = Bench(Path(folder), given.jobs, given.timeout)
        for done in as_completed([pool.submit(bench.judge, mutant) for mutant in chosen]):
            verdict = done.result()
            where = f"{verdict.mutant.module}:{verdict.mutant.line}"
            print(
                f"{verdict.outcome:9}{verdict.seconds:6.0f} s  {where}  {verdict.mutant.what}  {verdict.by}", flush=True
            )
            verdicts.append(verdict)
    print(f"\n{report(verdicts)}")


if __name__ == "__main__":
    main()
