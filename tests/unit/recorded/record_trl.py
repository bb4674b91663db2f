"""Records ``trl_1_12_0.json``: what the helpers of TRL's last PPO trainer, and the lines inside it, compute.

The package is read from a folder and its own lines are run on seeded inputs; nothing of it is copied here::

    pip download --no-deps trl==1.12.0 -d DIR && unzip -q DIR/trl-1.12.0-*.whl -d DIR/src
    python tests/unit/recorded/record_trl.py DIR/src
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

VERSION = "1.12.0"
TARGET = Path(__file__).with_name("trl_1_12_0.json")
SETTINGS = {"kl_coef": 0.3, "gamma": 0.9, "lam": 0.7, "cliprange": 0.2, "cliprange_value": 0.4, "vf_coef": 0.6}
LENGTHS = (6, 3, 5, 1)
VOCABULARY = 8
GROUPS = ("inputs", "found")
TRAINER, TRAINER_UTILS = "trl/experimental/ppo/ppo_trainer.py", "trl/trainer/utils.py"


def inputs() -> dict[str, Tensor]:
    """Seeded numbers in float64: B = 4 responses in T = 6 columns, TRL's masks (True where it pads)."""
    generator = torch.Generator().manual_seed(1)
    rows, width = len(LENGTHS), max(LENGTHS)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    last = torch.tensor(LENGTHS)[:, None] - 1
    columns = torch.arange(width)[None]
    return {
        "logits": 2 * normal(rows, width, VOCABULARY),
        "responses": torch.randint(VOCABULARY, (rows, width), generator=generator),
        "drift": 0.3 * normal(rows, width),
        "value_drift": 0.6 * normal(rows, width),
        "ref_logprobs": normal(rows, width) - 2,
        "values": normal(rows, width),
        "scores": normal(rows),
        "sequence_lengths": last[:, 0],
        "sequence_lengths_p1": last[:, 0] + 1,
        "padding_mask": columns > last,
        "padding_mask_p1": columns > last + 1,
    }


