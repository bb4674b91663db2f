"""Where rows come from, how they are checked, and that no text is in two parts."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rewardlab.errors import DataError
from rewardlab.tasks import hub, resolve_tasks, tasks
from rewardlab.tasks.checked import CheckedRows, content_key
from rewardlab.tasks.division import Limits, divide
from rewardlab.tasks.rows import read_rows
from rewardlab.tasks.sources import Splits, load_splits
from rewardlab.tasks.task import HubSource, Task
from rewardlab.types import Example
from tests.support.steps import steps

MR, AGNEWS, MNLI, STSB, STARS, COLA = resolve_tasks("mr,agnews,mnli,stsb,appreviews,cola")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", "/no/such/cache")
    hub.offline_reason.cache_clear()


def review(number: int, prefix: str = "film") -> dict[str, Any]:
    return {"id": f"{prefix}-{number}", "text": f"{prefix} {number}", "label": ("positive", "negative")[number % 2]}


def write(folder: Path, **files: Iterable[Mapping[str, Any] | str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder.parent


def parts(splits: Splits) -> list[list[Example]]:
    return [splits.labelled, splits.prompts, splits.validation, *splits.tests.values()]


def texts(rows: Iterable[Example]) -> set[str]:
    return {example.fields["text"] for example in rows}


def assert_disjoint(splits: Splits) -> None:
    keys = [content_key(example) for part in parts(splits) for example in part]
    assert len(keys) == len(set(keys))


def test_three_files_keep_their_parts_and_a_third_of_train_is_labelled(tmp_path: Path) -> None:
    data = write(
        tmp_path / "mr",
        train=map(review, range(90)),
        validation=[review(n, "val") for n in range(20)],
        test=[review(n, "test") for n in range(30)],
    )
    splits = load_splits(MR, data_dir=data, format="label")
    # 90 / 3 = 30 labelled, the other 60 are prompts
    assert [len(part) for part in parts(splits)] == [30, 60, 20, 30]
    assert texts(splits.labelled + splits.prompts) == {f"film {n}" for n in range(90)}
    assert texts(splits.tests["mr"]) == {f"test {n}" for n in range(30)}
    assert {example.format for part in parts(splits) for example in part} == {"label"}
    assert (splits.origin.kind, splits.origin.location, splits.origin.note) == ("local", str(data / "mr"), "")


def test_caps_bind(tmp_path: Path) -> None:
    data = write(
        tmp_path / "mr",
        train=map(review, range(90)),
        validation=[review(n, "val") for n in range(20)],
        test=[review(n, "test") for n in range(30)],
    )
    splits = load_splits(MR, data_dir=data, labelled=10, prompts=7, validation=6, test=5)
    assert [len(part) for part in parts(splits)] == [10, 7, 6, 5]
    assert_disjoint(splits)


def test_without_a_test_file_validation_is_the_test_and_selection_rows_come_from_train(tmp_path: Path) -> None:
    data = write(tmp_path / "mr", train=map(review, range(100)), validation=[review(n, "val") for n in range(20)])
    splits = load_splits(MR, data_dir=data)
    assert texts(splits.tests["mr"]) == {f"val {n}" for n in range(20)}
    # 15 of 100 are cut for validation; 85 // 3 = 28 labelled
    assert [len(part) for part in parts(splits)] == [28, 57, 15, 20]
    assert all(text.startswith("film") for text in texts(splits.validation))


def test_mnli_has_two_test_columns(tmp_path: Path) -> None:
    def pair(number: int, prefix: str) -> dict[str, Any]:
        return {"sentence1": f"{prefix} {number}", "sentence2": "so", "label": "neutral"}

    data = write(
        tmp_path / "mnli",
        train=[pair(n, "t") for n in range(40)],
        validation=[pair(n, "m") for n in range(10)],
        validation_mismatched=[pair(n, "mm") for n in range(12)],
    )
    splits = load_splits(MNLI, data_dir=data)
    assert {column: len(rows) for column, rows in splits.tests.items()} == {"mnli": 10, "mnli-mm": 12}
    assert splits.validation[0].fields["sentence1"].startswith("t ")
    assert splits.tests["mnli-mm"][0].fields["sentence1"].startswith("mm ")


def test_texts_of_the_test_leave_train_and_validation(tmp_path: Path) -> None:
    data = write(
        tmp_path / "mr",
        train=[*map(review, range(30)), {**review(1), "id": "twice"}],
        validation=[{**review(2), "id": "v", "text": " FILM  2 "}, review(3, "val")],
        test=[{**review(2), "id": "t"}, {**review(4), "id": "t4", "text": "Film 4"}],
    )
    splits = load_splits(MR, data_dir=data)
    assert texts(splits.validation) == {"val 3"}
    assert texts(splits.labelled + splits.prompts) == {f"film {n}" for n in range(30)} - {"film 2", "film 4"}
    assert_disjoint(splits)


def test_a_pair_in_the_other_order_is_the_same_text() -> None:
    there = Example("qqp", "1", {"sentence1": "A  b?", "sentence2": "C?"})
    back = Example("qqp", "2", {"sentence1": "c?", "sentence2": "a B?"})
    assert content_key(there) == content_key(back)


def checked(folder: Path, **files: Iterable[Mapping[str, Any]]) -> dict[str, CheckedRows]:
    write(folder, **files)
    return {name: read_rows(folder / f"{name}.jsonl", MR, "label").rows for name in files}


def test_cuts_keep_the_label_shares(tmp_path: Path) -> None:
    rows = [{"text": str(n), "label": "positive" if n < 30 else "negative"} for n in range(120)]
    divided = divide(MR, checked(tmp_path, train=rows), Limits(), seed=3)
    # a quarter of every part is positive, give or take one row
    for part in (divided.labelled, divided.prompts, divided.validation, divided.tests["mr"]):
        positive = sum(example.label == "positive" for example in part)
        assert abs(positive - len(part) / 4) <= 1


def test_the_limit_of_one_part_leaves_the_other_parts_alone(tmp_path: Path) -> None:
    held = [review(n, "held") for n in range(40)]
    files = checked(tmp_path, train=map(review, range(90)), test=held[:20], validation=held[20:])
    wide, narrow = (divide(MR, files, Limits(10, prompts, 5, 10), seed=0) for prompts in (50, 3))
    assert (wide.tests, wide.validation, wide.labelled) == (narrow.tests, narrow.validation, narrow.labelled)


def test_a_seed_is_the_same_split_and_another_seed_another(tmp_path: Path) -> None:
    data = write(tmp_path / "mr", train=map(review, range(90)))
    first, again = (load_splits(MR, data_dir=data, seed=1) for _ in range(2))
    other = load_splits(MR, data_dir=data, seed=2)
    assert first == again
    assert other.origin.sha256 != first.origin.sha256


def test_the_hash_sees_one_changed_label(tmp_path: Path) -> None:
    rows = [review(n) for n in range(40)]
    before = load_splits(MR, data_dir=write(tmp_path / "a" / "mr", train=rows)).origin.sha256
    same = load_splits(MR, data_dir=write(tmp_path / "b" / "mr", train=rows)).origin.sha256
    rows[7] = {**rows[7], "id": "other"}
    changed = load_splits(MR, data_dir=write(tmp_path / "c" / "mr", train=rows)).origin.sha256
    assert before == same != changed


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        (MR, {"label": "positive"}, "line 2: no field 'text', found label"),
        (MR, {"text": "x"}, "line 2: no field 'label', found text"),
        (MR, {"text": "x", "label": None}, "line 2: 'label' has no value"),
        (MR, {"text": 7, "label": "positive"}, "line 2: field 'text' is 7, expected a text"),
        (MR, {"text": "x", "label": "postive"}, "line 2: label 'postive' is not one of negative, positive"),
        (MR, {"id": "film-0", "text": "x", "label": "positive"}, "line 2: id 'film-0' occurs a second time"),
        (MR, "{", "line 2: not valid JSON"),
        (MR, "[" * 100_000, "line 2: not valid JSON"),
        (MR, "[1]", "line 2: a JSON list, expected an object"),
        (STSB, {"sentence1": "a", "sentence2": "b", "label": 5.5}, "line 2: label 5.5 is not a number from 0 to 5"),
        (STSB, {"sentence1": "a", "sentence2": "b", "label": "x"}, "line 2: label 'x' is not a number from 0 to 5"),
        (STSB, {"sentence1": "a", "sentence2": "b", "label": True}, "line 2: label True is not a number from 0 to 5"),
        (STSB, '{"sentence1": "a", "sentence2": "b", "label": NaN}', "line 2: label nan is not a number from 0 to 5"),
        (STARS, {"text": "x", "label": 6}, "line 2: label 6 is not one of 1, 2, 3, 4, 5"),
        (STARS, {"text": "x", "label": True}, "line 2: label True is not one of"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, task: Any, row: Any, message: str) -> None:
    good = {
        "id": "film-0",
        "text": "good",
        "sentence1": "a",
        "sentence2": "c",
        "label": task.labels[0] if task.labels else 1,
    }
    data = write(tmp_path / task.name, train=[good, row])
    with pytest.raises(DataError) as caught:
        load_splits(task, data_dir=data)
    assert f"{data / task.name / 'train.jsonl'} {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_are_counted_and_the_first_five_spelled_out(tmp_path: Path) -> None:
    data = write(tmp_path / "mr", train=["", *[{"text": "x", "label": "good"}] * 8])
    with pytest.raises(DataError) as caught:
        load_splits(MR, data_dir=data)
    message = str(caught.value)
    assert message.count("label 'good'") == 5
    assert "line 2: label" in message
    assert "and 3 more rows" in message


def test_whole_numbers_are_star_labels_and_scores(tmp_path: Path) -> None:
    stars = write(tmp_path / "appreviews", train=[{"text": f"r{n}", "label": n % 5 + 1} for n in range(20)])
    assert {example.label for example in load_splits(STARS, data_dir=stars).prompts} <= set("12345")
    pairs = [{"sentence1": f"a{n}", "sentence2": "b", "label": 4} for n in range(20)]
    labels = {example.label for example in load_splits(STSB, data_dir=write(tmp_path / "stsb", train=pairs)).labelled}
    assert labels == {4.0}
    assert all(isinstance(label, float) for label in labels)


def test_the_tasks_own_folder_may_be_given(tmp_path: Path) -> None:
    write(tmp_path / "films", rows=map(review, range(40)))
    assert load_splits(MR, data_dir=tmp_path / "films").origin.location == str(tmp_path / "films")


@pytest.mark.parametrize("variable", [True, False])
def test_a_folder_that_was_named_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: bool) -> None:
    missing = tmp_path / "missing"
    if variable:
        monkeypatch.setenv("REWARDLAB_DATA", str(missing))
    with pytest.raises(DataError, match=rf"{'REWARDLAB_DATA' if variable else '--data'} .*missing: no such folder"):
        load_splits(MR, data_dir=None if variable else missing)


def test_a_data_folder_without_the_task_is_an_error_when_asked_for_and_a_note_when_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        DataError,
        match=r"no files of rows in .* \(found nothing; rows are read from .*\); add train\.jsonl or train\.csv there",
    ):
        load_splits(MR, data_dir=tmp_path)
    monkeypatch.setenv("REWARDLAB_DATA", str(tmp_path))
    origin = load_splits(MR).origin
    assert origin.kind == "bundled"
    assert origin.note.startswith(f"local: no files of rows in {tmp_path / 'mr'} (found nothing; ")
    assert "; hub: " in origin.note


def test_a_folder_needs_training_rows(tmp_path: Path) -> None:
    data = write(tmp_path / "mr", test=map(review, range(9)), other=[])
    with pytest.raises(DataError, match=r"no train\.jsonl, found other\.jsonl, test\.jsonl"):
        load_splits(MR, data_dir=data)


def test_what_leaves_too_few_rows_is_said(tmp_path: Path) -> None:
    data = write(tmp_path / "mr", train=map(review, range(4)), test=map(review, range(3)))
    with pytest.raises(
        DataError, match=r"1 training rows are left.*\(left out 3 rows of train whose text is in test\)"
    ):
        load_splits(MR, data_dir=data)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "mr", train=map(review, range(3)))
    with pytest.raises(DataError, match="3 training rows are left, at least 4 are needed"):
        load_splits(MR, data_dir=data)
    four = load_splits(MR, data_dir=write(tmp_path / "four" / "mr", train=map(review, range(4))))
    assert [len(part) for part in parts(four)] == [1, 1, 1, 1]


def test_offline_means_the_bundled_sample_and_the_reason_is_kept() -> None:
    splits = load_splits(AGNEWS)
    assert splits.origin.kind == "bundled"
    assert "HF_HUB_OFFLINE is set" in splits.origin.note
    # 48 rows: 12 test, 5 of the 36 left are validation, a third of the 31 left is labelled
    assert [len(part) for part in parts(splits)] == [10, 21, 5, 12]


def test_nowhere_means_an_error_that_says_what_was_tried() -> None:
    with pytest.raises(DataError, match=r"no rows for task mr \(hub: .*HF_HUB_OFFLINE is set\).*--data DIR"):
        load_splits(MR, source="hub")
    with pytest.raises(DataError, match=r"\(local: no --data and no REWARDLAB_DATA\)"):
        load_splits(MR, source="local")


def test_an_endpoint_that_refuses_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting to the end would say that it did not answer."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "PROBE_TIMEOUT_S", 600.0)
    assert "http://127.0.0.1:9 cannot be reached" in hub.offline_reason()


def test_an_endpoint_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(hub, "PROBE_TIMEOUT_S", 0.05)
    is_over = threading.Event()
    monkeypatch.setattr(hub, "_probe", lambda endpoint: str(is_over.wait()))
    assert "did not answer within 0.05 s" in hub.offline_reason()
    is_over.set()


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A ``datasets`` whose ``load_dataset`` answers from a dictionary."""
    answers: dict[str, Any] = {}

    def load_dataset(path: str, config: str | None, split: str) -> Any:
        found = answers[f"{path}/{config}/{split}"]
        if isinstance(found, Exception):
            raise found
        return found

    module = types.SimpleNamespace(load_dataset=load_dataset, config=types.SimpleNamespace(HF_HUB_OFFLINE=False))
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(hub, "offline_reason", lambda: "")
    return answers


