"""Two runs side by side: settings that differ, and their answers to the same test rows, item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rewardlab.runs import differing_keys
from rewardlab.studio.index import StudioRun

ITEM = ("column", "decoding", "id")
"""What identifies a test item under one decoding."""
CHANGES = ("better", "worse", "both right", "both wrong")
ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that two runs do not share, as texts."""

    key: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class ItemByItem:
    """The answers of two evaluations to the items that both have.

    Attributes:
        items: A row an item: ``row_a``, ``row_b`` (their places in the files), answers, responses, ``change``.
        counts: Change -> items under the chosen decoding and column.
        only_left, only_right: Items that one of them has alone.
        gold_differs: Items whose gold labels differ; they are left out.
    """

    items: pl.DataFrame
    counts: Mapping[str, int]
    only_left: int
    only_right: int
    gold_differs: int


def differences(left: StudioRun, right: StudioRun) -> list[Difference]:
    """Settings, inputs and identity in which two runs differ."""
    a, b = ({"stage": run.kind, **_told(run.config)} for run in (left, right))
    return [Difference(key, _at(a, key), _at(b, key)) for key in sorted(differing_keys(a, b))]


def _told(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, and of the identity what the configuration does not have."""
    identity = stored.get("identity") or {}
    return {
        **(stored.get("config") or {}),
        "made from": dict(identity.get("inputs") or {}),
        "version of the stage": identity.get("version"),
        "rows": dict((identity.get("settings") or {}).get("rows") or {}),
    }


def _at(tree: Any, key: str) -> str:
    """The value under a dotted key; keys may hold dots themselves, so the longest that fits is taken first."""
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if isinstance(tree, Mapping) and tree.get(name) is not None:
            return str(tree[name]) if end == len(parts) else _at(tree[name], ".".join(parts[end:]))
    return ABSENT


def item_by_item(left: pl.DataFrame, right: pl.DataFrame, column: str = "", decoding: str = "greedy") -> ItemByItem:
    """Join two tables of predictions by column, decoding and row id.

    Args:
        left, right: As :meth:`rewardlab.studio.tables.Tables.samples` reads them.
        column: Column of the table, such as ``mnli-mm``; all where it is empty.
        decoding: ``greedy`` or ``sampled``; both where it is empty.
    """
    sides = [_chosen(frame, column, decoding) for frame in (left, right)]
    joined = sides[0].join(sides[1], on=ITEM, suffix="_b", how="inner")
    agreeing = joined.filter(pl.col("gold").eq_missing(pl.col("gold_b")))
    right_a, right_b = pl.col("correct"), pl.col("correct_b")
    change = (
        pl.when(right_a & right_b).then(pl.lit("both right"))
        .when(right_a).then(pl.lit("worse"))
        .when(right_b).then(pl.lit("better"))
        .otherwise(pl.lit("both wrong"))
    )  # fmt: skip
    items = agreeing.with_columns(change=change).rename({"row": "row_a"})
    counts = dict(items["change"].value_counts().iter_rows())
    alone = [a.join(b, on=ITEM, how="anti").height for a, b in (sides, sides[::-1])]
    named = {name: counts.get(name, 0) for name in CHANGES}
    return ItemByItem(items, named, alone[0], alone[1], joined.height - agreeing.height)


def _chosen(frame: pl.DataFrame, column: str, decoding: str) -> pl.DataFrame:
    known = frame.select(
        *ITEM, "row", "gold", "answer", "correct", "response", pl.col("^prompt$")
    )  # where there is one
    if column:
        known = known.filter(pl.col("column") == column)
    return known.filter(pl.col("decoding") == decoding) if decoding else known


def is_comparable(frames: Sequence[pl.DataFrame | None]) -> bool:
    """Whether all of them are predictions of evaluations."""
    wanted = {*ITEM, "gold", "answer", "correct", "response"}
    return all(frame is not None and wanted <= set(frame.columns) for frame in frames)
