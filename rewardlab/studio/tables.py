"""Files of rows as polars frames: read once, kept while the file does not change, filtered and sorted lazily.

==================== ====================================== ==============================================
file                 who writes it                          a row is
==================== ====================================== ==============================================
``samples.jsonl``    a training method that samples         a scored response of a step
``samples.jsonl``    ranked pairs                           several ranked responses to a row
``predictions.jsonl`` an evaluation                         an answer to a test row under one decoding
``sampled.jsonl``    samples of the start model             several responses to a row
``sft_samples.jsonl`` a reward model                        several responses to a row
==================== ====================================== ==============================================

All of them come out with the same names of columns; what a file does not say is absent.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from rewardlab.errors import DataError
from rewardlab.evaluation.answers import PREDICTIONS_FILE
from rewardlab.rewards.ledger import LEDGER_FILE
from rewardlab.training.stored_samples import STORED_FILE

SAMPLED_FILE = "sampled.jsonl"
METRICS_FILE = "metrics.jsonl"
KEPT_BYTES = 400_000_000
"""Size of the tables that are kept in memory, the latest used; one is kept whatever its size."""
TEXTS = ("task", "id", "answer", "strict", "gold", "reason", "response", "column", "decoding", "prompt")
"""Columns that are texts whatever a file holds: labels may be numbers."""
RESPONSES: Mapping[str, Any] = {
    "task": pl.String,
    "id": pl.String,
    "label": pl.String,
    "responses": pl.List(pl.String),
}
"""Of files with several responses a row."""
RANKED: Mapping[str, Any] = {
    "task": pl.String,
    "id": pl.String,
    "outcome": pl.String,
    "reason": pl.String,
    "responses": pl.List(pl.String),
    "labels": pl.List(pl.String),
    "places": pl.List(pl.Int64),
}
"""Of samples that an annotator ranked."""
RANKED_NAMES = {"responses": "response", "labels": "answer", "places": "place"}
PART, TERM, SHAPED = "part ", "term ", "shaped "
"""Begin the names of columns that a ledger's nested objects become."""
RENAMED = {"is_correct": "correct", "is_malformed": "malformed"}