def test_hub_rows_get_our_fields_and_labels(fake_hub: dict[str, Any]) -> None:
    rows = [{"sentence": f"s{n}", "label": n % 2, "idx": n} for n in range(40)]
    fake_hub["nyu-mll/glue/cola/train"] = rows[:30]
    fake_hub["nyu-mll/glue/cola/validation"] = rows[30:]
    splits = load_splits(COLA, source="hub")
    assert (splits.origin.kind, splits.origin.location) == ("hub", "nyu-mll/glue")
    # label 0 is unacceptable on the hub, and even numbers have label 0
    found = {example.fields["text"]: example.label for example in splits.tests["cola"]}
    assert found["s30"] == "unacceptable"
    assert found["s31"] == "acceptable"
    assert len(found) == 10


def test_a_table_of_hub_labels_comes_before_labels_that_look_the_same(fake_hub: dict[str, Any]) -> None:
    source = HubSource("stars", None, splits={"train": "train"}, labels={"0": "1", "1": "2"})
    prompts = dict.fromkeys(("label", "rationale", "judgement"), "{text}")
    task = Task("hub-stars", ("text",), prompts, labels=("1", "2"), hub=source)
    fake_hub["stars/None/train"] = [{"text": f"s{n}", "label": n % 2} for n in range(20)]
    splits = load_splits(task, source="hub")
    rows = [*splits.labelled, *splits.prompts]
    assert all(row.label == str(int(row.fields["text"][1:]) % 2 + 1) for row in rows)
    assert {row.label for row in rows} == {"1", "2"}


