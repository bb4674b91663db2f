"""Which pairs are there already, nearly there already, contradicted, or held out although they are trained on.

The rule: two texts count as one when they differ in nothing but letter case, Unicode form (NFKC), white space, and
the marks ``. , ; : ! ?`` and quotation marks. Words are never left out of the comparison: in these tasks one word
turns the label (a negation, an ungrammatical verb), so similarity by overlapping words would call two different
questions near-duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from rewardlab.types import Label, Pair

KEPT = "written"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near_duplicate"
SAME_RESPONSES = "same_responses"
CONTRADICTED = "contradicted"
TRAINED_PROMPT = "trained_prompt"
"""Outcomes: there is no such pair yet · the very same pair came before · the same by the rule above · chosen and
rejected are the same by it and read as the same answer · the two also stand the other way round · a held-out pair
whose prompt is trained on."""

MARKS = r"""[\s.,;:!?"'`´‘’“”„«»]+"""
TEXTS = ("prompt", "chosen", "rejected")


def frame(pairs: Sequence[Pair]) -> pl.DataFrame:
    """Task, texts and printed labels of the pairs, a row each."""
    columns = {name: [getattr(pair, name) for pair in pairs] for name in ("task", *TEXTS)}
    labels = {name: [_printed(getattr(pair, name)) for pair in pairs] for name in ("chosen_label", "rejected_label")}
    return pl.DataFrame({**columns, **labels}, schema=dict.fromkeys([*columns, *labels], pl.String))


def normalised(column: str) -> pl.Expr:
    """The text as the rule compares it.

    >>> pl.select(pl.lit(" It’s  FINE!").alias("x")).select(normalised("x")).item()
    'it s fine'
    """
    return pl.col(column).str.normalize("NFKC").str.to_lowercase().str.replace_all(MARKS, " ").str.strip_chars()


def outcomes(train: Sequence[Pair], held_out: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """What becomes of each pair: :data:`KEPT`, or why it is dropped. Of equal pairs the first is kept.

    A pair that also stands the other way round is dropped on both sides: which one is right is not known.
    """
    known, unseen = _keys(frame(train)), _keys(frame(held_out))
    prompts = known.filter(_own_outcome() == KEPT)["task", "prompt"].unique()
    trained = unseen.join(prompts.with_columns(trained=True), on=["task", "prompt"], how="left", maintain_order="left")
    verdict = pl.when(pl.col("trained").fill_null(False)).then(pl.lit(TRAINED_PROMPT)).otherwise(_own_outcome())
    return (
        known.select(_own_outcome().alias("outcome"))["outcome"].to_list(),
        trained.select(verdict.alias("outcome"))["outcome"].to_list(),
    )


def prompt_keys(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """(task, prompt as the rule compares it) of each pair."""
    return frame(pairs).select("task", normalised("prompt")).rows()


def _keys(pairs: pl.DataFrame) -> pl.DataFrame:
    """Hashes in place of texts, so that 100 000 pairs take megabytes."""
    exact = pl.struct(pl.all()).hash().alias("exact")
    near = [normalised(name).hash().alias(name) for name in TEXTS]
    return pairs.select("task", "chosen_label", "rejected_label", exact, *near)


def _own_outcome() -> pl.Expr:
    """The outcome of each row among the rows of its own part."""
    chosen, rejected = pl.struct("chosen", "chosen_label").hash(), pl.struct("rejected", "rejected_label").hash()
    left, right = pl.min_horizontal(chosen, rejected), pl.max_horizontal(chosen, rejected)
    turned = (chosen < rejected).n_unique().over("task", "prompt", left, right) > 1
    again = pl.struct("task", "prompt", "chosen", "rejected", "chosen_label", "rejected_label").is_first_distinct()
    return (
        pl.when(chosen == rejected)
        .then(pl.lit(SAME_RESPONSES))
        .when(turned)
        .then(pl.lit(CONTRADICTED))
        .when(~pl.col("exact").is_first_distinct())
        .then(pl.lit(DUPLICATE))
        .when(~again)
        .then(pl.lit(NEAR_DUPLICATE))
        .otherwise(pl.lit(KEPT))
    )


def _printed(label: Label | None) -> str | None:
    return None if label is None else str(label)