class Source:
    """One file of TRL, whose functions and statements can be run."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))

    def function(self, name: str, scope: Mapping[str, Any]) -> Any:
        """A top-level function, compiled into ``scope``."""
        found = next(node for node in self.tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
        space = dict(scope)
        exec(compile(ast.Module([found], []), name, "exec"), space)
        return space[name]

    def run(self, first: str, last: str, space: dict[str, Any]) -> None:
        """The statements of ``PPOTrainer.train`` from the one that assigns ``first`` to the one that assigns ``last``.

        Both stand in one block; the first block that holds them in that order is taken.
        """
        trainer = next(n for n in self.tree.body if isinstance(n, ast.ClassDef) and n.name == "PPOTrainer")
        train = next(n for n in trainer.body if isinstance(n, ast.FunctionDef) and n.name == "train")
        for node in ast.walk(train):
            block = getattr(node, "body", [])
            names = [_assigned(statement) for statement in block] if isinstance(block, list) else []
            if first in names and last in names[names.index(first) :]:
                start = names.index(first)
                end = start + names[start:].index(last)
                exec(compile(ast.Module(block[start : end + 1], []), TRAINER, "exec"), space)
                return
        raise LookupError(f"{TRAINER} has no block from {first} to {last}; is it TRL {VERSION}?")


def record(root: Path) -> dict[str, Any]:
    """Inputs and what TRL makes of them."""
    given = inputs()
    trainer, utils = Source(root / TRAINER), Source(root / TRAINER_UTILS)
    scope = {"torch": torch, "F": torch.nn.functional}
    for name in ("masked_mean", "masked_var", "masked_whiten"):
        scope[name] = trainer.function(name, scope)
    for name in ("selective_log_softmax", "entropy_from_logits"):
        scope[name] = utils.function(name, scope)
    helpers: Any = SimpleNamespace(**scope)
    keep = ~given["padding_mask"]
    logprobs = helpers.selective_log_softmax(given["logits"], given["responses"])
    found = {
        "masked_mean": helpers.masked_mean(given["values"], keep),
        "masked_var": helpers.masked_var(given["values"], keep),
        "masked_whiten": helpers.masked_whiten(given["values"], keep),
        "masked_whiten_unshifted": helpers.masked_whiten(given["values"], keep, shift_mean=False),
        "selective_log_softmax": logprobs,
        "entropy_from_logits": helpers.entropy_from_logits(given["logits"]),
        **_step(trainer, scope, given, logprobs),
    }
    return {
        "trl": VERSION,
        "torch": torch.__version__,
        "settings": SETTINGS,
        "inputs": _plain(given),
        "found": _plain(found),
    }


def _step(trainer: Source, scope: Mapping[str, Any], given: Mapping[str, Tensor], logprobs: Tensor) -> dict[str, Any]:
    """The lines of one PPO step: KL, rewards per token, GAE, both losses with their gradients."""
    args = SimpleNamespace(**SETTINGS, kl_estimator="k1", whiten_rewards=False)
    values = given["values"].masked_fill(given["padding_mask_p1"], 0)
    space: dict[str, Any] = {**scope, **given, "args": args, "logprobs": logprobs, "values": values}
    for name in ("logprobs", "ref_logprobs"):
        space[name] = space[name].masked_fill(given["padding_mask"], 1.0)  # TRL's INVALID_LOGPROB
    found = {}
    args.kl_estimator = "k3"
    trainer.run("logr", "kl", space)
    found["k3"] = space["kl"]
    args.kl_estimator = "k1"
    trainer.run("logr", "actual_end", space)
    found["k1"] = space["kl"]
    space["rewards"][space["actual_start"], space["actual_end"]] += space["scores"]
    trainer.run("lastgaelam", "returns", space)
    found |= {name: space[name].clone() for name in ("rewards", "advantages", "returns")}
    return found | _losses(trainer, space)


def _losses(trainer: Source, space: dict[str, Any]) -> dict[str, Any]:
    new = (space["logprobs"] + space["drift"] * ~space["padding_mask"]).requires_grad_()
    vpred = (space["values"] + space["value_drift"] * ~space["padding_mask_p1"]).requires_grad_()
    space |= {"new_logprobs": new, "vpred": vpred, "micro_batch_inds": slice(None), "mb_advantage": space["advantages"]}
    space |= {"mb_return": space["returns"], "mb_values": space["values"], "mb_logprobs": space["logprobs"]}
    trainer.run("vpredclipped", "loss", space)
    space["loss"].backward()
    trainer.run("pg_clipfrac", "approxkl", space)
    names = ("pg_loss", "pg_clipfrac", "vf_loss", "vf_clipfrac", "loss", "ratio", "entropy", "approxkl")
    return {
        **{name: space[name].detach() for name in names},
        "new_logprobs": new.detach(),
        "vpred": vpred.detach(),
        "new_logprobs_grad": new.grad,
        "vpred_grad": vpred.grad,
    }


def _assigned(statement: ast.stmt) -> str | None:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    return target.id if isinstance(target, ast.Name) else None


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def _pretty(recorded: Mapping[str, Any]) -> str:
    """JSON with one line per array, so that a difference shows where it is."""
    lines = []
    for key, value in recorded.items():
        nested = (
            [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items()] if key in GROUPS else []
        )
        lines.append(f" {json.dumps(key)}: " + ("{\n" + ",\n".join(nested) + "\n }" if nested else json.dumps(value)))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: Sequence[str]) -> None:
    """Record from the folder that holds the unpacked wheel."""
    root = Path(arguments[0])
    if not (root / f"trl-{VERSION}.dist-info").is_dir():
        raise SystemExit(f"{root}: holds no unpacked trl {VERSION}; see the docstring")
    TARGET.write_text(_pretty(record(root)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
