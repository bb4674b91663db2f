"""Rows in the formats in which people have them, and the notes on rows, files and labels that were not taken as is."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from rewardlab.cli.main import run
from rewardlab.errors import DataError
from rewardlab.tasks.sources import Splits, load_splits
from rewardlab.tasks.task import tasks
from rewardlab.tasks.user import load_task

ROWS = [{"text": f"ticket {number}, über Café", "label": ("bug", "praise")[number % 2]} for number in range(12)]
TASK = 'name = "row-files"\nfields = ["text"]\ntemplate = "T: {text}"\n'
LABELS = 'labels = ["bug", "praise"]\n'


def table(delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["text", "label"], delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue()


def lines(rows: list[Any] = ROWS) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function of (file name -> content, more of the task file) that gives the splits."""
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)

    def load(files: dict[str, str | bytes], task: str = LABELS, fields: str = '["text"]') -> Splits:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            (tmp_path / name).write_bytes(content)
        (tmp_path / "mine.toml").write_text(TASK.replace('["text"]', fields) + task, encoding="utf-8")
        return load_splits(load_task(tmp_path / "mine.toml"), source="local")

    yield load
    tasks._entries.pop("row-files", None)


def counted(splits: Splits) -> Counter[tuple[str, Any]]:
    parts = [splits.labelled, splits.prompts, splits.validation, *splits.tests.values()]
    return Counter((example.fields["text"], example.label) for part in parts for example in part)


EXPECTED = Counter((row["text"], row["label"]) for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", lines()),
        ("train.jsonl", b"\xef\xbb\xbf" + lines().encode()),
        ("train.ndjson", lines()),
        ("train.json", json.dumps(ROWS, indent=1)),
        ("train.json", json.dumps({"version": 1, "data": ROWS})),
        ("train.json", lines()),
        ("train.csv", table()),
        ("train.csv", table(";")),
        ("train.csv", b"\xef\xbb\xbf" + table().encode()),
        ("train.tsv", table("\t")),
        ("train.tsv", table("\t").encode("utf-16")),
        ("tickets.csv", table()),
        ("train.jsonl", json.dumps(ROWS)),
        ("train.jsonl", "\n" + json.dumps(ROWS, indent=1)),
        ("train.csv", "sep=;\r\n" + table(";")),
        ("train.csv", table().replace("\r\n", ",,\r\n") + ",,,\r\n\r\n"),
        ("train.csv", table().encode("utf-32")),
        ("train.csv", "".join(f"{n},{line}\r\n" for n, line in enumerate(table().splitlines())).replace("0,", ",", 1)),
        ("train.csv", "text, label\n" + "".join(f'"{row["text"]}", "{row["label"]}"\n' for row in ROWS)),
    ],
)
def test_every_text_format_gives_the_same_rows(load: Any, name: str, content: str | bytes) -> None:
    assert counted(load({name: content})) == EXPECTED


def test_a_quote_in_a_tsv_file_opens_no_cell_where_the_file_has_no_quoting(load: Any) -> None:
    texts = ['"Who', "plain", 'he asked"', '"""', 'a "b" c', "last"]
    rows = [{"text": text, "label": "bug"} for text in texts]
    raw = "text\tlabel\n" + "".join(f"{text}\tbug\n" for text in texts)
    assert counted(load({"train.tsv": raw})) == Counter((row["text"], row["label"]) for row in rows)


def test_a_quote_in_a_tsv_file_with_quoting_opens_a_cell(load: Any) -> None:
    quoted = "text\tlabel\n" + "".join(f'"say ""{n}""\nnow"\tbug\n' for n in range(6))
    assert counted(load({"train.tsv": quoted})) == Counter((f'say "{n}"\nnow', "bug") for n in range(6))


@pytest.mark.parametrize("columns", ["text,label", "label,text", "id,text,label", "text,label,more"])
def test_a_quote_that_is_never_closed_does_not_swallow_rows(load: Any, columns: str) -> None:
    cells = {"text": "thing {n}", "label": "bug", "id": "{n}", "more": "x"}
    lines = [",".join(cells[name] for name in columns.split(",")).format(n=n) for n in range(12)]
    lines[3] = lines[3].replace("thing 3", '"thing 3')
    lines[5] = lines[5].replace("thing 5", 'thing 5"')
    with pytest.raises(DataError, match="up to line 7: a cell holds lines that are rows of their own; close its quote"):
        load({"train.csv": "\n".join([columns, *lines, ""])})


def test_a_text_of_several_lines_with_commas_is_no_row(load: Any) -> None:
    letters = [f"Dear all, {n}\nyours, bug\nps, so" for n in range(6)]
    quoted = "text,label\n" + "".join(f'"{letter}",bug\n' for letter in letters)
    assert counted(load({"train.csv": quoted})) == Counter((letter, "bug") for letter in letters)


