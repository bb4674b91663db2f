"""What the seeds of compared runs vary: said under tables, read from the configurations that the runs store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

DataSeeds = Mapping[int, int | None]
"""Seed of a run -> the seed that drew its rows; None where the run does not store it."""
Shared = Literal["none", "all", "some", "unknown"]

OWN_ROWS = (
    "Seeds differ in labelled rows, prompts, pairs and their order, in initialisation and in sampling; test and "
    "validation rows are the same for all."
)
SHARED_ROWS = (
    "Seeds share labelled rows, prompts and label pairs (data.seed is set); they differ in the order of training, in "
    "initialisation and in sampling. Intervals over seeds do not cover another draw of the rows."
)


def data_seed_of(config: Mapping[str, Any]) -> int | None:
    """The seed that drew a run's rows, from its ``config.json``; None where that is not stored."""
    stored = config.get("config", {})
    own = stored.get("data", {}).get("seed")
    found = stored.get("seed") if own is None else own
    return None if found is None else int(found)


def seeds_notes(rows: Mapping[str, DataSeeds]) -> list[str]:
    """One sentence for all rows, or one for those whose seeds draw their rows and one for those that share them.

    Args:
        rows: Name of a method -> its seeds; methods of one seed, or of unknown rows, are passed over.
    """
    found = {name: shared_rows(seeds) for name, seeds in rows.items()}
    groups = {kind: [name for name, each in found.items() if each == kind] for kind in ("none", "all", "some")}
    texts = {"none": OWN_ROWS, "all": SHARED_ROWS, "some": "Some seeds share labelled rows, prompts and label pairs."}
    told = {kind: names for kind, names in groups.items() if names}
    if len(told) < 2:
        return [texts[kind] for kind in told]
    return [f"{texts[kind]} This holds for {', '.join(names)}." for kind, names in told.items()]


def shared_rows(seeds: DataSeeds) -> Shared:
    """Whether the seeds of one method share their rows."""
    drawn = list(seeds.values())
    if len(drawn) < 2 or None in drawn:
        return "unknown"
    different = len(set(drawn))
    return "all" if different == 1 else "none" if different == len(drawn) else "some"
