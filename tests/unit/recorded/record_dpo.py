"""Records ``trl_1_16_0_dpo.json``: the losses that TRL's DPOTrainer computes from seeded numbers.

The installed trainer's own method is called on a bare object (``tests/support/trl_trainers.py``)::

    python -m tests.unit.recorded.record_dpo
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import trl

from tests.support.trl_trainers import pair_loss

VERSION = "1.16.0"
TARGET = Path(__file__).with_name("trl_1_16_0_dpo.json")
LENGTHS = (4, 2, 6, 3, 5, 1)
CASES = [(kind, beta) for kind in ("sigmoid", "ipo", "robust", "hinge") for beta in (0.1, 0.7)]


def main() -> None:
    """Three pairs in six columns."""
    if trl.__version__ != VERSION:
        raise SystemExit(f"found trl {trl.__version__}, expected {VERSION}")
    generator = torch.Generator().manual_seed(4)
    keep = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    logprobs = -3 * torch.rand(keep.shape, generator=generator, dtype=torch.float64) * keep
    reference = logprobs.sum(-1) + torch.randn(len(LENGTHS), generator=generator, dtype=torch.float64)
    found = []
    for kind, beta in CASES:
        smoothing = 0.2 if kind == "robust" else 0.0
        loss, _ = pair_loss(kind, logprobs, reference, keep, beta=beta, smoothing=smoothing)
        found.append({"loss_type": kind, "beta": beta, "label_smoothing": smoothing, "loss": float(loss)})
    inputs = {"logprobs": logprobs.tolist(), "reference": reference.tolist(), "keep": keep.tolist()}
    TARGET.write_text(json.dumps({"trl": VERSION, **inputs, "found": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
