"""How processor time grows with size, as exponents: 1.00 is linear, 2.00 quadratic.

    python experiments/bench/growth.py [--only rows compare] [--tries 2] [--times 1]

A line a measurement: the sizes, processor seconds at each (the best of the tries; what is made beforehand does not
count), and the slope of log seconds over log size. A fixed part (an import, a first call) pulls it below 1. What stands
above 1.15 is explained in ``README.md`` beside this file. Results go to ``results-growth.json``. Tests assert what
causes these numbers (steps of Python, passes, bytes), never the numbers.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]
os.environ["HF_HUB_OFFLINE"] = "1"
Work = Callable[[], object]
Made = Callable[[Path, int], Work]
"""(empty folder, size) -> what is measured at that size."""


def rows(folder: Path, size: int) -> Work:
    """Reading and dividing rows, 1 000 of which are used."""
    from rewardlab.tasks.sources import load_splits
    from rewardlab.tasks.task import tasks

    lines = (
        {"id": f"r{n}", "text": f"film {n}{' and so on' * 20}", "label": ("positive", "negative")[n % 2]}
        for n in range(size)
    )
    _write(folder / "mr" / "train.jsonl", lines)
    limits = dict.fromkeys(("labelled", "prompts", "validation", "test"), 250)
    return lambda: load_splits(tasks.get("mr"), data_dir=folder, **limits)  # type: ignore[arg-type]


def scores(folder: Path, size: int) -> Work:
    """``reward score`` by the rule."""
    from rewardlab.cli.reward_score import ScoreRequest, score_file
    from rewardlab.config import RewardConfig
    from rewardlab.lab.answer_rows import AnswerSource

    text = f"It shines.{' And so on.' * 20}\n\n The answer is: positive"
    _write(folder / "answers.jsonl", ({"response": text, "label": "positive"} for _ in range(size)))
    source = AnswerSource("mr", folder / "answers.jsonl", "rationale", None)
    return lambda: score_file(ScoreRequest(source, RewardConfig(), folder / "scores.jsonl"))


def journal(folder: Path, size: int) -> Work:
    """Opening a journal, finding each answer in it, and adding as many."""
    from rewardlab.annotate.journal import Journal

    record = {"annotator": "openai", "model": "m", "text": "It shines. " * 20, "finish": "stop"}
    file = folder / "openai.jsonl"
    _write(file, ({"key": f"{n:032x}", **record} for n in range(size)))
    whole = file.read_bytes()

    def work() -> None:
        file.write_bytes(whole)
        known = Journal(file)
        assert all(known.get(f"{n:032x}") for n in range(size))
        with known.writer() as writer:
            for n in range(size, 2 * size):
                writer.write(f"{n:032x}", record)

    return work


def compared(seeds: int) -> Made:
    """Table, differences, Markdown, LaTeX, CSV and the page of so many runs, ``seeds`` of each method."""

    def made(folder: Path, size: int) -> Work:
        from rewardlab.comparison.frames import csv_text
        from rewardlab.comparison.statistics import _cell_draws
        from rewardlab.lab.compared import compare_runs
        from tests.support.runs import LABELS, eval_folder

        rng, gold = random.Random(0), [LABELS[number % 2] for number in range(30)]
        for number in range(size):
            cell = {d: (gold, [rng.choice((label, "yes")) for label in gold]) for d in ("sampled", "greedy")}
            method, seed = divmod(number, seeds)
            eval_folder(folder / "eval" / f"{number}", method=f"method {method}", seed=seed, columns={"toy": cell})

        def work() -> None:
            _cell_draws.cache_clear()
            found = compare_runs([folder], convention="rllr")
            for text in (found.markdown(), found.latex(), csv_text(found.frame())):
                assert text
            found.html(folder / "page.html")

        return work

    return made


def cells(folder: Path, size: int) -> Work:
    """Cells of a suite with a seed each, their stages and the plan."""
    from rewardlab.suites.cells import cells
    from rewardlab.suites.file import load_suite
    from rewardlab.suites.plan import make_plan

    file = folder / "suite.toml"
    file.write_text(
        f'name = "growth"\nseeds = {list(range(size))}\n[settings]\ntask = "sandbox-topic"\n"data.labelled" = 40\n'
        '"data.prompts" = 40\n"data.validation" = 20\n"data.test" = 20\n[[method]]\nname = "PPO"\nstage = "ppo"\n'
        'settings = { "reward.expression" = "label" }\n'
    )
    return lambda: make_plan(cells(load_suite(file), folder / "runs"), folder / "runs")


@cache
def _trunk() -> Any:
    from rewardlab.config import ModelConfig
    from rewardlab.models import load_trunk

    return load_trunk(ModelConfig(device="cpu"))


def _drawn(samples: int, prompt: int, answer: int) -> Work:
    """So many answers of a length to prompts of a length, by the embedded model."""
    from rewardlab.models import SamplingConfig, row_key, sample
    from rewardlab.training.bench import random_rows

    trunk = _trunk()
    prompts = random_rows(1, prompt, trunk) * samples
    keys = [row_key("growth", number) for number in range(samples)]
    config = SamplingConfig(answer, batch=32, is_fixed_length=True)
    return lambda: sample(trunk, prompts, keys, config, None)


def best_of(folder: Path, size: int) -> Work:
    """Drawing N answers to a prompt and taking the best of them."""
    from rewardlab.training.scored_samples import Candidate, best_of

    draw = _drawn(size, 64, 16)

    def work() -> None:
        draw()
        best_of([Candidate(str(number), True, float(number % 7)) for number in range(size)])

    return work


MEASURED: dict[str, tuple[str, Made, Sequence[int]]] = {
    "rows": ("rows of a file", rows, (10_000, 20_000, 40_000)),
    "scores": ("answers scored by a rule", scores, (2_000, 4_000, 8_000)),
    "journal": ("rows of a journal", journal, (5_000, 10_000, 20_000)),
    "compare": ("runs in `compare`, one seed a method", compared(1), (50, 100, 200)),
    "compare-seeds": ("runs in `compare`, ten seeds a method", compared(10), (50, 100, 200)),
    "cells": ("cells of a suite", cells, (10, 20, 40)),
    "prompt": ("tokens of a prompt", lambda _, size: _drawn(8, size, 8), (128, 256, 512)),
    "answer": ("tokens of an answer", lambda _, size: _drawn(8, 64, size), (32, 64, 128)),
    "best-of": ("N of best-of-N", best_of, (32, 64, 128)),
}
"""Name -> what grows, how it is made, sizes."""


def _write(file: Path, lines: Iterator[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as out:
        out.writelines(f"{json.dumps(line)}\n" for line in lines)


def seconds(work: Work, tries: int) -> float:
    """Processor seconds of the best try."""
    taken = []
    for _ in range(tries):
        before = time.process_time()
        work()
        taken.append(time.process_time() - before)
    return min(taken)


def exponent(sizes: Sequence[int], taken: Sequence[float]) -> float:
    """Slope of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(taken), 1)[0])


def main() -> None:
    """Measure and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(MEASURED), default=list(MEASURED))
    parser.add_argument("--tries", type=int, default=2)
    parser.add_argument("--times", type=float, default=1, help="all sizes times this")
    parser.add_argument("--out", type=Path, default=HERE / "results-growth.json")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    from compare import machine

    command = "python experiments/bench/growth.py " + " ".join(sys.argv[1:])
    found = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for name in asked.only:
        what, made, sizes = MEASURED[name]
        sizes = [round(size * asked.times) for size in sizes]
        with tempfile.TemporaryDirectory() as folder:
            works = []
            for size in sizes:
                (place := Path(folder, str(size))).mkdir()
                works.append(made(place, size))
            works[0]()  # imports and caches
            taken = [round(seconds(work, asked.tries), 3) for work in works]
        power = round(exponent(sizes, taken), 2)
        found[name] = {**machine(command.strip(), 1), "sizes": sizes, "cpu_s": taken, "exponent": power}
        print(f"{power:6.2f}  {what:40}  {sizes} in {taken} s", flush=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
