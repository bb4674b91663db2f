"""A process of its own that imports and measures many pairs, and says what it took.

``python scale.py PAIRS FOLDER``: prints processor seconds, peak memory in MiB and what became of the pairs, as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from rewardlab.pairs.imported import ImportRequest, read_import
from rewardlab.pairs.summary import summarise
from rewardlab.tasks.task import tasks

WORDS = [f"{a}{b}" for a in ("re", "un", "be", "over", "out") for b in ("ward", "read", "take", "come", "lay", "set")]
REPEATED = 50
"""Every so many rows, one is the row before it again, in capitals."""


def write(path: Path, count: int) -> None:
    """Preferences of about 1 000 characters a row; labels and lengths as in rationale data."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            if number % REPEATED:
                prompt = f"Question {number}: {' '.join(rng.choices(WORDS, k=60))}"
                sides = [" ".join(rng.choices(WORDS, k=rng.randint(20, 50))) for _ in range(2)]
                row = {
                    "prompt": prompt,
                    "chosen": f"{sides[0]}\n\n The answer is: positive",
                    "rejected": f"{sides[1]}\n\n The answer is: negative",
                }
            elif number:
                row["prompt"] = row["prompt"].upper()
            else:
                row = {"prompt": "q", "chosen": "a", "rejected": "b"}
            file.write(json.dumps(row) + "\n")


def peak_mib() -> float:
    """Peak resident memory of this program; ``ru_maxrss`` would count the process that started it."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def main(count: int, folder: Path) -> None:
    """Import, clean and measure ``count`` pairs."""
    source = folder / "in.jsonl"
    write(source, count)
    start = time.process_time()
    manifest = read_import(ImportRequest(source, "label", task=tasks.get("mr"))).write(folder / "out")
    seconds = time.process_time() - start
    start = time.process_time()
    summarise(folder / "out")
    measured = time.process_time() - start
    peak = peak_mib()
    dropped = manifest["outcomes"].get("near_duplicate", 0) + manifest["held_out_outcomes"].get("near_duplicate", 0)
    print(json.dumps({"import_s": seconds, "stats_s": measured, "peak_mib": peak, "near_duplicates": dropped}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