def test_a_hub_error_is_one_reason_and_the_bundled_sample_serves(fake_hub: dict[str, Any]) -> None:
    fake_hub["nyu-mll/glue/cola/train"] = RuntimeError("gateway\nand a long page")
    origin = load_splits(COLA).origin
    assert origin.kind == "bundled"
    assert origin.note.endswith("hub: nyu-mll/glue/cola[train]: RuntimeError: gateway")


def test_a_hub_row_that_does_not_fit_is_an_error(fake_hub: dict[str, Any]) -> None:
    fake_hub["nyu-mll/glue/cola/train"] = [{"sentence": "s", "label": -1}]
    with pytest.raises(DataError, match=r"nyu-mll/glue/cola\[train\] row 0: label -1 is not one of"):
        load_splits(COLA)


def test_generated_tasks_make_their_rows() -> None:
    task = tasks.get("sandbox-sentiment")
    splits = load_splits(task, labelled=30, prompts=20, validation=10, test=12, seed=5, format="judgement")
    assert [len(part) for part in parts(splits)] == [30, 20, 10, 12]
    assert splits.origin.kind == "generated"
    assert {example.format for part in parts(splits) for example in part} == {"judgement"}
    assert_disjoint(splits)


def test_the_steps_grow_no_faster_than_the_rows(tmp_path: Path) -> None:
    def taken(count: int) -> int:
        data = write(tmp_path / str(count) / "mr", train=[review(n) for n in range(count)])
        return steps(lambda: load_splits(MR, data_dir=data))

    taken(10)  # imports
    once, twice = taken(1_000), taken(2_000)
    assert once < twice < 2.05 * once
