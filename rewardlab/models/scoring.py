"""Scores of reward models: the scalar head at the last token of ``prompt + response + end``. B rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rewardlab.errors import ModelError
from rewardlab.models.names import trunk_identity
from rewardlab.models.sampler import right_pad
from rewardlab.models.stored import StoredModel, read_sft_scores, stored_model
from rewardlab.models.trunk import Trunk, load_trunk
from rewardlab.runs import ADAPTER, check_outputs
from rewardlab.types import Example, Scorer

BATCH = 32
"""Rows of a forward pass."""


@dataclass(frozen=True, slots=True)
class LoadedScorers:
    """Reward models ready for expressions: their scorers, and their raw scores on SFT samples.

    ``trunk`` holds them as roles ``rm-NAME``.
    """

    scorers: Mapping[str, Scorer]
    sft_scores: Mapping[str, Sequence[float]]
    trunk: Trunk


@torch.inference_mode()
def score_rows(trunk: Trunk, role: str, rows: Sequence[Sequence[int]], batch: int = BATCH) -> list[float]:
    """Raw score of each token row under reward-model ``role``; rows are grouped by length.

    Raises:
        ModelError: The role has no head.
    """
    head = trunk.roles[role].head
    if head is None:
        raise ModelError(f"role {role!r} has no scalar head; it is no reward model")
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    scores: dict[int, float] = {}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, keep = right_pad([rows[row] for row in chosen], trunk.codec.pad_id, trunk.device)
        states = trunk.hidden(ids, keep, role)
        last = states[torch.arange(len(chosen), device=ids.device), keep.sum(1) - 1]
        scores |= zip(chosen, head(last).tolist(), strict=True)
    return [scores[row] for row in range(len(rows))]


def make_scorer(trunk: Trunk, role: str, batch: int = BATCH) -> Scorer:
    """A scorer of (examples, responses) over one role; encodes as reward-model training does."""

    def score(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
        codec = trunk.codec
        rows = [
            codec.prompt_ids(example) + codec.response_ids(response)
            for example, response in zip(examples, responses, strict=True)
        ]
        return score_rows(trunk, role, rows, batch)

    return score


def add_scorers(trunk: Trunk, folders: Mapping[str, Path], batch: int = BATCH) -> LoadedScorers:
    """Load reward models (name -> run folder) as frozen roles of ``trunk``."""
    scorers: dict[str, Scorer] = {}
    sft_scores: dict[str, Sequence[float]] = {}
    for name, folder in folders.items():
        trunk.roles.load(f"rm-{name}", folder / ADAPTER)
        scorers[name] = make_scorer(trunk, f"rm-{name}", batch)
        sft_scores[name] = read_sft_scores(folder)
    return LoadedScorers(scorers, sft_scores, trunk)


def load_scorers(folders: Mapping[str, Path]) -> LoadedScorers:
    """Load trained reward-model folders together with the trunk they were trained on.

    Raises:
        ModelError: A folder is no finished reward model, they were trained on different trunks, or on another one
            than its base model and SFT adapter make today.
    """
    stored = {folder: stored_model(folder) for folder in folders.values()}
    for folder in stored:
        check_outputs(folder)
    origins = [(result.model, _sft_adapter(folder, result)) for folder, result in stored.items()]
    first, *others = origins
    if others != [first] * len(others):
        raise ModelError("the reward models were trained on different trunks; score with one of them at a time")
    model, adapter = first
    trunk = load_trunk(model.model_copy(update={"device": "auto"}), adapter)
    found, made_of = trunk.sha256(), trunk_identity(model, adapter)
    for folder, result in stored.items():
        _check_trunk(folder, result, found, made_of)
    return add_scorers(trunk, folders)


def _sft_adapter(folder: Path, stored: StoredModel) -> Path | None:
    """The SFT adapter below a reward model."""
    if stored.sft_adapter is None:
        return None
    adapter = (folder / stored.sft_adapter).resolve()
    if not adapter.exists():
        raise ModelError(f"{folder}: its SFT adapter is not at {adapter}; move the folders of a run together")
    if (adapter.parent / "result.json").exists():
        check_outputs(adapter.parent)
    return adapter


def _check_trunk(folder: Path, stored: StoredModel, found: str, made_of: Mapping[str, str | None]) -> None:
    """Refuse a trunk that the reward model was not trained on.

    Equal weights, or made of the same files: another processor may round a merged adapter differently.
    """
    if found == stored.trunk or (made_of["base"] and made_of == stored.trunk_files):
        return
    raise ModelError(
        f"{folder}: the reward model was trained on trunk {stored.trunk}, found {found}: its base model or SFT "
        f"adapter changed since; put the old one back or run `rewardlab rm train` again"
    )