def as_dataset() -> datasets.Dataset:
    """The rows with labels as numbers whose names the features hold, as data sets on the hub have them."""
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bug", "praise"])}
    values = {"text": [row["text"] for row in ROWS], "label": [("bug", "praise").index(row["label"]) for row in ROWS]}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def test_parquet_is_read_with_the_names_of_its_class_labels(load: Any, tmp_path: Path) -> None:
    for shard in range(2):
        half = as_dataset().select(range(6 * shard, 6 * shard + 6))
        half.to_parquet(tmp_path / f"train-0000{shard}-of-00002.parquet")
    assert counted(load({})) == EXPECTED


def test_a_saved_dataset_is_the_data_of_a_task(load: Any, tmp_path: Path) -> None:
    as_dataset().save_to_disk(tmp_path / "saved")
    assert counted(load({}, LABELS + 'data = "saved"\n')) == EXPECTED


def test_a_local_folder_stands_in_for_a_data_set_of_the_hub(load: Any, tmp_path: Path) -> None:
    rows = as_dataset()
    saved = datasets.DatasetDict(train=rows.select(range(8)), dev=rows.select(range(8, 10)), test=rows.select([10, 11]))
    saved.save_to_disk(tmp_path / "saved")
    (tmp_path / "mine.toml").write_text(TASK + LABELS + '[hub]\npath = "saved"\n', encoding="utf-8")
    splits = load_splits(load_task(tmp_path / "mine.toml"), source="hub")
    assert counted(splits) == EXPECTED
    assert [len(splits.validation), len(splits.tests["row-files"])] == [2, 2]
    tasks._entries.pop("row-files")


@pytest.mark.parametrize("name", ["dev", "val", "valid", "validation", "Dev"])
def test_the_validation_file_goes_by_many_names(load: Any, name: str) -> None:
    files = {"train.jsonl": lines(ROWS[:8]), f"{name}.jsonl": lines(ROWS[8:10]), "test.jsonl": lines(ROWS[10:])}
    assert {example.fields["text"] for example in load(files).validation} == {row["text"] for row in ROWS[8:10]}


def test_two_saved_splits_of_one_name_are_refused_and_others_are_told(load: Any, tmp_path: Path) -> None:
    rows = as_dataset()
    halves = {"train": rows.select(range(8)), "test": rows.select(range(8, 12))}
    datasets.DatasetDict(**halves, extra=rows).save_to_disk(tmp_path / "saved")
    splits = load({}, LABELS + 'data = "saved"\n')
    assert splits.origin.files == {"train": 8, "test": 4}
    assert splits.origin.notes[0] == "files that are no split are not read: extra"
    datasets.DatasetDict(**halves, eval=rows).save_to_disk(tmp_path / "twice")
    with pytest.raises(DataError, match="eval, test are all rows of the split test; keep one of them"):
        load({}, LABELS + 'data = "twice"\n')


