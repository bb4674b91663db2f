"""Records ``trl_groups_1_16_0.json``: what TRL's GRPO and RLOO trainers make of scores and log-probabilities.

Their own statements are run on seeded inputs in float64, out of the installed package; nothing of it is copied here::

    python tests/unit/recorded/record_trl_groups.py
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import trl
from torch import Tensor
from trl.trainer import grpo_trainer, rloo_trainer
from trl.trainer.utils import nanstd

VERSION = "1.16.0"
TARGET = Path(__file__).with_name("trl_groups_1_16_0.json")
GROUP, LENGTHS, LONGEST, BETA, CLIP = 4, (5, 2, 3, 1), 6, 0.3, 0.2
NAN = float("nan")
SCORES = [[1.0, 0.0, 1.0, 0.0], [0.3, -2.0, 5.5, 0.7], [2.0, 2.0, 2.0, 2.0], [NAN, 1.0, 3.0, 4.0]]
"""Four prompts, four responses each; one could not be judged."""


def run(module: Any, method: str, first: str, last: str, space: dict[str, Any]) -> None:
    """The statements of a method from the one that assigns ``first`` to the one that assigns ``last``, in one block."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == method):
        for node in ast.walk(function):
            for block in (getattr(node, "body", []), getattr(node, "orelse", [])):
                names = [_assigned(each) for each in block] if isinstance(block, list) else []
                if first in names and last in names[names.index(first) :]:
                    start = names.index(first)
                    wanted = block[start : start + names[start:].index(last) + 1]
                    exec(compile(ast.Module(wanted, []), module.__name__, "exec"), space)
                    return
    raise LookupError(f"{method} has no block from {first} to {last}; is it TRL {VERSION}?")


def advantages() -> dict[str, list[float]]:
    """Of GRPO with and without the division by the deviation, and of RLOO."""
    rewards = torch.tensor(SCORES, dtype=torch.float64).flatten()
    found = {}
    for name, scale in (("grpo", "group"), ("dr_grpo", "none")):
        space = {"torch": torch, "nanstd": nanstd, "rewards": rewards, "num_generations": GROUP}
        space["self"] = SimpleNamespace(scale_rewards=scale)
        run(grpo_trainer, "_generate_and_score_completions", "mean_grouped_rewards", "advantages", space)
        if scale == "group":
            space["advantages"] = space["advantages"] / (space["std_rewards"] + 1e-4)
        found[name] = space["advantages"].nan_to_num(0.0).tolist()
    space = {"torch": torch, "rewards": rewards, "grouped_rewards": rewards.view(-1, GROUP)}
    space["scorable_counts"] = (~space["grouped_rewards"].isnan()).sum(1, keepdim=True)
    space["grouped_sum"] = space["grouped_rewards"].nansum(1, keepdim=True)
    run(rloo_trainer, "_generate_and_score_completions", "baselines", "advantages", space)
    found["rloo"] = space["advantages"].nan_to_num(0.0).tolist()
    return found


def losses() -> dict[str, Any]:
    """The clipped loss with the corrected KL in it, by each mean, and its gradient in the log-probabilities."""
    generator = torch.Generator().manual_seed(4)
    rows, width = len(LENGTHS), max(LENGTHS)
    old, reference = (torch.randn(rows, width, generator=generator, dtype=torch.float64) - 2 for _ in range(2))
    drift = 0.4 * torch.randn(rows, width, generator=generator, dtype=torch.float64)
    each = torch.randn(rows, generator=generator, dtype=torch.float64)
    mask = torch.arange(width)[None] < torch.tensor(LENGTHS)[:, None]
    given = {"old": old, "reference": reference, "drift": drift, "advantages": each}
    found: dict[str, Any] = {"inputs": {name: tensor.tolist() for name, tensor in given.items()}}
    for kind in ("grpo", "bnpo", "dr_grpo"):
        new = (old + drift).requires_grad_()
        found[kind] = _loss(kind, new, old, reference, each[:, None], mask)
    return found


def _loss(kind: str, new: Tensor, old: Tensor, reference: Tensor, advantage: Tensor, mask: Tensor) -> dict[str, Any]:
    args = SimpleNamespace(use_bias_correction_kl=True, delta=None)
    trainer = SimpleNamespace(
        beta=BETA, args=args, loss_type=kind, epsilon_low=CLIP, epsilon_high=CLIP, max_completion_length=LONGEST
    )
    trainer.model = SimpleNamespace(training=False)
    space: dict[str, Any] = {"torch": torch, "self": trainer, "mask": mask, "advantages": advantage, "mode": "eval"}
    space |= {"per_token_logps": new, "ref_per_token_logps": reference, "coef_1": (new - old).exp()}
    run(grpo_trainer, "_compute_loss", "per_token_kl", "per_token_kl", space)
    space["per_token_kl"] = space["per_token_kl"] * space["coef_1"]  # its branch use_bias_correction_kl
    run(grpo_trainer, "_compute_loss", "coef_2", "coef_2", space)
    run(grpo_trainer, "_compute_loss", "per_token_loss1", "per_token_loss", space)
    space["per_token_loss"] = space["per_token_loss"] + BETA * space["per_token_kl"]
    means = {
        "grpo": lambda loss: ((loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean(),
        "bnpo": lambda loss: (loss * mask).sum() / mask.sum(),
        "dr_grpo": lambda loss: (loss * mask).sum() / (loss.size(0) * LONGEST),
    }
    loss = means[kind](space["per_token_loss"])
    loss.backward()
    assert new.grad is not None
    return {"loss": float(loss.detach()), "gradient": (new.grad * mask).tolist()}


def _assigned(statement: ast.stmt) -> str | None:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    return target.id if isinstance(target, ast.Name) else None


def main() -> None:
    """Record."""
    if trl.__version__ != VERSION:
        raise SystemExit(f"trl {trl.__version__} is installed; these lines are of {VERSION}")
    settings = {"group": GROUP, "lengths": LENGTHS, "longest": LONGEST, "beta": BETA, "clip": CLIP}
    scores = [[None if one != one else one for one in row] for row in SCORES]
    recorded = {"trl": VERSION, **settings, "scores": scores, "advantages": advantages(), "losses": losses()}
    TARGET.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
