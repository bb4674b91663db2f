"""Files of rows as other tools write them, and which split each of them is.

JSON Lines, JSON arrays, CSV, TSV, Parquet, and folders that ``datasets`` saved (``save_to_disk``). Here a file becomes
placed rows; whether a row fits the task is decided in ``rows.py``.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError
from rewardlab.reading import parse_json

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

DELIMITERS: Mapping[str, str] = {".csv": ",;\t|", ".tsv": "\t"}
"""What may separate the cells of a table; a CSV file uses the first whose header has all columns of the task."""
LONGEST_CELL = 1 << 24
"""Most characters of one cell of a CSV file."""
ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files of a folder.

    Attributes:
        splits: Split name -> its files; shards of one split stand together, in order.
        ignored: Files with rows that no split is read from.
    """

    splits: Mapping[str, Sequence[Path]]
    ignored: Sequence[Path]


def row_files(folder: Path) -> list[Path]:
    """What rows can be read from in a folder, sorted: files by their ending, and folders of ``save_to_disk``."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in READERS or _is_saved(path))


def find_files(folder: Path, wanted: Sequence[str]) -> FoundFiles:
    """Which file of a folder is which split.

    A file is a split's by its name (``wanted``, or one of :data:`SPLIT_NAMES`), without ending and shard number. A
    folder with one file of any other name is all train.

    Args:
        folder: With files of rows.
        wanted: Split names that the task uses beside train, validation and test.
    Raises:
        DataError: Two files are one split, such as dev.jsonl beside validation.csv.
    """
    files = row_files(folder)
    splits: dict[str, list[Path]] = {}
    for path in files:
        stem = _SHARD.sub("", path.name if path.is_dir() else path.stem)
        split = stem if stem in wanted else SPLIT_NAMES.get(stem.lower())
        if split:
            splits.setdefault(split, []).append(path)
    if not splits and len(files) == 1:
        splits = {"train": files}
    for split, paths in splits.items():
        if len({_SHARD.sub("", path.stem) + path.suffix for path in paths}) > 1:
            named = ", ".join(path.name for path in paths)
            raise DataError(f"{folder}: {named} are all rows of the split {split}; keep one of them")
    used = {path for paths in splits.values() for path in paths}
    return FoundFiles(splits, [path for path in files if path not in used])


def saved_splits(folder: Path) -> dict[str, Path] | None:
    """The splits of a folder that ``datasets`` saved: a ``DatasetDict``'s, or one ``Dataset`` as train; else None."""
    if (folder / "dataset_dict.json").is_file():
        names = [path.name for path in sorted(folder.iterdir()) if _is_saved(path)]
        return {SPLIT_NAMES.get(name.lower(), name): folder / name for name in names}
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
        raise DataError(f"{path}{_place_of_the_first_wrong_byte(path)}; save the file as UTF-8") from error
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a text file in UTF-8") from error


def _place_of_the_first_wrong_byte(path: Path) -> str:
    """`` line N: ...`` of a text file that is not UTF-8; the file is read again, line by line."""
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return ": not in the encoding that its first bytes announce"
        file.seek(0)
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                return f" line {number}: the byte 0x{line[error.start]:02x} is no UTF-8"
    return ": no UTF-8"


def _is_saved(path: Path) -> bool:
    return path.is_dir() and (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def _open(path: Path) -> io.TextIOWrapper:
    """Text of a file in UTF-8, or in UTF-16 where a byte order mark says so (spreadsheets' "Unicode text")."""
    with path.open("rb") as file:
        start = file.read(3)
    encoding = next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), "utf-8")
    return path.open(encoding=encoding, newline="")


def _json_lines(path: Path, columns: Sequence[str]) -> Iterator[Placed]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"line {number}", line


def _json(path: Path, columns: Sequence[str]) -> Iterator[Placed]:
    """An array of objects, an object that holds one array of them, or JSON Lines under another ending."""
    with _open(path) as file:
        text = file.read()
    try:
        value = parse_json(text)
    except json.JSONDecodeError:
        yield from _json_lines(path, columns)
        return
    except ValueError as error:
        raise DataError(f"{path}: {error}; expected an array of rows, or JSON Lines") from error
    arrays = [item for item in value.values() if isinstance(item, list)] if isinstance(value, dict) else [value]
    if len(arrays) != 1 or not isinstance(arrays[0], list):
        raise DataError(f"{path}: found a JSON {type(value).__name__}, expected an array of rows, or JSON Lines")
    for number, row in enumerate(arrays[0], start=1):
        yield f"row {number}", row if isinstance(row, dict) else json.dumps(row)


def _table(path: Path, columns: Sequence[str]) -> Iterator[Placed]:
    """A table with a header line; empty cells are missing values."""
    csv.field_size_limit(LONGEST_CELL)
    with _open(path) as file:
        header_line = file.readline()
        delimiters = DELIMITERS[path.suffix.lower()]
        delimiter = next((mark for mark in delimiters if _has(header_line, mark, columns)), delimiters[0])
        file.seek(0)
        table = csv.DictReader(file, delimiter=delimiter, restkey="", strict=True)
        try:
            for row in table:
                place = f"line {table.line_num}"
                if row.get(""):
                    raise DataError(f"{path} {place}: more cells than the header names; quote cells with {delimiter!r}")
                yield place, {name: cell or None for name, cell in row.items() if name}
        except csv.Error as error:
            raise DataError(f"{path} line {table.line_num}: not a table ({error}); expected {path.suffix}") from error


def _has(header: str, delimiter: str, columns: Sequence[str]) -> bool:
    named = next(csv.reader([header.lstrip("\ufeff")], delimiter=delimiter), [])
    return {name.casefold() for name in columns} <= {name.strip().casefold() for name in named}


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
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
}
"""Ending of a file -> what reads it."""
