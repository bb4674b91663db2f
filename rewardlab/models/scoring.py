"""Scores of reward models: the scalar head at the last token of ``prompt + response + end``. B rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rewardlab.config import ModelConfig
from rewardlab.errors import ModelError
from rewardlab.models.sampler import right_pad
from rewardlab.models.trunk import Trunk, load_trunk
from rewardlab.types import Example, Scorer

SFT_SCORES_FILE = "sft_scores.json"


@dataclass(frozen=True, slots=True)
class LoadedScorers:
    """Reward models ready for expressions: their scorers, and their raw scores on SFT samples."""

    scorers: Mapping[str, Scorer]
    sft_scores: Mapping[str, Sequence[float]]


@torch.inference_mode()
def score_rows(trunk: Trunk, role: str, rows: Sequence[Sequence[int]], batch: int = 32) -> list[float]:
    """Raw score of each token row under reward-model ``role``; rows are grouped by length.

    Raises:
        ModelError: The role has no head.
    """
    head = trunk.roles[role].head
    if head is None:
        raise ModelError(f"role {role!r} has no scalar head; it is no reward model")
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    scores = [0.0] * len(rows)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, keep = right_pad([rows[row] for row in chosen], trunk.codec.pad_id, trunk.device)
        states = trunk.hidden(ids, keep, role)
        last = states[torch.arange(len(chosen), device=ids.device), keep.sum(-1) - 1]
        for row, value in zip(chosen, head(last).tolist(), strict=True):
            scores[row] = value
    return scores


def make_scorer(trunk: Trunk, role: str, batch: int = 32) -> Scorer:
    """A scorer of (examples, responses) over one role; encodes as reward-model training does."""

    def score(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
        codec = trunk.codec
        rows = [
            codec.prompt_ids(example) + codec.response_ids(response)
            for example, response in zip(examples, responses, strict=True)
        ]
        return score_rows(trunk, role, rows, batch)

    return score


def add_scorers(trunk: Trunk, folders: Mapping[str, Path], batch: int = 32) -> LoadedScorers:
    """Load reward models (name -> run folder) as frozen roles of ``trunk``."""
    scorers: dict[str, Scorer] = {}
    sft_scores: dict[str, Sequence[float]] = {}
    for name, folder in folders.items():
        trunk.roles.load(f"rm-{name}", folder / "adapter")
        scorers[name] = make_scorer(trunk, f"rm-{name}", batch)
        sft_scores[name] = read_sft_scores(folder)
    return LoadedScorers(scorers, sft_scores)


def load_scorers(folders: Mapping[str, Path]) -> LoadedScorers:
    """Load trained reward-model folders together with the trunk they were trained on.

    Raises:
        ModelError: A folder is no finished reward model, or they were trained on different trunks.
    """
    trunks = {json.dumps(_trunk_of(folder), sort_keys=True) for folder in folders.values()}
    if len(trunks) != 1:
        raise ModelError("the reward models were trained on different trunks; score with one of them at a time")
    spec = json.loads(trunks.pop())
    adapter = Path(spec["sft_adapter"]) if spec["sft_adapter"] else None
    return add_scorers(load_trunk(ModelConfig(**spec["model"]), adapter), folders)


def read_sft_scores(folder: Path) -> list[float]:
    """Raw scores on SFT samples that were stored with a reward model."""
    stored = json.loads((folder / SFT_SCORES_FILE).read_text(encoding="utf-8"))
    return [float(score) for score in stored["scores"]]


def _trunk_of(folder: Path) -> dict[str, object]:
    result = folder / "result.json"
    if not result.exists():
        raise ModelError(f"{folder}: no finished reward model; expected a folder made by `rewardlab rm train`")
    stored = json.loads(result.read_text(encoding="utf-8"))
    return {"model": stored["model"], "sft_adapter": stored["sft_adapter"]}
