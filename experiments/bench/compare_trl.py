"""Run the benches of GRPO and DPO and TRL's trainers in turn, in one sitting, and write ratios.

    python experiments/bench/compare_trl.py [--model smollm2-135m-q4] [--threads 1] [--steps 2] [--rows grpo dpo ...]

Rows ``group-G`` compare ours with itself: prompts read once for G responses, and whole rows (``--plain``). Results
go to ``results-trl.json`` and, below their heading, to ``results.md`` beside this file. Memory and time are of whole
processes that do nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from compare import HERE, TRL_HEADING, json_of, machine, model_folder

GRPO = ("--batch=16", "--group=4", "--micro=4")
DPO = ("--batch=8", "--micro=2")
ROWS: dict[str, tuple[str, dict[str, float], str, tuple[str, ...]]] = {
    "grpo": ("GRPO, 4 prompts x 4, beta 0.05", {"time": 0.35, "memory": 0.50}, "grpo", (*GRPO, "--beta=0.05")),
    "grpo-free": ("GRPO, 4 prompts x 4, beta 0", {"time": 0.35, "memory": 0.50}, "grpo", (*GRPO, "--beta=0")),
    "dpo": ("DPO, 8 pairs", {"time": 0.60, "memory": 0.50}, "dpo", DPO),
}
"""Name -> what is run, the ratios to reach, the method, options of both sides."""
GROUPS = {f"group-{group}": group for group in (4, 8, 16)}


def main() -> int:
    """Run everything and write the results."""
    asked = _options()
    model = model_folder(asked.model)
    sizes = ("--prompt-len=96", "--response-len=24", f"--steps={asked.steps}", "--dtype=float32")
    rows = []
    for name in asked.rows:
        if name in GROUPS:
            title, goals, method = (
                f"GRPO, prompts read once for {GROUPS[name]} responses, against whole rows",
                {},
                "grpo",
            )
            options = ("--batch=16", f"--group={GROUPS[name]}", f"--micro={GROUPS[name]}")
            other = json_of([*_ours("grpo", asked.model), *options, *sizes, "--plain"], asked.threads)
        else:
            title, goals, method, options = ROWS[name]
            peer = [sys.executable, str(HERE / "peer_trl.py"), method, "--model", model]
            other = json_of([*peer, *options, *sizes], asked.threads) | {"model": asked.model}
        ours = json_of([*_ours(method, asked.model), *options, *sizes], asked.threads)
        rows.append({"row": name, "title": title, "goals": goals, "ours": ours, "other": other})
        print(json.dumps({"row": name} | _ratios(rows[-1])), flush=True)
    command = f"python experiments/bench/compare_trl.py --threads {asked.threads} --steps {asked.steps}"
    found = {**machine(f"{command} --rows {' '.join(asked.rows)}", asked.threads), "rows": rows}
    (asked.out / "results-trl.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    page = asked.out / "results.md"
    before = page.read_text(encoding="utf-8").partition(TRL_HEADING)[0].rstrip() if page.exists() else ""
    page.write_text(f"{before}\n\n{TRL_HEADING}\n\n{_table(found)}", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-q4")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    names = [*ROWS, *GROUPS]
    parser.add_argument("--rows", nargs="*", choices=names, default=names)
    parser.add_argument("--out", type=Path, default=HERE)
    return parser.parse_args()


def _ours(method: str, model: str) -> list[str]:
    return [sys.executable, "-m", "rewardlab", "bench", method, "--model", model]


def _ratios(row: dict[str, Any]) -> dict[str, float]:
    names = {"time": "sec_per_step", "cpu_time": "cpu_sec_per_step", "memory": "peak_mib"}
    return {name: round(row["ours"][key] / row["other"][key], 3) for name, key in names.items()}


def _table(found: dict[str, Any]) -> str:
    lines = [
        f"`{found['command']}` at commit {found['commit'][:12]}; {found['cpu']}, {found['cores']} cores, "
        f"{found['threads']} threads.",
        "",
        "| work | time, ours / other | CPU time, ours / other | peak memory, ours / other | CPU seconds a step | MiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        ratios, goals, ours, other = _ratios(row), row["goals"], row["ours"], row["other"]
        shown = {name: f"{ratios[name]}" + (f" (goal {goals[name]})" if name in goals else "") for name in ratios}
        lines.append(
            f"| {row['title']} | {shown['time']} | {shown['cpu_time']} | {shown['memory']} | "
            f"{ours['cpu_sec_per_step']} / {other['cpu_sec_per_step']} | {ours['peak_mib']} / {other['peak_mib']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
