"""Run the PPO bench and its peer in turn, in one sitting, and write ratios.

    python experiments/bench/compare.py [--model smollm2-135m-q4] [--threads 2] [--steps 3] [--rows head adapter ...]

The peer gets an environment of its own (``--peer-env``), which is made on first use. Results go to ``results.json`` and
``results.md`` beside this file. Memory and time are of whole processes that do nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEER_PACKAGES = ("torch==2.13.0", "trl==1.12.0", "peft")
ROWS: dict[str, tuple[str, dict[str, float], tuple[str, ...]]] = {
    "head": (
        "float32, value head, rule reward",
        {"avx2": 0.34, "avx512f": 0.24},
        ("--dtype", "float32", "--value", "head", "--reward", "rule"),
    ),
    "adapter": (
        "float32, value adapter, mixed reward (two reward models)",
        {"avx512f": 0.34},
        ("--dtype", "float32", "--value", "adapter", "--reward", "mixed"),
    ),
    "bfloat16": (
        "bfloat16 trunk, value head, rule reward",
        {"avx512_bf16": 0.16, "amx_bf16": 0.16},
        ("--dtype", "bfloat16", "--value", "head", "--reward", "rule"),
    ),
}
"""Name -> what is run, the ratio of time to reach by the processor's instructions (the last that it has counts),
options of ``rewardlab bench ppo``. The peer is float32, as it ships."""
MEMORY_GOAL = 0.28
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
SAMPLER_GOAL = 0.70
TRL_HEADING = "## GRPO and DPO against TRL's trainers"
"""Of the part of ``results.md`` that ``compare_trl.py`` writes."""


def main() -> int:
    """Run everything and write the results."""
    asked = _options()
    model = model_folder(asked.model)
    sizes = [f"--{name}={getattr(asked, name.replace('-', '_'))}" for name in ("batch", "prompt-len", "response-len")]
    sizes += [f"--steps={asked.steps}"]
    peer_python = _peer_python(asked.peer_env)
    rows = []
    for name in asked.rows:
        peer = json_of([peer_python, str(HERE / "peer.py"), "--model", model, *sizes], asked.threads, peer=True)
        ours = json_of(
            [sys.executable, "-m", "rewardlab", "bench", "ppo", "--model", asked.model, *sizes, *ROWS[name][2]],
            asked.threads,
        )
        rows.append({"row": name, "ours": ours, "peer": {**peer, "model": asked.model}})
        print(json.dumps(_ratios(rows[-1])), flush=True)
    sampler = json_of(
        [sys.executable, "-m", "rewardlab", "bench", "sampler", "--model", asked.model, "--dtype", "float32"],
        asked.threads,
    )
    found = {
        **machine(
            f"python experiments/bench/compare.py --steps {asked.steps} --rows {' '.join(asked.rows)}", asked.threads
        ),
        "rows": rows,
        "sampler": sampler,
    }
    (asked.out / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    page = asked.out / "results.md"
    _, heading, others = page.read_text(encoding="utf-8").partition(TRL_HEADING) if page.exists() else ("", "", "")
    page.write_text(_table(found) + (f"\n{heading}{others}" if heading else ""), encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-q4")
    for name, default in {"batch": 16, "prompt-len": 96, "response-len": 24, "steps": 3, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--peer-env", type=Path, default=ROOT / ".venv-peer")
    parser.add_argument("--out", type=Path, default=HERE)
    return parser.parse_args()


def model_folder(name: str) -> str:
    """Where a model lies."""
    from rewardlab.models.names import find_model

    return find_model(name).location


def _peer_python(folder: Path) -> str:
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return str(python)


def json_of(command: list[str], threads: int, *, peer: bool = False) -> dict[str, Any]:
    """Run a command that prints one JSON line at its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    if peer:
        environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "load": os.getloadavg()[0]}


def _ratios(row: dict[str, Any]) -> dict[str, Any]:
    ours, peer = row["ours"], row["peer"]
    return {
        "row": row["row"],
        "time": round(ours["sec_per_step"] / peer["sec_per_step"], 3),
        "cpu_time": round(ours["cpu_sec_per_step"] / peer["cpu_sec_per_step"], 3),
        "memory": round(ours["peak_mib"] / peer["peak_mib"], 3),
    }


def machine(command: str, threads: int) -> dict[str, Any]:
    """Where and of which code the command measures."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "command": command,
        "commit": commit.stdout.strip(),
        "cpu": _cpu(),
        "instructions": [flag for flag in INSTRUCTIONS if flag in _processor().get("flags", "").split()],
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
    }


def _cpu() -> str:
    found = _processor()
    return f"{found.get('model name', platform.machine())}, family {found.get('cpu family', '?')}"


def _processor() -> dict[str, str]:
    """What Linux says of the processor; of several the last."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _time_goal(row: str, instructions: list[str]) -> str:
    """What a row is to reach on a processor, in brackets; nothing where no goal was set for it."""
    reached = [goal for name, goal in ROWS[row][1].items() if name in instructions]
    return f" (goal {reached[-1]})" if reached else ""


def _table(found: dict[str, Any]) -> str:
    lines = [
        f"`{found['command']}` at commit {found['commit'][:12]}; {found['cpu']}, {found['cores']} cores, "
        f"{found['threads']} threads, {', '.join(found['instructions'])}.",
        "",
        "| work | time, ours / peer | CPU time, ours / peer | peak memory, ours / peer | seconds a step | MiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        title, goal = ROWS[row["row"]][0], _time_goal(row["row"], found["instructions"])
        ratios, ours, peer = _ratios(row), row["ours"], row["peer"]
        lines.append(
            f"| {title} | {ratios['time']}{goal} | {ratios['cpu_time']} | {ratios['memory']} (goal {MEMORY_GOAL}) | "
            f"{ours['sec_per_step']} / {peer['sec_per_step']} | {ours['peak_mib']} / "
            f"{peer['peak_mib']} |"
        )
    sampler = found["sampler"]
    seconds = f"{sampler['sampler_s']} / {sampler['generate_s']}"
    lines.append(f"| sampler against `generate` | {sampler['ratio']} (goal {SAMPLER_GOAL}) | | | {seconds} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
