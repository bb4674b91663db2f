"""Records ``ppo.json``: what ten PPO steps of a tiny random model measure, and the tokens they drew.

Run ``python -m tests.golden.record`` after a change that is meant to move numbers, from a clean checkout, and say in
the commit why they moved. The drawn tokens are stored as well, so that other CPUs can repeat the arithmetic on the same
responses instead of drawing their own.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from rewardlab.disk import read_json, read_jsonl, write_atomic, write_json
from rewardlab.models import Sample, SamplingConfig, Trunk
from rewardlab.models.sampler import end_ids
from rewardlab.training import rollout
from rewardlab.types import Example
from tests.support.models import tiny_llama
from tests.support.training import ppo_trainer

FILE = Path(__file__).with_name("ppo.json")
SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "rllr": {"ppo_epochs": 2, "kl_coef": 0.1, "entropy_coef": 0.01},
    "ppo-nlu": {
        "value": "head",
        "optimizer": "adafactor",
        "ppo_epochs": 4,
        "kl_coef": 0.0,
        "normalise_scores": False,
        "missing_end_penalty": 0.0,
    },
}
STEPS = 10
Draws = dict[str, list[int]]


class Interrupted(Exception):
    """Raised inside the reward to stop a run halfway."""


def environment() -> dict[str, str]:
    """What decides about the last bits of every number."""
    return {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        **{name: version(name) for name in ("transformers", "peft", "tokenizers")},
    }


def trace(
    scenario: str, folder: Path, draws: Draws | None = None, *, micro_batch: int = 8, stop_in: int | None = None
) -> dict[str, Any]:
    """Train a scenario and tell what it measured.

    Args:
        scenario: One of :data:`SCENARIOS`.
        folder: An empty folder, or one in which the scenario was interrupted.
        draws: Responses to use instead of drawing, by row key.
        micro_batch: Responses per forward pass; must not matter.
        stop_in: Interrupt the run in this step, counted from 0.
    Returns:
        ``draws`` by row key, ``metrics`` of each step without times, ``adapter``: sum and norm of each tensor.
    """
    drawn: Draws = {}
    if not (folder / "model").exists():
        _save_model(folder / "model")
    settings = {"steps": STEPS, "checkpoint_every": 5, "micro_batch": micro_batch, **SCENARIOS[scenario]}
    with _one_thread(), _replaying(draws, drawn):
        ppo_trainer(folder, _reward(stop_in), **settings).train()
    rows = list(read_jsonl(folder / "run" / "metrics.jsonl"))
    adapter = load_file(folder / "run" / "adapter" / "adapter_model.safetensors")
    return {
        "draws": drawn,
        "metrics": [{k: _rounded(v) for k, v in row.items() if not k.startswith("time/")} for row in rows],
        "adapter": {name: [_rounded(float(t.sum())), _rounded(float(t.norm()))] for name, t in sorted(adapter.items())},
    }


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """All measured numbers of a trace under one name each."""
    metrics = {f"step {row['step']} {key}": value for row in found["metrics"] for key, value in row.items()}
    sizes = {f"{name} {kind}": v for name, pair in found["adapter"].items() for kind, v in zip("+|", pair, strict=True)}
    return metrics | sizes


def main() -> int:
    """Record all scenarios; refuses a changed checkout and runs that differ."""
    root = FILE.parents[2]
    changed = _git(root, "status", "--porcelain", "--", "rewardlab", "tests/support", "tests/golden/record.py")
    if changed:
        print(f"commit first; changed: {changed}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        runs = [{name: trace(name, _new(Path(scratch), name, n)) for name in SCENARIOS} for n in range(2)]
    if runs[0] != runs[1]:
        print("two runs differ; nothing recorded", file=sys.stderr)
        return 1
    stored = {"commit": _git(root, "rev-parse", "HEAD"), "environment": environment(), "scenarios": runs[0]}
    write_atomic(FILE, _compact(stored))
    return 0


def recorded() -> dict[str, Any]:
    """The stored recording."""
    stored: dict[str, Any] = read_json(FILE)
    return stored


def _reward(stop_in: int | None) -> Callable[[Example, str], float]:
    calls: list[int] = []

    def letters(example: Example, response: str) -> float:
        calls.append(1)
        if stop_in is not None and len(calls) > 8 * stop_in:
            raise Interrupted
        return sum(character.isalpha() for character in response) - 0.5 * len(response)

    return letters


def _save_model(folder: Path) -> None:
    """A random model in which one token in nine ends a response, so that lengths differ."""
    tiny_llama(folder)
    settings = read_json(folder / "generation_config.json")
    write_json(folder / "generation_config.json", {**settings, "eos_token_id": list(range(1, 45))})


@contextmanager
def _replaying(draws: Draws | None, drawn: Draws) -> Iterator[None]:
    """Answer the trainer's sampling from ``draws`` when given; keep what was drawn in ``drawn``."""
    original = rollout.sample

    def sample(
        trunk: Trunk, prompts: Sequence[Sequence[int]], keys: Sequence[int], config: SamplingConfig, role: str | None
    ) -> list[Sample]:
        if draws is None:
            found = original(trunk, prompts, keys, config, role)
        else:
            found = [_sample(trunk, draws[str(key)]) for key in keys]
        drawn.update({str(key): list(one.ids) for key, one in zip(keys, found, strict=True)})
        return found

    rollout.sample = sample
    try:
        yield
    finally:
        rollout.sample = original


def _sample(trunk: Trunk, ids: Sequence[int]) -> Sample:
    """A response from its tokens; in these scenarios it ends with an end token, after a line break, or is cut."""
    has_end = ids[-1] in end_ids(trunk)
    text = trunk.codec.decode(ids[:-1] if has_end else ids)
    return Sample(tuple(ids), text, has_end or "\n" in text.lstrip())


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _new(scratch: Path, name: str, number: int) -> Path:
    folder = scratch / f"{name}-{number}"
    folder.mkdir()
    return folder


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")


def _compact(stored: Any) -> str:
    """JSON with one line per step, tensor and response, so that a change can be read in a diff."""
    text = json.dumps(stored, indent=1)
    lines: list[str] = []
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip())
        if depth > 4 or (depth == 4 and line.strip() in {"}", "},", "]", "],"}):
            lines[-1] += line.strip() + (" " if line.endswith(",") else "")
        else:
            lines.append(line)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
