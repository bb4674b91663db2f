"""Passes that read a prompt once for its G responses against passes over whole rows, in one process and in turn.

    python experiments/bench/shared_prompts.py [--layers 6] [--repeats 2] [--groups 4 8 16]

Layers of SmolLM2-135M's shape with random weights and LoRA on q_proj and v_proj, 16 responses of 24 tokens, prompts of
96, one prompt a pass. Prints for each G the tokens read, CPU seconds of all passes with gradients, the ratio, and how
far the gradients are apart, as a share of the largest.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.models.prompts import response_states
from rewardlab.models.shapes import SHAPES, random_trunk
from rewardlab.models.trunk import Trunk

BATCH, PROMPT, RESPONSE = 16, 96, 24


def gradient(trunk: Trunk, ids: torch.Tensor, group: int, *, is_shared: bool) -> tuple[float, torch.Tensor]:
    """CPU seconds of forward and backward passes over 16 responses, a prompt at a time, and the gradient."""
    parameters, keep = trunk.roles.parameters("policy"), torch.ones(group, PROMPT + RESPONSE, dtype=torch.bool)
    for parameter in parameters:
        parameter.grad = None
    start = time.process_time()
    for rows in ids.split(group):
        if is_shared:
            states = response_states(trunk, rows, keep, PROMPT, [0] * group, "policy")
        else:
            states = trunk.hidden(rows, keep, "policy")[:, PROMPT - 1 : -1]
        trunk.logprobs(states.flatten(0, 1), rows[:, PROMPT:].flatten(), 1.0).sum().backward()
    return time.process_time() - start, torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--groups", type=int, nargs="*", default=[4, 8, 16])
    asked = parser.parse_args()
    SHAPES["layers"] = {**SHAPES["smollm2-135m"], "num_hidden_layers": asked.layers}
    trunk = random_trunk("layers", ModelConfig(dtype="float32", device="cpu"))
    trunk.roles.add("policy", LoraConfig())
    for parameter in trunk.roles.parameters("policy"):
        torch.nn.init.normal_(parameter, 0, 0.02)
    print("| G | tokens of 16 responses, once / whole | CPU seconds, once / whole | ratio | gradients apart |")
    print("|---|---|---|---|---|")
    for group in asked.groups:
        ids = torch.randint(100, 40000, (BATCH, PROMPT + RESPONSE))
        for start in range(0, BATCH, group):
            ids[start : start + group, :PROMPT] = ids[start, :PROMPT]
        turns = [
            [gradient(trunk, ids, group, is_shared=way) for way in (True, False)] for _ in range(asked.repeats + 1)
        ]
        once, whole = (median(turn[side][0] for turn in turns[1:]) for side in (0, 1))
        (_, ours), (_, theirs) = turns[0]
        gap = float((ours - theirs).abs().max() / theirs.abs().max())
        tokens = f"{BATCH // group * PROMPT + BATCH * (RESPONSE - 1)} / {BATCH * (PROMPT + RESPONSE)}"
        print(f"| {group} | {tokens} | {once:.2f} / {whole:.2f} | {once / whole:.3f} | {gap:.1e} |", flush=True)


if __name__ == "__main__":
    main()
