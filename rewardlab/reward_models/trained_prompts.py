"""Which prompts a reward model was trained on, so that no pair of theirs is taken for an unseen one.

From now on they are stored beside the model, as hashes; of older models they are read from the pairs that the folder
names by their fingerprint.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from rewardlab.disk import read_json, write_json
from rewardlab.models.stored import stored_inputs
from rewardlab.pairs.duplicates import prompt_keys
from rewardlab.pairs.files import PAIRS_FILE, read_pairs
from rewardlab.runs import input_folder
from rewardlab.types import Pair

logger = logging.getLogger(__name__)

PROMPTS_FILE = "trained_prompts.json"


def prompt_digests(pairs: Sequence[Pair]) -> list[str]:
    """A hash of task and prompt of each pair; equal where the rule of ``pairs/duplicates.py`` counts them as one."""
    return [hashlib.sha256("\0".join(key).encode("utf-8", "replace")).hexdigest()[:16] for key in prompt_keys(pairs)]


def store_trained_prompts(model: Path, pairs: Sequence[Pair]) -> None:
    """Write the hashes of the prompts of training pairs into the folder of a reward model."""
    write_json(model / PROMPTS_FILE, sorted(set(prompt_digests(pairs))))


def trained_prompts(model: Path) -> frozenset[str]:
    """Hashes of the prompts that a reward model was trained on; none, with a warning, where they are not known."""
    if (model / PROMPTS_FILE).is_file():
        return frozenset(read_json(model / PROMPTS_FILE))
    mark = stored_inputs(model).get("pairs")
    folders = pair_folders_of(model, [mark] if mark else [])
    if not folders:
        logger.warning(
            "%s: which prompts it was trained on is not known, since its pairs are not beside it: "
            "its card may judge it on pairs that it has seen",
            model,
        )
    return frozenset(prompt_digests([pair for folder in folders for pair in read_pairs(folder / PAIRS_FILE)]))


def pair_folders_of(model: Path, marks: Iterable[str]) -> list[Path]:
    """The folders of pairs that have these fingerprints, beside a reward model or where its folder says they lie."""
    found = []
    for mark in sorted(marks):
        beside = list((model.parent.parent / "pairs").glob(f"*-{mark}"))
        far = None if beside else input_folder(model, mark)
        found += beside if far is None else [far]
    return found
