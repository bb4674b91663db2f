"""Files of rows as other tools write them, and which split each of them is.

JSON Lines, JSON arrays, CSV, TSV, Parquet, and folders that ``datasets`` saved (``save_to_disk``). Here a file becomes
placed rows; whether a row fits the task is decided in ``rows.py``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError
from rewardlab.reading import parse_json
from rewardlab.tasks.encodings import open_text, wrong_byte
from rewardlab.tasks.tables import read_table

Placed = tuple[str, str | Mapping[str, Any]]
"""(place in its file, row); the row is JSON text or a mapping."""

SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""File names and the split that each stands for, as ``datasets`` reads a repository's files."""

SAVED_SPLITS = "dataset_dict.json"
"""File by which a folder of ``DatasetDict.save_to_disk`` is known."""
_SHARD = re.compile(r"-\d{5}-of-(\d{5})$")


UNREAD_ENDINGS = frozenset(
    (
        ".txt",
        ".xlsx",
        ".xls",
        ".ods",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".zip",
        ".arrow",
        ".feather",
        ".tab",
        ".xml",
        ".pkl",
    )
)
"""Endings of files that may hold rows and are not read; one with the name of a split is told."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files of a folder.

    Attributes:
        splits: Split name -> its files; shards of one split stand together, in order.
        notes: What is not read although it may hold rows, a sentence each.
    """

    splits: Mapping[str, Sequence[Path]]
    notes: Sequence[str] = ()


def row_files(folder: Path) -> list[Path]:
    """What rows can be read from in a folder, sorted: files by their ending, and folders of ``save_to_disk``."""
    is_saved = (folder / SAVED_SPLITS).is_file()
    return sorted(
        path for path in folder.iterdir() if _is_saved(path) or (path.suffix.lower() in READERS and not is_saved)
    )


def find_files(folder: Path, wanted: Sequence[str]) -> FoundFiles:
    """Which file of a folder is which split.

    A file is a split's by its name (``wanted``, or one of :data:`SPLIT_NAMES`), without ending and shard number; so
    are the splits of a ``DatasetDict`` that ``datasets`` saved. A folder with one file of any other name is all train.

    Args:
        folder: With files of rows, or saved by ``datasets``.
        wanted: Split names that the task uses beside train, validation and test.
    Raises:
        DataError: Two files are one split, such as dev.jsonl beside validation.csv.
    """
    if _is_saved(folder):
        return FoundFiles({"train": [folder]})
    files = row_files(folder)
    splits: dict[str, list[Path]] = {}
    for path in files:
        if split := _split_of(path, wanted):
            splits.setdefault(split, []).append(path)
    if not splits and len(files) == 1:
        splits = {"train": files}
    for split, paths in splits.items():
        if len({_SHARD.sub("", path.stem) + path.suffix for path in paths}) > 1:
            named = ", ".join(path.name for path in paths)
            raise DataError(f"{folder}: {named} are all rows of the split {split}; keep one of them")
    used = {path for paths in splits.values() for path in paths}
    unread = [path for path in sorted(folder.iterdir()) if _may_have_rows(path) and _split_of(path, wanted)]
    ignored = ", ".join(path.name for path in [*files, *unread] if path not in used)
    notes = [f"files that are no split are not read: {ignored}"] if ignored else []
    return FoundFiles(splits, [*notes, *_lacking_shards(used)])


def _split_of(path: Path, wanted: Sequence[str]) -> str | None:
    name = path.name if path.is_dir() else path.stem
    if path.suffix.lower() in UNREAD_ENDINGS:
        name = name.partition(".")[0]  # test.csv.gz
    stem = _SHARD.sub("", name)
    return stem if stem in wanted else SPLIT_NAMES.get(stem.lower())


def _may_have_rows(path: Path) -> bool:
    """True for what is no file of rows to us, and may be one to others: a spreadsheet, an archive, a folder."""
    return path.suffix.lower() in UNREAD_ENDINGS or (path.is_dir() and not _is_saved(path))


