"""Preference data as TRL and the hub have it, to and from pairs.

Which columns are understood stands in :mod:`rewardlab.pairs.layouts`, which conversations in
:mod:`rewardlab.tasks.turns`. A conversation of one user turn becomes that turn's text, a system message in front of
it; a longer one is written out turn by turn, because a pair's prompt is one text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardlab.disk import write_json, write_jsonl, writing
from rewardlab.errors import ConfigError, DataError
from rewardlab.pairs.layouts import UnratedError, own_label, understood, unread
from rewardlab.reading import parse_json
from rewardlab.tasks.files import READERS, placed_rows
from rewardlab.tasks.rows import some
from rewardlab.types import Pair

COLUMNS = ("prompt", "chosen", "rejected")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preference:
    """One row as text.

    Attributes:
        prompt, chosen, rejected: Plain texts.
        label: The row's own ``label``, if it has one.
        place: The row of the file, for messages; a row with a list of responses gives several preferences.
    """

    prompt: str
    chosen: str
    rejected: str
    label: object = None
    place: str = field(default="", compare=False)


def read_preferences(path: Path) -> list[Preference]:
    """Read a file of preferences: JSON Lines, a JSON array, CSV, TSV, Parquet, or a folder of ``save_to_disk``.

    A row in which something is null, such as one response that was never given, is left out and counted; so is one
    whose rating says that there is none ("N/A").

    Raises:
        DataError: It cannot be read, or rows are not preferences: the first one is named, the others are counted.
    """
    found: list[Preference] = []
    problems: list[str] = []
    empty: list[str] = []
    unrated: list[str] = []
    ties = 0
    not_read: dict[str, None] = {}
    for place, row in _rows(path):
        try:
            read = _preferences(row, place)
            found += read
            ties += not read
            not_read |= dict.fromkeys(unread(row)) if isinstance(row, Mapping) else {}
        except UnratedError as error:
            unrated.append(f"{path} {place}: {error}")
        except ValueError as error:
            (empty if _has_null(row) else problems).append(f"{path} {place}: {error}")
    if not found:  # it is then not a row here and there
        problems += [*empty, *unrated]
    if problems:
        more = f" (and {len(problems) - 1} more rows)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}; expected {', '.join(COLUMNS)}: each a text or a list of messages")
    if empty:
        logger.warning("%s; rows left out for something in them that is null: %d", empty[0], len(empty))
    if unrated:
        logger.warning("%s; rows left out for want of a rating: %d", unrated[0], len(unrated))
    if ties:
        logger.warning("%s: %d rows of responses that tie give no preference", path, ties)
    if not_read:
        logger.warning("%s: columns with text that are not read: %s", path, some(list(not_read)))
    return found


def write_preferences(pairs: Iterable[Pair], path: Path, *, conversational: bool) -> int:
    """Write pairs as TRL's RewardTrainer, DPOTrainer and ``datasets`` read them; returns how many.

    Args:
        pairs: In the order to write them.
        path: ``.jsonl``, ``.json`` or ``.parquet``.
        conversational: Messages in place of texts.
    Raises:
        ConfigError: No such format.
        InputError: The file cannot be written.
    """
    shown = _as_messages if conversational else _as_text
    rows = [dict(zip(COLUMNS, shown(pair), strict=True)) for pair in pairs]
    write = _writer(path)
    with writing(path):
        write(path, rows)
    return len(rows)


def _writer(path: Path) -> Callable[[Path, list[dict[str, Any]]], None]:
    writers = {".jsonl": write_jsonl, ".json": write_json, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise ConfigError(f"{path}: unknown format {path.suffix!r}; expected a name ending in {', '.join(writers)}")
    return writers[path.suffix]


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import polars as pl

    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema_overrides=None if rows else dict.fromkeys(COLUMNS, pl.String)).write_parquet(path)


def _rows(path: Path) -> Iterator[tuple[str, object]]:
    """(place, row) of each row, of any file that rows of a task are read from."""
    if not path.is_dir() and path.suffix.lower() not in READERS:
        raise DataError(f"{path}: unknown format {path.suffix!r}; expected {', '.join(READERS)}")
    if not path.exists():
        raise DataError(f"{path}: no such file")
    for number, (place, row) in enumerate(placed_rows(path, ()), 1):
        try:
            yield f"row {number}", parse_json(row) if isinstance(row, str) else row
        except ValueError as error:
            raise DataError(f"{path} {place}: not valid JSON ({error}); expected one JSON object a line") from error


def _has_null(row: object) -> bool:
    """True where a row, a list or a message in it has null; also in JSON that a table holds as text."""
    if isinstance(row, str) and row.lstrip()[:1] in ("[", "{") and "null" in row:
        try:
            row = parse_json(row)
        except ValueError:
            return False
    if isinstance(row, Mapping | list):
        return any(map(_has_null, row.values() if isinstance(row, Mapping) else row))
    return row is None


def _preferences(row: object, place: str) -> list[Preference]:
    if not isinstance(row, Mapping):
        raise ValueError(f"found {type(row).__name__}")
    label = own_label(row)
    return [Preference(each.prompt, each.chosen, each.rejected, label, place) for each in understood(row)]


def _as_text(pair: Pair) -> tuple[str, str, str]:
    return pair.prompt, pair.chosen, pair.rejected


def _as_messages(pair: Pair) -> tuple[list[dict[str, str]], ...]:
    roles = ("user", "assistant", "assistant")
    return tuple([{"role": role, "content": text}] for role, text in zip(roles, _as_text(pair), strict=True))
