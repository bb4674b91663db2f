"""How many preferences of a set of pairs are flipped, where something is known of it.

Two sources, in this order: the sandbox, which measures every response, and reviews of annotations, which show
how often a rationale that the filter let through refuses or argues for another label. Otherwise nothing is known, and
nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rewardlab.annotate.review import read_reviews, review_items
from rewardlab.errors import ConfigError
from rewardlab.sandbox import OracleAnnotator
from rewardlab.types import Example, Pair

LEAST_REVIEWED = 20
"""Reviewed rationales from which a rate is estimated; of 20, one is five per cent."""


@dataclass(frozen=True, slots=True)
class FlipRate:
    """An estimate.

    Attributes:
        rate: Share of pairs whose rejected response is the better one.
        count: Pairs or rationales it was counted over.
        source: Where it comes from, for people.
    """

    rate: float
    count: int
    source: str


def known_flip_rate(
    pairs: Sequence[Pair], examples: Iterable[Example], weight: float, annotated: Path | None = None
) -> FlipRate:
    """The flip rate of pairs, from what is known of them.

    Args:
        pairs: Training pairs.
        examples: The rows they were made from.
        weight: The sandbox oracle's weight of correctness (``annotate.oracle_weight``).
        annotated: Folder of the stage that wrote the rationales of label pairs.
    Raises:
        ConfigError: Nothing is known, or more than half of the pairs are flipped.
    """
    rows = {(example.task, example.id): example for example in examples}
    found = _by_sandbox(pairs, rows, weight) or (_by_reviews(pairs, annotated) if annotated else None)
    if found is None:
        raise ConfigError(
            "dpo.flip_rate = auto: nothing is known of how many of these pairs are flipped (they are not the "
            f"sandbox's, and fewer than {LEAST_REVIEWED} of their rationales are reviewed); give the number, such as "
            "--flip-rate 0.1"
        )
    if found.rate >= 0.5:
        raise ConfigError(
            f"dpo.flip_rate = auto: {100 * found.rate:.0f} % of these pairs are flipped by {found.source}; robust DPO "
            "needs fewer than half; repair the pairs or use another loss"
        )
    return found


def _by_sandbox(pairs: Sequence[Pair], rows: Mapping[tuple[str, str], Example], weight: float) -> FlipRate | None:
    """What the oracle would say without its noise; where it likes both alike, the preference is a coin's."""
    known = [(pair, rows.get((pair.task, pair.id))) for pair in pairs]
    if not known or not all(example is not None and example.evidence for _, example in known):
        return None
    oracle = OracleAnnotator(weight=weight, noise=0.0)
    flipped = []
    for pair, example in known:
        assert example is not None
        chosen, rejected = oracle.utilities(example, [pair.chosen, pair.rejected])
        flipped.append(0.5 if chosen == rejected else float(chosen < rejected))
    return FlipRate(fmean(flipped), len(flipped), "the sandbox's truth")


def _by_reviews(pairs: Sequence[Pair], annotated: Path) -> FlipRate | None:
    """Share of the chosen responses' rationales, as far as they were reviewed, that the reviewer rejects."""
    chosen = {(pair.task, pair.id, pair.chosen_label) for pair in pairs}
    reviews = read_reviews(annotated)
    seen = [
        reviews[item.key].decision == "reject"
        for item in review_items(annotated, dict)
        if item.kept and item.key in reviews and (item.task, item.id, item.label) in chosen
    ]
    if len(seen) < LEAST_REVIEWED:
        return None
    return FlipRate(fmean(seen), len(seen), "the review of the chosen responses' rationales")
