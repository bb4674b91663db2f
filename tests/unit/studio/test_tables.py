"""Files of responses as tables: what is read, filtered, sorted and cut into pages, and how often a file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.disk import write_jsonl
from rewardlab.errors import DataError
from rewardlab.studio.tables import Query, Tables, select, values_of
from tests.support.studio import ledger_row, prediction

ROWS = [
    ledger_row(1, "a", "positive"),
    ledger_row(1, "b", "negative", response="NEVER odd"),
    ledger_row(2, "c", None, score=None, total=None),
    ledger_row(3, "d", "negative", gold="negative"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "samples.jsonl", ROWS)
    return tmp_path


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (Query(), "abcd"),
        (Query(step="1"), "ab"),
        (Query(step="2-3"), "cd"),
        (Query(step="soon"), "abcd"),
        (Query(verdict="right"), "ad"),
        (Query(verdict="wrong"), "bc"),
        (Query(verdict="unread"), "c"),
        (Query(gold="negative"), "d"),
        (Query(answer="negative"), "bd"),
        (Query(id="c"), "c"),
        (Query(text="Never ODD"), "b"),
        (Query(text=".*"), ""),  # a text, not a pattern
        (Query(task="other"), ""),
        (Query(decoding="greedy"), "abcd"),  # no such column: not asked
        (Query(sort="id", is_falling=True), "dcba"),
        (Query(sort="part rule"), "bcad"),  # scores 0 0 1 1, equal ones in the order of the file
        (Query(sort="total", is_falling=True), "adbc"),  # a missing total is last whichever way
        (Query(sort="total"), "badc"),
        (Query(sort="; drop"), "abcd"),
    ],
)
def test_filters_and_orders(folder: Path, query: Query, ids: str) -> None:
    frame = Tables().samples(folder)
    assert frame is not None
    page = select(frame, query)
    assert "".join(row["id"] for row in page.rows) == ids
    assert (page.matching, page.total) == (len(ids), 4)


@pytest.mark.parametrize(("asked", "number", "ids"), [(1, 1, "abc"), (2, 2, "d"), (9, 2, "d"), (-1, 1, "abc")])
def test_pages(folder: Path, asked: int, number: int, ids: str) -> None:
    frame = Tables().samples(folder)
    assert frame is not None
    page = select(frame, Query(page=asked, size=3))
    assert (page.number, page.last, "".join(row["id"] for row in page.rows)) == (number, 2, ids)


def test_a_row_keeps_the_number_of_its_line(folder: Path) -> None:
    frame = Tables().samples(folder)
    assert frame is not None
    assert [row["row"] for row in select(frame, Query(answer="negative", sort="id", is_falling=True)).rows] == [3, 1]


def test_parts_terms_and_shares_are_columns(tmp_path: Path) -> None:
    parts = {"label": 2.0, "ranked": None}
    row = ledger_row(1, "a", "positive", parts=parts, terms={"min(label, lam)": 1.0})
    write_jsonl(tmp_path / "samples.jsonl", [row, ledger_row(1, "b", "positive", parts={"label": 1, "ranked": 0.5})])
    frame = Tables().samples(tmp_path)
    assert frame is not None
    first = frame.row(0, named=True)
    assert (first["part label"], first["part ranked"], first["term min(label, lam)"]) == (2.0, None, 1.0)
    assert first["shaped kl"] == -0.1


def test_many_questions_read_a_file_once_and_a_change_reads_it_again(folder: Path) -> None:
    tables = Tables()
    for query in (Query(text="odd"), Query(sort="total"), Query(verdict="wrong", page=2)):
        frame = tables.samples(folder)
        assert frame is not None
        select(frame, query)
    assert tables.scans == 1
    with (folder / "samples.jsonl").open("a") as file:
        file.write('{"step": 4, "task": "sandbox')  # a line that is being written
    frame = tables.samples(folder)
    assert frame is not None
    assert (tables.scans, frame.height) == (2, 4)


def test_what_was_not_used_lately_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables()
    folders = [tmp_path / name for name in "abc"]
    for each in folders:
        write_jsonl(each / "samples.jsonl", ROWS)
    first = tables.samples(folders[0])
    assert first is not None
    monkeypatch.setattr("rewardlab.studio.tables.KEPT_BYTES", 2 * first.estimated_size())
    for place, scans in ((1, 2), (0, 2), (2, 3), (0, 3), (1, 4)):  # the third puts out b, which a was used after
        tables.samples(folders[place])
        assert tables.scans == scans
    monkeypatch.setattr("rewardlab.studio.tables.KEPT_BYTES", 0)
    for scans in (5, 5):  # the one in use is kept
        tables.samples(folders[2])
        assert tables.scans == scans


def test_numbers_as_labels_are_texts(tmp_path: Path) -> None:
    rows = [prediction("a", 3.5, gold=3.0), prediction("b", "none", gold=4)]
    write_jsonl(tmp_path / "predictions.jsonl", rows)
    frame = Tables().samples(tmp_path)
    assert frame is not None
    assert frame["answer"].to_list() == ["3.5", "none"]
    assert values_of(frame, "answer") == ["3.5", "none"]
    assert [row["id"] for row in select(frame, Query(answer="3.5")).rows] == ["a"]


def test_several_responses_a_row_become_a_row_each(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "sampled.jsonl", [{"task": "t", "id": "a", "responses": ["x", "y"]}])
    frame = Tables().samples(tmp_path)
    assert frame is not None
    assert frame.select("row", "id", "sample", "response").rows() == [(0, "a", 0, "x"), (1, "a", 1, "y")]


def test_an_evaluation_that_chose_among_scored_responses_shows_what_it_chose(folder: Path) -> None:
    write_jsonl(folder / "predictions.jsonl", [prediction("x", "positive")])
    frame = Tables().samples(folder)
    assert frame is not None
    assert frame["id"].to_list() == ["x"]


def test_ranked_samples_have_their_places_and_unranked_ones_none(tmp_path: Path) -> None:
    ranked = {"task": "t", "id": "a", "responses": ["x", "y"], "labels": ["no", None], "places": [2, 1]}
    failed = {"task": "t", "id": "b", "responses": ["z", "z"], "labels": ["no", "no"], "places": []}
    rows = [{**row, "outcome": "answered", "reason": ""} for row in (ranked, failed)]
    write_jsonl(tmp_path / "samples.jsonl", rows)
    frame = Tables().samples(tmp_path)
    assert frame is not None
    found = frame.select("id", "response", "answer", "place").rows()
    assert found == [("a", "x", "no", 2), ("a", "y", None, 1), ("b", "z", "no", None), ("b", "z", "no", None)]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(DataError, match=r"samples\.jsonl: expected JSON Lines"):
        Tables().samples(tmp_path)


def test_a_folder_without_responses_has_no_table(tmp_path: Path) -> None:
    assert Tables().samples(tmp_path) is None
    assert Tables().metrics(tmp_path) is None


def test_of_a_step_that_was_logged_twice_the_last_counts(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "x": 1.0}, {"step": 2, "x": 2.0}, {"step": 1, "x": 3.0}])
    frame = Tables().metrics(tmp_path)
    assert frame is not None
    assert frame.rows() == [(1, 3.0), (2, 2.0)]
