"""The one list of stage kinds: what each is made by, its version, and who works on it.

A training method is a kind of its own name: registering it (``training.methods``) is all that it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rewardlab.training.methods import methods


@dataclass(frozen=True, slots=True)
class StageKind:
    """A kind of stage.

    Attributes:
        version: Raised when the stage's code changes what it produces, so that old folders are not taken for new ones.
        is_shared: All processes of a run work on it; the others are left to the main one.
        asks_model: It reads rows with the model of the run.
    """

    version: int
    is_shared: bool = False
    asks_model: bool = True


BEFORE: Mapping[str, StageKind] = {
    "annotate": StageKind(5, asks_model=False),
    "sft": StageKind(4, is_shared=True),
    "samples": StageKind(4),
    "pairs": StageKind(6, asks_model=False),
    "rm": StageKind(6, is_shared=True),
    "card": StageKind(6),
}
"""What training methods build on, in the order in which it is made."""
AFTER: Mapping[str, StageKind] = {
    "scored": StageKind(2),
    "validate": StageKind(3),
    "eval": StageKind(6),
    "submit": StageKind(1),
}
"""What measures them."""


def stage_kinds() -> dict[str, StageKind]:
    """Every kind by its name, in the order in which stages are made."""
    found = {name: methods.get(name) for name in methods.every()}
    trained = {
        name: StageKind(method.version, is_shared=True, asks_model=method.trains_policy)
        for name, method in found.items()
    }
    return {**BEFORE, **trained, **AFTER}


def trained_kinds() -> tuple[str, ...]:
    """Kinds that leave something that answers test rows: a policy, which can be exported too, or an encoder."""
    return ("sft", *methods.every())
