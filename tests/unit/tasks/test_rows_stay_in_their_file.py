"""Files of many rows: what is held of them, how often they are read, and that the same rows are chosen as ever."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rewardlab.errors import DataError
from rewardlab.tasks import resolve_tasks
from rewardlab.tasks import rows as reading
from rewardlab.tasks.checked import CheckedRows, Outline
from rewardlab.tasks.files import Placed
from rewardlab.tasks.folders import read_place
from rewardlab.tasks.rows import read_rows
from rewardlab.tasks.sources import load_splits
from rewardlab.types import Example

MR, MNLI = resolve_tasks("mr,mnli")
ROWS, LENGTH = 2_000, 3_000
SMALL = {"labelled": 20, "prompts": 20, "validation": 20, "test": 20}


def write(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def review(number: int, text: str = "film {}") -> dict[str, Any]:
    return {"id": f"r{number}", "text": text.format(number), "label": ("positive", "negative")[number % 2]}


def held_bytes(work: Callable[[], object]) -> int:
    """The most that is held at once beyond what was held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_million_texts_are_not_held(tmp_path: Path) -> None:
    """Of 6 MB of texts a fiftieth is used; a list of all rows would hold the rest, too."""
    data = write(tmp_path / "mr" / "train.jsonl", (review(n, "{} " + "word " * (LENGTH // 5)) for n in range(ROWS)))
    load_splits(MR, data_dir=tmp_path, **SMALL)  # type: ignore[arg-type]  # imports
    held = held_bytes(lambda: load_splits(MR, data_dir=tmp_path, **SMALL))  # type: ignore[arg-type]
    assert 80 * LENGTH < held < ROWS * LENGTH / 4
    assert data.stat().st_size > ROWS * LENGTH


def test_28_bytes_a_row_are_held() -> None:
    outline = Outline()
    for number in range(1_000):
        outline.add(Example("mr", f"r{number}", {"text": f"film {number}"}, "positive"))
    arrays = (outline.codes, outline.ids)
    assert sum(len(each) * each.itemsize for each in arrays) + len(outline.texts) == 28 * 1_000
    assert outline.labels == {"positive": 0}


def test_a_file_is_read_twice_whatever_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mr" / "train.jsonl", map(review, range(60)))
    write(tmp_path / "mr" / "test.jsonl", (review(n, "test {}") for n in range(20)))
    passes: list[str] = []
    original = reading.placed_rows

    def counting(path: Path, columns: Any) -> Iterator[Placed]:
        passes.append(path.name)
        return original(path, columns)

    monkeypatch.setattr(reading, "placed_rows", counting)
    load_splits(MR, data_dir=tmp_path)
    assert sorted(passes) == ["test.jsonl"] * 2 + ["train.jsonl"] * 2


def test_rows_are_taken_by_their_numbers_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "train.jsonl", map(review, range(30))), MR, "label").rows
    taken = rows.take([7, 29, 0, 7])
    assert [(number, example.id) for number, example in taken.items()] == [(0, "r0"), (7, "r7"), (29, "r29")]
    assert rows.take([]) == {}
    assert [example.id for example in rows.examples] == [f"r{number}" for number in range(30)]


def changed(file: Path, number: int, row: Mapping[str, Any] | None) -> None:
    lines = file.read_text().splitlines()
    lines[number : number + 1] = [] if row is None else [json.dumps(row)]
    file.write_text("\n".join(lines))


@pytest.mark.parametrize(
    "row", [None, review(4, "another {}"), {**review(4), "id": "other"}, {"text": 1, "label": "positive"}]
)
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, row: Mapping[str, Any] | None) -> None:
    file = write(tmp_path / "train.jsonl", map(review, range(5)))
    rows: CheckedRows = read_rows(file, MR, "label").rows
    changed(file, 4, row)
    assert rows.take([0])[0].id == "r0"
    with pytest.raises(DataError, match=re.escape(f"{file}: changed while it was read; run the command again")):
        rows.take([4])


def test_ids_that_occur_twice_are_named_in_a_file_and_over_its_shards(tmp_path: Path) -> None:
    rows = [*map(review, range(5)), {**review(9), "id": "r1"}, {**review(8), "id": "r1"}, {"text": "no label"}]
    with pytest.raises(DataError) as found:
        read_rows(write(tmp_path / "train.jsonl", rows), MR, "label")
    twice = "id 'r1' occurs a second time; ids are unique in a file"
    assert f"line 6: {twice}; line 7: {twice}; line 8: no field 'label'" in str(found.value)
    for shard, numbers in enumerate((range(5), range(3, 8))):
        write(
            tmp_path / "mr" / f"train-0000{shard}-of-00002.jsonl",
            ({**review(n), "text": f"{shard} {n}"} for n in numbers),
        )
    with pytest.raises(DataError, match="id 'r3' occurs twice in train-00000-of-00002"):
        read_place(tmp_path / "mr", MR, "label")


def test_the_rows_of_shards_are_numbered_through(tmp_path: Path) -> None:
    for shard, label in enumerate(("positive", "negative")):
        file = tmp_path / "mr" / f"train-0000{shard}-of-00002.jsonl"
        write(file, ({**review(10 * shard + n), "label": label} for n in range(10)))
    rows = read_place(tmp_path / "mr", MR, "label")["train"].rows
    assert [(example.id, example.label) for example in rows.take([9, 10, 19]).values()] == [
        ("r9", "positive"),
        ("r10", "negative"),
        ("r19", "negative"),
    ]
    assert list(rows.outline.codes) == [0] * 10 + [1] * 10


RECORDED = {
    "train": "61161e57bd24299a",
    "validation": "c9432cca9ea7b390",
    "all": "601fb8be938b4ba8",
}
"""Hashes of the chosen rows, in their order, by the version that held all rows in memory (commit d8af0a5)."""


@pytest.mark.parametrize("files", RECORDED)
def test_the_same_rows_are_chosen_as_when_all_were_in_memory(tmp_path: Path, files: str) -> None:
    def rows(begin: int, count: int) -> Iterator[dict[str, Any]]:
        """Labels uneven, and every seventh text the one before it but for case and blanks."""
        for number in range(begin, begin + count):
            text = f"film  {number - (number % 7 == 0)}"
            label = "positive" if number % 3 else "negative"
            yield {"id": f"r{number}", "text": text.title() if number % 7 == 0 else text, "label": label}

    write(tmp_path / "mr" / "train.jsonl", rows(0, 400))
    if files != "train":
        write(tmp_path / "mr" / "validation.jsonl", rows(380, 90))
    if files == "all":
        write(tmp_path / "mr" / "test.jsonl", rows(440, 70))
    found = load_splits(MR, data_dir=tmp_path, labelled=50, prompts=60, validation=25, test=40, seed=3, test_seed=1)
    assert found.origin.sha256[:16] == RECORDED[files]
