"""Drops pairs that are no use or no fair test: repeated, contradicted, told by their length, or held out in vain."""

from __future__ import annotations

from collections.abc import Iterable

from rewardlab.pairs.duplicates import KEPT, outcomes
from rewardlab.pairs.label_sensitive import Built
from rewardlab.pairs.lengths import UNBALANCED, balanced


def clean(train: Built, held_out: Built, *, balance_length: bool, seed: int) -> None:
    """Drop pairs in place and count why; the rules stand in ``duplicates.py`` and ``lengths.py``.

    Args:
        train: Training pairs.
        held_out: Held-out pairs; those whose prompt is trained on go, too.
        balance_length: Also drop pairs, on both sides, until length does not tell which response is preferred.
        seed: Decides which pairs balancing drops.
    """
    for built, found in zip((train, held_out), outcomes(train.pairs, held_out.pairs), strict=True):
        _keep(built, found)
        if balance_length:
            _keep(built, (KEPT if kept else UNBALANCED for kept in balanced(built.pairs, seed)))


def _keep(built: Built, found: Iterable[str]) -> None:
    pairs, built.pairs = built.pairs, []
    for pair, outcome in zip(pairs, found, strict=True):
        if outcome == KEPT:
            built.pairs.append(pair)
        else:
            built.skip(pair.task, outcome)
