"""The pairs that reward models are judged on: from folders of pairs, and from the samples stored with a model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from rewardlab.errors import InputError
from rewardlab.models.stored import stored_inputs
from rewardlab.pairs.files import read_folder
from rewardlab.pairs.imported import NO_TASK
from rewardlab.pairs.rationale_sensitive import pair_kind
from rewardlab.reward_models.trained_prompts import pair_folders_of, prompt_digests, trained_prompts
from rewardlab.runs import check_outputs
from rewardlab.tasks.places import load_tasks_of
from rewardlab.training.rm_evaluation import POLICY_SAMPLED, policy_pairs
from rewardlab.training.stored_samples import read_samples
from rewardlab.types import Pair

logger = logging.getLogger(__name__)

LABEL_SENSITIVE, RANKED, RATIONALE_SENSITIVE = "held_out_label", "held_out_ranked", "held_out_rationale"


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs to judge on.

    Attributes:
        name: :data:`LABEL_SENSITIVE`, :data:`RANKED`, :data:`RATIONALE_SENSITIVE` or ``policy_sampled``.
        pairs: None has a prompt that is trained on.
        training: What the baselines are fitted on.
        trained_prompts: Pairs left out because their prompt is trained on.
    """

    name: str
    pairs: Sequence[Pair]
    training: Sequence[Pair]
    trained_prompts: int


def pair_folders(model: Path) -> list[Path]:
    """Folders of the pairs that a reward model was trained and measured on, found beside it by their fingerprints.

    Raises:
        InputError: They are not there, or the folder does not say which they were.
    """
    wanted = {mark for name, mark in stored_inputs(model).items() if name == "pairs" or name.startswith("held_out_")}
    folders = pair_folders_of(model, wanted)
    if not folders:
        raise InputError(f"{model}: the pairs it was trained on are not beside it; name folders with --pairs DIR")
    return folders


def pair_sets(folders: Iterable[Path], model: Path) -> list[PairSet]:
    """Every set that the folders and the model's own samples give; a set without pairs is left out.

    Args:
        folders: Folders of pairs of any kind; sets of the same name are joined.
        model: A reward model; its stored samples are paired and ordered by gold. Pairs of the prompts that it was
            trained on, or that the folders' own training pairs have, are left out.
    """
    parts = {folder: _whole(folder) for folder in folders}
    training = [pair for train, _ in parts.values() for pair in train]
    trained = {*prompt_digests(training), *trained_prompts(model)}
    held_out = [pair for _, unseen in parts.values() for pair in unseen]
    named = {
        LABEL_SENSITIVE: [pair for pair in held_out if pair.kind == "label"],
        RANKED: [pair for pair in held_out if pair.kind == "ranked"],
        RATIONALE_SENSITIVE: [pair for pair in held_out if _is_rationale_sensitive(pair)],
        POLICY_SAMPLED: policy_pairs(read_samples(model)),
    }
    sets = [_set(name, list(dict.fromkeys(pairs)), training, trained) for name, pairs in named.items()]
    for pair_set in sets:
        if pair_set.trained_prompts and not pair_set.pairs:
            logger.warning(
                "%s: trained on the prompts of all %d pairs of %s", model, pair_set.trained_prompts, pair_set.name
            )
    return [pair_set for pair_set in sets if pair_set.pairs]


def _whole(folder: Path) -> tuple[list[Pair], list[Pair]]:
    """The pairs of a folder, which a stage wrote as they are, or somebody else."""
    if (folder / "result.json").exists():
        check_outputs(folder)
    read = read_folder(folder)
    load_tasks_of(folder, {pair.task for pairs in read for pair in pairs} - {NO_TASK})
    return read


def _set(name: str, pairs: Sequence[Pair], training: Sequence[Pair], trained: Set[str]) -> PairSet:
    kept = [pair for pair, digest in zip(pairs, prompt_digests(pairs), strict=True) if digest not in trained]
    kinds = {"label"} if name == LABEL_SENSITIVE else {"ranked"} if name == RANKED else {"ranked", "rationale"}
    own = [pair for pair in training if pair.kind in kinds or name == POLICY_SAMPLED]
    return PairSet(name, kept, own or training, len(pairs) - len(kept))


def _is_rationale_sensitive(pair: Pair) -> bool:
    return pair.kind != "label" and pair_kind(pair.chosen_label, pair.rejected_label) == "rationale_sensitive"