def _lacking_shards(paths: Iterable[Path]) -> list[str]:
    """How many shards are not there, of the number that their names tell."""
    shards = Counter(
        (_SHARD.sub("", path.stem), int(found[1])) for path in paths if (found := _SHARD.search(path.stem))
    )
    return [f"{name}: {count} of {of} shards are there" for (name, of), count in sorted(shards.items()) if count != of]


def saved_splits(folder: Path) -> dict[str, Path] | None:
    """The splits of a folder that ``datasets`` saved, by their own names; one ``Dataset`` is train; else None."""
    if (folder / SAVED_SPLITS).is_file():
        return {path.name: path for path in row_files(folder)}
    return {"train": folder} if _is_saved(folder) else None


def placed_rows(path: Path, columns: Sequence[str]) -> Iterator[Placed]:
    """The rows of a file, each with its place in it.

    Args:
        path: A file with one of the endings of :data:`READERS`, or a folder of ``save_to_disk``.
        columns: Columns that a table must have; they decide which delimiter a CSV file uses.
    Raises:
        DataError: The file cannot be read, or is not what its ending says.
    """
    try:
        reader = _read_saved if path.is_dir() else READERS[path.suffix.lower()]
        yield from reader(path, columns)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}{wrong_byte(path)}; save the file as UTF-8") from error
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a text file in UTF-8") from error


def _is_saved(path: Path) -> bool:
    return path.is_dir() and (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def _json_lines(path: Path, columns: Sequence[str]) -> Iterator[Placed]:
    """A row a line; an array under this ending is read as one."""
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
    return _json(path, columns) if first.lstrip("\ufeff \t").startswith("[") else _lines(path)


def _lines(path: Path) -> Iterator[Placed]:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"line {number}", line


def _json(path: Path, columns: Sequence[str]) -> Iterator[Placed]:
    """An array of objects, an object that holds one array of them, or JSON Lines under another ending."""
    with open_text(path) as file:
        text = file.read()
    try:
        value = parse_json(text)
    except json.JSONDecodeError:
        yield from _lines(path)
        return
    except ValueError as error:
        raise DataError(f"{path}: {error}; expected an array of rows, or JSON Lines") from error
    arrays = [item for item in value.values() if isinstance(item, list)] if isinstance(value, dict) else [value]
    if len(arrays) != 1 or not isinstance(arrays[0], list):
        raise DataError(f"{path}: found a JSON {type(value).__name__}, expected an array of rows, or JSON Lines")
    for number, row in enumerate(arrays[0], start=1):
        yield f"row {number}", row if isinstance(row, dict) else json.dumps(row)


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Placed]:
    import datasets
    import pyarrow.parquet
    from pyarrow import ArrowException

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            features = datasets.Features.from_arrow_schema(file.schema_arrow)
            batches = (batch.to_pylist() for batch in file.iter_batches(1024))
            yield from _named((row for batch in batches for row in batch), features)
    except ArrowException as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a Parquet file") from error


def _read_saved(path: Path, columns: Sequence[str]) -> Iterator[Placed]:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:
        # datasets raises its own, pyarrow's and fsspec's errors
        raise DataError(f"{path}: cannot be read ({error}); expected a folder of Dataset.save_to_disk") from error
    yield from _named(iter(saved), saved.features)


def _named(rows: Iterator[Mapping[str, Any]], features: Mapping[str, Any]) -> Iterator[Placed]:
    """Rows in which a class label stands by its name in place of its number."""
    names = {column: feature.names for column, feature in features.items() if hasattr(feature, "names")}
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", {column: _name(value, names.get(column)) for column, value in row.items()}


def _name(value: Any, names: Sequence[str] | None) -> Any:
    return names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value


READERS: Mapping[str, Callable[[Path, Sequence[str]], Iterator[Placed]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": read_table,
    ".tsv": read_table,
    ".parquet": _parquet,
}
"""Ending of a file -> what reads it."""