@dataclass(frozen=True, slots=True)
class Query:
    """Which samples are shown, and how; None and "" are all.

    Attributes:
        step: A step, or two joined by ``-``.
        verdict: ``right``, ``wrong`` or ``unread``.
        text: Stands in the response, whatever the case.
        sort: Name of a column; ``row`` is the order of the file.
        page: Counted from 1.
        size: Rows a page.
    """

    step: str = ""
    task: str = ""
    id: str = ""
    column: str = ""
    decoding: str = ""
    verdict: str = ""
    answer: str = ""
    gold: str = ""
    text: str = ""
    sort: str = "row"
    is_falling: bool = False
    page: int = 1
    size: int = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a table.

    Attributes:
        rows: As dictionaries; ``row`` is the number of the row in its file, from 0.
        matching, total: Rows that the query leaves, and all rows.
        number, last: This page and the last one, from 1.
    """

    rows: Sequence[Mapping[str, Any]]
    matching: int
    total: int
    number: int
    last: int


class Tables:
    """Frames by file.

    Attributes:
        scans: How often a file was read; a page that finds its frame adds nothing.
    """

    def __init__(self) -> None:
        self.scans = 0
        self._kept: OrderedDict[Path, tuple[tuple[int, int], pl.DataFrame]] = OrderedDict()
        self._lock = threading.Lock()

    def samples(self, folder: Path) -> pl.DataFrame | None:
        """The responses of a run folder; None where it holds none.

        Raises:
            DataError: The file is damaged.
        """
        for name, read in READERS.items():
            if (folder / name).is_file():
                return self.frame(folder / name, read)
        return None

    def metrics(self, folder: Path) -> pl.DataFrame | None:
        """A row a training step; None without any. Of a step that was written twice the last counts."""
        file = folder / METRICS_FILE
        frame = self.frame(file, scan_lines) if file.is_file() else None
        if frame is None or "step" not in frame.columns:
            return None
        return frame.unique("step", keep="last", maintain_order=True).sort("step")

    def rows(self, file: Path, read: Callable[[bytes], pl.DataFrame] | None = None) -> pl.DataFrame | None:
        """A file of rows as it is, or as ``read`` makes it of the file's lines; None where it is not there, or empty.

        Raises:
            DataError: The file is damaged.
        """
        frame = self.frame(file, read or scan_lines) if file.is_file() else None
        return None if frame is None or frame.is_empty() else frame

    def frame(self, file: Path, read: Callable[[bytes], pl.DataFrame]) -> pl.DataFrame:
        """What ``read`` makes of a file, kept while the file does not change; as :meth:`rows`."""
        found = file.stat()
        state = (found.st_mtime_ns, found.st_size)
        with self._lock:  # two requests for one large file read it once
            kept = self._kept.get(file)
            if kept is None or kept[0] != state:
                self.scans += 1
                kept = self._kept[file] = (state, _read(file, read))
            self._kept.move_to_end(file)
            self._make_room()
        return kept[1]

    def _make_room(self) -> None:
        sizes = {file: frame.estimated_size() for file, (_, frame) in self._kept.items()}
        for file in list(self._kept)[:-1]:
            if sum(sizes.values()) <= KEPT_BYTES:
                return
            del self._kept[file], sizes[file]


def _read(file: Path, read: Callable[[bytes], pl.DataFrame]) -> pl.DataFrame:
    """Raises DataError that names the file; half a last line, which a running stage is writing, is left out."""
    try:
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        return read(whole) if whole.strip() else pl.DataFrame()
    except (pl.exceptions.PolarsError, OSError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: expected JSON Lines that this version writes ({line})") from error


def scan_lines(content: bytes) -> pl.DataFrame:
    """Lines as they are, texts as texts; columns without any value are left out."""
    overrides = {name: pl.String for name in TEXTS if name in _keys(content)}
    frame = pl.read_ndjson(BytesIO(content), infer_schema_length=None, schema_overrides=overrides)
    return frame.drop([name for name, kind in frame.schema.items() if kind == pl.Null])


def _keys(content: bytes) -> frozenset[str]:
    """Keys of the first line; polars refuses to be told the type of a column that is not there."""
    try:
        first = json.loads(content[: content.find(b"\n")])
    except ValueError:
        return frozenset()
    return frozenset(first) if isinstance(first, dict) else frozenset()


def _ledger(content: bytes) -> pl.DataFrame:
    """A ledger with a column for each part, each term and each share of the total; or ranked samples, one a row."""
    if "responses" in _keys(content):
        return _ranked(content)
    frame = scan_lines(content)
    nested = [("parts", PART), ("terms", TERM), ("shaped", SHAPED)]
    for name, prefix in nested:
        if isinstance(kind := frame.schema.get(name), pl.Struct):
            fields = [pl.col(name).struct.field(each.name).alias(prefix + each.name) for each in kind.fields]
            frame = frame.with_columns(fields)
    return _numbered(frame.drop([name for name, _ in nested if name in frame.columns]))


def _predictions(content: bytes) -> pl.DataFrame:
    frame = scan_lines(content)
    return _numbered(frame.rename({old: new for old, new in RENAMED.items() if old in frame.columns}))


def _responses(content: bytes) -> pl.DataFrame:
    """Several responses a row, one row each."""
    frame = pl.read_ndjson(BytesIO(content), schema=dict(RESPONSES)).rename({"label": "gold", "responses": "response"})
    counted = frame.with_columns(sample=pl.int_ranges(0, pl.col("response").list.len()))
    rows = counted.explode("response", "sample")
    return _numbered(rows.drop("gold") if rows["gold"].is_null().all() else rows)


def _ranked(content: bytes) -> pl.DataFrame:
    """Samples that an annotator ranked (``samples.jsonl`` of ranked pairs): answer and place of each, 1 is the best."""
    frame = pl.read_ndjson(BytesIO(content), schema=dict(RANKED)).rename(RANKED_NAMES)
    count = pl.col("response").list.len()
    whole = {
        name: pl.when(pl.col(name).list.len() == count)
        .then(pl.col(name))
        .otherwise(pl.lit(None, kind).repeat_by(count))
        for name, kind in (("answer", pl.String), ("place", pl.Int64))
    }  # a sample that was not ranked has no place; lists of unequal length cannot be taken apart
    return _numbered(frame.with_columns(sample=pl.int_ranges(0, count), **whole).explode("response", "sample", *whole))


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_row_index("row")


READERS: Mapping[str, Callable[[bytes], pl.DataFrame]] = {
    PREDICTIONS_FILE: _predictions,
    LEDGER_FILE: _ledger,
    SAMPLED_FILE: _responses,
    STORED_FILE: _responses,
}
"""Files with responses; of an evaluation that chose among scored responses, what it chose comes first."""


def select(frame: pl.DataFrame, query: Query) -> Page:
    """The rows that a query shows: one filter, and a sort of what it leaves.

    An unknown column to sort by is the order of the file.
    """
    lazy = frame.lazy().filter(_conditions(frame, query)) if _conditions(frame, query) else frame.lazy()
    order = query.sort if query.sort in frame.columns else "row"
    matching = int(lazy.select(pl.len()).collect().item())
    last = max(1, -(-matching // query.size))
    number = min(max(1, query.page), last)
    by = ["row"] if order == "row" else [order, "row"]
    falling = [query.is_falling, *([False] if order != "row" else [])]
    chosen = lazy.select(by).sort(by, descending=falling, nulls_last=True)
    places = chosen.slice((number - 1) * query.size, query.size).collect()["row"].to_list()
    return Page(frame[places].to_dicts(), matching, frame.height, number, last)


def _conditions(frame: pl.DataFrame, query: Query) -> list[pl.Expr]:
    """What a row must fulfil; a filter on a column that the file lacks is not asked."""
    found: list[pl.Expr] = []
    for name in ("task", "id", "column", "decoding", "answer", "gold"):
        if (wanted := getattr(query, name)) and name in frame.columns:
            found.append(pl.col(name) == wanted)
    if query.step and "step" in frame.columns:
        low, _, high = query.step.partition("-")
        if low.strip().isdigit() and (not high.strip() or high.strip().isdigit()):
            found.append(pl.col("step").is_between(int(low), int(high or low)))
    if query.text:
        found.append(pl.col("response").str.to_lowercase().str.contains(query.text.lower(), literal=True))
    if query.verdict in ("right", "wrong") and "correct" in frame.columns:
        found.append(pl.col("correct") == (query.verdict == "right"))
    if query.verdict == "unread" and "answer" in frame.columns:
        found.append(pl.col("answer").is_null())
    return found


def values_of(frame: pl.DataFrame, column: str, most: int = 50) -> list[str]:
    """What a column holds, sorted; empty where it is absent, or holds more than a menu can show."""
    if column not in frame.columns:
        return []
    found = frame[column].drop_nulls().unique().sort().to_list()
    return [str(each) for each in found] if len(found) <= most else []
