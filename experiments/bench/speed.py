"""How fast the parts without a model are, as ratios within one run: a faster machine prints the same numbers.

``python experiments/bench/speed.py [--rows 20000]`` takes a minute. A "times" row compares processor time with that of
plain work over the same bytes (its name says which); a "growth" row compares two sizes, 1.00 being linear.
Tests assert what causes these numbers, never the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
TRIES = 3
SHAPES = ("The answer is: not positive ", "1/2 ", "<Judgement>", "Ranking: 5>3", "Answer 1 is ", " \n", "(")


def seconds(work: Callable[[], object]) -> float:
    """Processor time of the best of three calls, this process and those it started."""

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    taken = []
    for _ in range(TRIES):
        before = now()
        work()
        taken.append(now() - before)
    return min(taken)


def growth(work: Callable[[int], object], small: int, large: int) -> float:
    """Seconds a unit of the large size over seconds a unit of the small one, by the clock: sizes may be tiny."""

    def each(size: int) -> float:
        best = float("inf")
        for _ in range(TRIES):
            start = time.perf_counter()
            work(size)
            best = min(best, time.perf_counter() - start)
        return best / size

    return each(large) / each(small)


def python(*command: str) -> Callable[[], object]:
    """A fresh interpreter that runs a command line."""
    return lambda: subprocess.run(
        [sys.executable, *command], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def starting() -> Iterator[tuple[str, str, float]]:
    """Commands against the imports that they cannot do without."""
    typer, polars = seconds(python("-c", "import typer, pydantic")), seconds(python("-c", "import polars"))
    yield "rewardlab --help", "times `import typer, pydantic`", seconds(python("-m", "rewardlab", "--help")) / typer
    yield "rewardlab tasks", "times `import typer, pydantic`", seconds(python("-m", "rewardlab", "tasks")) / typer
    plan = ("-m", "rewardlab", "ppo", "--reward", "mixed", "--lambda", "5", "--dry-run")
    yield "rewardlab ppo --dry-run", "times `import polars`", seconds(python(*plan)) / polars


def reading(folder: Path, rows: int) -> Iterator[tuple[str, str, float]]:
    """Rows and answers against reading their JSON."""
    from rewardlab.cli.reward_score import ScoreRequest, score_file
    from rewardlab.config import RewardConfig
    from rewardlab.lab.answer_rows import AnswerSource
    from rewardlab.pairs.imported import ImportRequest, read_import
    from rewardlab.tasks.sources import load_splits
    from rewardlab.tasks.task import tasks
    from tests.support import scale

    def read(path: Path) -> float:
        return seconds(lambda: [json.loads(line) for line in path.read_text().splitlines()])

    (folder / "mr").mkdir()
    texts = [f"film {number}{' and so on, as reviews do' * 8}" for number in range(rows)]
    train, answers, pairs = folder / "mr" / "train.jsonl", folder / "answers.jsonl", folder / "pairs.jsonl"
    lines = [json.dumps({"id": text[:12], "text": text, "label": "positive"}) for text in texts]
    train.write_text("\n".join(lines))
    lines = [json.dumps({"response": f"{text}\n\n The answer is: positive", "label": "positive"}) for text in texts]
    answers.write_text("\n".join(lines))
    scale.write(pairs, rows)
    loaded = seconds(lambda: load_splits(tasks.get("mr"), data_dir=folder)) / read(train)
    yield f"loading {rows} rows", "times `json.loads`", loaded
    request = ScoreRequest(AnswerSource("mr", answers, "rationale", None), RewardConfig(), folder / "scores.jsonl")
    yield f"scoring {rows} answers by rule", "times `json.loads`", seconds(lambda: score_file(request)) / read(answers)
    asked = ImportRequest(pairs, "label", task=tasks.get("mr"))
    imported = seconds(lambda: read_import(asked).write(folder / "out")) / read(pairs)
    yield f"importing {rows} pairs", "times `json.loads`", imported


def parsing() -> Iterator[tuple[str, str, float]]:
    """Readers of free text, from 100 KB to 1 MB, the worst shape of each."""
    from rewardlab.annotate.pairwise import parse_verdict
    from rewardlab.annotate.ranking import parse_ranking
    from rewardlab.tasks import resolve_tasks

    def worst(read: Callable[[str], object]) -> float:
        return max(growth(lambda n, s=shape: read(s * (n // len(s))), 100_000, 1_000_000) for shape in SHAPES)

    for task in resolve_tasks("mr,stsb,mnli"):
        yield f"an answer of {task.name}", "growth", worst(lambda text, task=task: task.parse(text, "rationale"))
    yield "a ranking", "growth", worst(lambda text: parse_ranking(text, 5))
    yield "a verdict", "growth", worst(parse_verdict)


def comparing(folder: Path, runs: int) -> Iterator[tuple[str, str, float]]:
    """A table and its comparisons, from so many seeds to four times as many."""
    from rewardlab.comparison.differences import default_against, gains
    from rewardlab.comparison.runs import collect
    from rewardlab.comparison.table import build_table
    from tests.support.runs import LABELS, eval_folder

    rng = random.Random(0)
    gold = [LABELS[number % 2] for number in range(200)]
    for count in (runs, 4 * runs):
        for seed in range(count):
            for method in "abc":
                answers = [label if rng.random() < 0.7 else rng.choice(LABELS) for label in gold]
                where = folder / str(count) / f"{method}{seed}"
                eval_folder(where, method=method, seed=seed, columns={"toy": {"greedy": (gold, answers)}})

    def compare(count: int) -> object:
        table = build_table(collect([folder / str(count)]).runs)
        return gains(table, default_against(table))

    yield f"comparing three methods of {runs} and {4 * runs} seeds", "growth", growth(compare, runs, 4 * runs)


def main() -> None:
    """Print a row each."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=20_000)
    rows = asked.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (starting(), reading(folder, rows), parsing(), comparing(folder / "runs", 8)):
            for what, against, ratio in part:
                print(f"{ratio:8.2f}  {against:32}  {what}", flush=True)


if __name__ == "__main__":
    main()
