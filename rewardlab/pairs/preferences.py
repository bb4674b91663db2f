"""Preference data as TRL and the hub have it (``prompt``, ``chosen``, ``rejected``), to and from pairs.

Each of the three is a text, or a list of messages (``role``, ``content``); the prompt may be left out, when both
responses begin with it. A conversation of one user turn becomes that turn's text, a system message in front of it; a
longer one is written out turn by turn, because a pair's prompt is one text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.errors import ConfigError, DataError
from rewardlab.runs import read_json, read_jsonl, write_json, write_jsonl, writing
from rewardlab.types import Pair

COLUMNS = ("prompt", "chosen", "rejected")
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Preference:
    """One row as text.

    Attributes:
        prompt, chosen, rejected: Plain texts.
        label: The row's own ``label``, if it has one.
    """

    prompt: str
    chosen: str
    rejected: str
    label: object = None


def read_preferences(path: Path) -> list[Preference]:
    """Read a ``.jsonl``, ``.json`` (a list of rows) or ``.parquet`` file.

    Raises:
        DataError: It cannot be read, or rows are not preferences: the first one is named, the others are counted.
    """
    found: list[Preference] = []
    problems: list[str] = []
    for place, row in _rows(path):
        try:
            found.append(_preference(row))
        except ValueError as error:
            problems.append(f"{path} {place}: {error}")
    if problems:
        more = f" (and {len(problems) - 1} more rows)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}; expected {', '.join(COLUMNS)}: each a text or a list of messages")
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


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of each row."""
    if path.suffix == ".parquet":
        rows: Any = _read_parquet(path)
    elif path.suffix == ".json":
        rows = _read_list(path)
    elif path.suffix == ".jsonl":
        rows = read_jsonl(path)
    else:
        raise DataError(f"{path}: unknown format {path.suffix!r}; expected .jsonl, .json or .parquet")
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row


def _read_list(path: Path) -> list[Any]:
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: found {rows!r:.40}; expected a list of rows")
    return rows


def _read_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import polars as pl

    try:
        return pl.read_parquet(path).iter_rows(named=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: expected a Parquet file: {' '.join(str(error).split())}") from error


def _preference(row: object) -> Preference:
    if not isinstance(row, Mapping):
        raise ValueError(f"found {type(row).__name__}")
    missing = [name for name in COLUMNS[1:] if not row.get(name)]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing or empty")
    given = {name: row[name] for name in COLUMNS if row.get(name)}
    if "prompt" not in given:
        given = _with_prompt(given)
    prompt, chosen, rejected = (given[name] for name in COLUMNS)
    texts = _flat(prompt), _last_turn(chosen, prompt), _last_turn(rejected, prompt)
    if not all(text.strip() for text in texts):
        raise ValueError("an empty prompt or response")
    return Preference(*texts, row.get("label"))


def _with_prompt(given: Mapping[str, Any]) -> dict[str, Any]:
    """The prompt that both responses begin with, taken out of them as TRL does it; ValueError where they cannot."""
    if strange := [value for value in given.values() if not isinstance(value, str | list)]:
        raise ValueError(f"found {json.dumps(strange[0], default=str)[:60]}")
    from trl import extract_prompt

    return dict(extract_prompt(dict(given)))


def _last_turn(value: object, prompt: object) -> str:
    """The response alone: an explicit prompt may be repeated in front of it, as some data sets do."""
    if isinstance(value, list) and isinstance(prompt, list) and value[: len(prompt)] == prompt:
        return _flat(value[len(prompt) :])
    return _flat(value)


def _flat(value: object) -> str:
    """Text or messages as one text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError(f"found {json.dumps(value, default=str)[:60]}")
    turns = [_turn(message) for message in value]
    if [role for role, _ in turns] in (["user"], ["assistant"]):
        return turns[0][1]
    if [role for role, _ in turns] == ["system", "user"]:
        return f"{turns[0][1]}\n\n{turns[1][1]}"
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in turns)


def _turn(message: object) -> tuple[str, str]:
    """Role and content of a message; content may be a list of text parts."""
    if not isinstance(message, Mapping) or message.get("role") not in ROLES:
        raise ValueError(f"no message: {json.dumps(message, default=str)[:60]}")
    content = message.get("content")
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
        content = "".join(parts) if len(parts) == len(content) else None
    if not isinstance(content, str):
        raise ValueError(f"a message of {message['role']} without text")
    return str(message["role"]), content


def _as_text(pair: Pair) -> tuple[str, str, str]:
    return pair.prompt, pair.chosen, pair.rejected


def _as_messages(pair: Pair) -> tuple[list[dict[str, str]], ...]:
    roles = ("user", "assistant", "assistant")
    return tuple([{"role": role, "content": text}] for role, text in zip(roles, _as_text(pair), strict=True))
