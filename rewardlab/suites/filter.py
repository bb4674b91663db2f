"""``--filter key=text``: the part of a suite that is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from rewardlab.errors import InputError
from rewardlab.suites.cells import Cell

KEYS = ("method", "task", "model", "seed")


def select(found: Sequence[Cell], wanted: Sequence[str]) -> list[Cell]:
    """The cells that fit.

    Args:
        found: All cells.
        wanted: ``key=text`` each. A cell fits when its value of the key holds the text, whatever the case; a seed must
            be equal. Texts for one key are alternatives, and every key that is given must fit.
    Raises:
        InputError: A filter cannot be read, or nothing fits; the message lists what there is.
    """
    texts: dict[str, list[str]] = {}
    for each in wanted:
        key, separator, text = (part.strip() for part in each.partition("="))
        if not separator or key not in KEYS or not text:
            raise InputError(f"--filter {each}: expected KEY=TEXT with a key of {', '.join(KEYS)}")
        texts.setdefault(key, []).append(text.lower())
    kept = [cell for cell in found if all(_fits(cell, key, any_of) for key, any_of in texts.items())]
    if not kept:
        asked = " ".join(f"--filter {each}" for each in wanted)
        raise InputError(f"{asked}: no cell fits; there are {'; '.join(_listed(found, key) for key in KEYS)}")
    return kept


def _fits(cell: Cell, key: str, any_of: Sequence[str]) -> bool:
    value = str(getattr(cell, key)).lower()
    return value in any_of if key == "seed" else any(text in value for text in any_of)


def _listed(found: Sequence[Cell], key: str) -> str:
    values = dict.fromkeys(str(getattr(cell, key)) for cell in found)
    return f"{key} {', '.join(values)}"
