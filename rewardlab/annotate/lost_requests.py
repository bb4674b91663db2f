"""Money that bought no answer, remembered beside the journal so that a budget outlives the command.

An answer that was lost on the way may have been charged; one that came and could not be read was. ``lost.jsonl`` has a
line for each, with the tokens that are booked for it. Where the bill shows that nothing was charged, remove
the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from rewardlab.annotate.journal import Journal

LOST_FILE = "lost.jsonl"


class LostRequests:
    """The lost money of one journal.

    Args:
        journal: Path of the journal beside which it is kept.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = Journal(journal.with_name(LOST_FILE))

    def note(self, key: str, record: Mapping[str, Any], *, is_certain: bool) -> None:
        """Remember, on disk, that the request of that key was charged for nothing, or may have been.

        Args:
            key: The request.
            record: Who was asked, and the tokens that are booked.
            is_certain: False where the endpoint may not have charged it.
        """
        self._journal.append(f"{key}/{uuid4().hex}", {**record, "is_certain": is_certain})

    def of(self, keys: Collection[str]) -> list[dict[str, Any]]:
        """What is remembered of these requests."""
        wanted = set(keys)
        return [self._journal.get(name) or {} for name in self._journal if name.partition("/")[0] in wanted]