def test_files_that_may_hold_a_split_and_shards_that_lack_are_told(load: Any, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    others = dict.fromkeys(["test.xlsx", "val.csv.gz", "train.log", "notes.txt"], "")
    splits = load({"train-00000-of-00003.jsonl": lines(), **others})
    assert splits.origin.notes[:2] == [
        "files that are no split are not read: dev, test.xlsx, val.csv.gz",
        "train: 1 of 3 shards are there",
    ]


def test_shards_whose_ids_meet_are_refused(load: Any) -> None:
    shards = {f"train-0000{shard}-of-00002.jsonl": lines([{"id": 7, **ROWS[shard]}]) for shard in range(2)}
    with pytest.raises(DataError, match=r"id '7' occurs twice in train-00000-of-00002\.jsonl, train-00001-of-00002"):
        load(shards)


@pytest.mark.parametrize("empty", [None, "", float("nan")])
def test_an_empty_id_is_none(load: Any, empty: object) -> None:
    assert counted(load({"train.jsonl": lines([{"id": empty, **row} for row in ROWS])})) == EXPECTED


def test_two_files_of_one_split_are_refused_by_name(load: Any) -> None:
    with pytest.raises(DataError, match=r"dev\.jsonl, val\.csv are all rows of the split validation; keep one"):
        load({"train.jsonl": lines(), "dev.jsonl": lines(), "val.csv": table()})


@pytest.mark.parametrize(
    ("label", "task", "expected"),
    [
        (0, '[labels]\n0 = "bug"\n1 = "praise"\n', "bug"),
        (1.0, '[labels]\n0 = "bug"\n1 = "praise"\n', "praise"),
        ("LABEL_1", '[labels]\nLABEL_0 = "bug"\nLABEL_1 = "praise"\n', "praise"),
        (" Bug ", LABELS, "bug"),
        (True, 'labels = ["true", "false"]\n', "true"),
        ("cafe\u0301", 'labels = ["caf\u00e9", "bar"]\n', "caf\u00e9"),
        (2, 'labels = ["1", "2"]\n', "2"),
        ("2.0", 'labels = ["1", "2"]\n', "2"),
        (2, 'labels = ["1.0", "2.0"]\n', "2.0"),
        ("1.0", '[labels]\n0 = "bug"\n1 = "praise"\n', "praise"),
        (1, '[labels]\n1 = "0"\n2 = "1"\n', "0"),
        (True, '[labels]\ntrue = "bug"\nfalse = "praise"\n', "bug"),
        ("True", '[labels]\ntrue = "bug"\nfalse = "praise"\n', "bug"),
        (False, "labels = [true, false]\n", "false"),
        ("POSITIVE", '[labels]\nPositive = "bug"\nNegative = "praise"\n', "bug"),
    ],
)
def test_labels_as_other_tools_write_them(load: Any, label: Any, task: str, expected: str) -> None:
    rows = [{"text": f"{number}", "label": label} for number in range(8)]
    assert set(counted(load({"train.jsonl": lines(rows)}, task)).values()) == {1}
    assert {found for _, found in counted(load({"train.jsonl": lines(rows)}, task))} == {expected}


def test_a_table_of_labels_is_no_other_spelling(load: Any) -> None:
    rows = [{"text": f"{number}", "label": number % 2} for number in range(8)]
    splits = load({"train.jsonl": lines(rows)}, '[labels]\n0 = "bug"\n1 = "praise"\n')
    assert not any("spelled" in note for note in splits.origin.notes)


def test_a_conversation_fills_one_text_alone(load: Any) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bug"}]
    with pytest.raises(DataError, match="'messages' holds 2 turns"):
        load({"train.jsonl": lines([{"messages": turns}])}, fields='["text", "title"]')


def test_a_numbered_label_without_a_table_says_what_to_write(load: Any) -> None:
    with pytest.raises(DataError, match=r"line 1: label 3 is not one of bug, praise; .* \[labels\] with 3 = "):
        load({"train.jsonl": lines([{"text": "a", "label": 3}])})


def test_columns_of_other_names_are_named_in_the_task_file(load: Any) -> None:
    rows = [{"body": row["text"], "category": row["label"], "id": None} for row in ROWS]
    splits = load({"train.jsonl": lines(rows)}, LABELS + '[columns]\ntext = "body"\nlabel = "category"\n')
    assert counted(splits) == EXPECTED
    with pytest.raises(DataError, match=r"line 1: no field 'text', 'label', found body, category, id; name columns in"):
        load({"train.jsonl": lines(rows)})


def test_columns_in_another_case_are_read_and_told(load: Any) -> None:
    splits = load({"train.csv": table().replace("text,label", "Text, LABEL ")})
    assert counted(splits) == EXPECTED
    told = "train.csv: columns are read under the task's names: 'Text' as 'text', ' LABEL ' as 'label'"
    assert told in splits.origin.notes
    with pytest.raises(DataError, match="line 2: no field 'text', found TEXT, Text, label"):
        load({"train.csv": "Text,TEXT,label\na,b,bug\n"})


def test_a_conversation_is_the_prompt_and_its_last_turn_the_label(load: Any) -> None:
    def turns(number: int, *before: dict[str, Any]) -> dict[str, Any]:
        answer = {"role": "assistant", "content": ROWS[number]["label"]}
        return {"messages": [*before, {"role": "user", "content": ROWS[number]["text"]}, answer]}

    assert counted(load({"train.jsonl": lines([turns(number) for number in range(12)])})) == EXPECTED
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    texts = [text for text, _ in counted(load({"train.jsonl": lines([turns(n, system) for n in range(12)])}))]
    assert f"Be brief.\n\n{ROWS[0]['text']}" in texts


def test_a_conversation_as_sharegpt_writes_it_is_read_as_well(load: Any) -> None:
    def turns(number: int) -> list[dict[str, str]]:
        row = ROWS[number]
        asked = [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "yes?"}]
        return [*asked, {"from": "human", "value": row["text"]}, {"from": "gpt", "value": row["label"]}]

    splits = load({"train.jsonl": lines([{"conversations": turns(number)} for number in range(12)])})
    texts = [text for text, _ in counted(splits)]
    assert f"User: hello\n\nAssistant: yes?\n\nUser: {ROWS[0]['text']}" in texts


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": "a"}], "'messages' holds 1 turns; expected a prompt and, last, the assistant's"),
        (
            [{"role": "assistant", "content": "bug"}] * 2 + [{"role": "user", "content": "a"}],
            "'messages' holds 3 turns",
        ),
        ([{"role": "user", "content": "a"}, {"from": "gpt"}], "a turn of 'messages': a message of gpt without text"),
    ],
)
def test_a_conversation_without_an_answer_is_refused(load: Any, messages: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load({"train.jsonl": lines([{"messages": messages}])})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", "text,label\na,bug\nb,bug,c\n", "line 3: more cells than the header names"),
        ("train.csv", 'text,label\n"a,bug\n', "not a table (unexpected end of data)"),
        ("train.csv", b"text,label\ncaf\xe9,bug\n", "line 2: the byte 0xe9 is no UTF-8; save the file as UTF-8"),
        ("train.tsv", b"\xff\xfet\x00e", "not in the encoding that its first bytes announce; save the file as UTF-8"),
        ("train.csv", 'text,label\nb,bug\n"a \\"b\\"",bug\n', "line 3: not a table"),
        ("train.csv", "text,label,text\na,bug,b\n", "line 1: two columns are called 'text'; rename or remove one"),
        ("train.jsonl", '{"text": "a"}'.encode("utf-16-le"), "a byte 0 at its beginning, as in UTF-16 without"),
        ("train.jsonl", '{"text": " ", "label": "bug"}', "line 1: 'text' is blank; fill it in or leave the row out"),
        ("train.csv", "text,label\na,\n", "line 2: 'label' has no value; fill it in or leave the row out"),
        ("train.txt", "a bug", "(found mine.toml, train.txt; rows are read from .csv, .json"),
        ("train.json", '{"a": 1, "b": 2}', "found a JSON dict, expected an array of rows"),
        ("train.parquet", "no parquet", "expected a Parquet file"),
        ("train.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "line 1: not valid JSON"),
        ("train.jsonl", '{"text": "cut \\ud83d", "label": "bug"}', r"line 1: '\ud83d' is half of a character"),
        ("train.json", '[{"text": "cut \\ud83d", "label": "bug"}]', "is half of a character"),
        ("train.csv", "text,label\na,bug\n", "(train.csv: 1 rows): task row-files: 1 training rows are left"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(load: Any, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load({name: content})
    assert message in str(caught.value)


def test_everything_that_was_left_out_or_chosen_is_counted(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    more = [
        {"text": "ticket 0, über Café", "label": "bug"},  # a repetition
        {"text": "Ticket 1, über  Café", "label": "bug"},  # the same text, and another label
        {"text": "held out", "label": "bug", "source": "mail"},
        {"text": "held back", "label": "Praise"},
    ]
    files = {
        "train.jsonl": lines(ROWS + more),
        "test.jsonl": lines([{"text": "held out", "label": "bug"}]),
        "dev.jsonl": lines([{"text": text, "label": "praise"} for text in ("held back", "held out", "held  back")]),
        "old.csv": table(),
    }
    with caplog.at_level(logging.WARNING, "rewardlab"):
        splits = load(files)
    assert splits.origin.notes == [
        "files that are no split are not read: old.csv",
        "train.jsonl: 1 labels are spelled otherwise than the task's: 'Praise' as 'praise'",
        "left out 1 rows of train that repeat a text",
        "left out 1 rows of train that repeat a text under another label (the first label is kept)",
        "left out 1 rows of train whose text is in test",
        "left out 1 rows of train whose text is in validation",
        "left out 1 rows of validation whose text is in test",
        "left out 1 rows of validation that repeat a text",
        "columns that the task does not use: source",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"row-files: {note}" for note in splits.origin.notes[:-1]
    ]


def test_tasks_show_prints_files_splits_and_how_they_were_cut(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"train.csv": table(), "dev.jsonl": lines([{"text": "held back", "label": "bug"}]), "notes.json": "[]"}
    where = load(files).origin.location
    assert run(["tasks", "show", f"{where}/mine.toml", "--format", "label"]) == 0
    shown = capsys.readouterr()
    found = shown.out.splitlines()
    at = found.index(f"found     {where}: dev.jsonl (1 rows), train.csv (12 rows)")
    assert found[at + 1 : at + 4] == [
        # 12 of train: the third is labelled; the one row of validation is the test, 1 of 12 is validation
        "rows      3 labelled, 8 prompts, 1 validation, 1 test (row-files)",
        "          files that are no split are not read: notes.json",
        "          no test file: the 1 rows of validation are the test",
    ]
    assert "    T: ticket" in shown.out
    assert shown.err == ""
