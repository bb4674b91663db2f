"""Reviewing annotations: sampling, verdicts on disk, agreement with the filter, and the way through other tools."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from rewardlab.annotate.review import (
    PairAgreement,
    Review,
    ReviewerAgreement,
    ReviewItem,
    agreement,
    between_reviewers,
    changed,
    every_review,
    read_reviews,
    review_items,
    sample_items,
    store_review,
)
from rewardlab.annotate.review_formats import Tool, export_reviews, import_reviews
from rewardlab.cli.main import run
from rewardlab.errors import DataError, InputError, RunFolderError

TOOLS: tuple[Tool, ...] = ("argilla", "label-studio")
every_tool = pytest.mark.parametrize("tool", TOOLS)


def row(number: int, **values: Any) -> dict[str, Any]:
    """A line of rationales.jsonl."""
    basis = {"task": "mr", "id": str(number), "label": "positive", "rationale": f"It is warm {number}.", "good": 0.9}
    return {**basis, "dropped": "", "outcome": "answered", **values}


DROPPED = row(1, rationale="", dropped="I cannot argue for that.", outcome="refused", good=0.02)
FAILED = row(2, rationale="", outcome="failed", good=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An annotate run of six rows, five with a text."""
    rows = [row(0), DROPPED, FAILED, row(3, label=2.5, task="stsb"), row(4), row(5)]
    path = tmp_path / "run"
    path.mkdir()
    (path / "rationales.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return path


@pytest.fixture
def items(folder: Path) -> list[ReviewItem]:
    return review_items(folder, lambda: {("mr", "0"): "a warm film What sentiment?"})


def test_items_are_all_that_has_a_text(items: list[ReviewItem]) -> None:
    assert [(item.id, item.kept) for item in items] == [
        ("0", True),
        ("1", False),
        ("3", True),
        ("4", True),
        ("5", True),
    ]
    assert (items[0].prompt, items[1].prompt) == ("a warm film What sentiment?", "")
    assert (items[1].text, items[1].good) == ("I cannot argue for that.", 0.02)
    assert len({item.key for item in items}) == 5


def test_a_folder_without_rationales_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no rationales\.jsonl"):
        review_items(tmp_path, dict)


def test_a_run_without_a_text_has_nothing_to_review(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rationales.jsonl").write_text(json.dumps(FAILED) + "\n", encoding="utf-8")
    assert run(["annotate", "review", str(folder)]) == 2
    err = capsys.readouterr().err
    assert "nothing to review, none of 1 annotations has a text" in err
    assert "cannot be shown" not in err  # it is not even looked for


def test_a_sample_is_drawn_by_seed_and_leaves_out_what_was_reviewed(items: list[ReviewItem]) -> None:
    drawn = sample_items(items, 3, seed=1)
    assert len(drawn) == 3
    assert drawn == sample_items(items, 3, seed=1)
    assert any(drawn != sample_items(items, 3, seed=seed) for seed in range(2, 8))
    assert sample_items(items, 3, seed=1, known=[drawn[0].key]) == drawn[1:]
    assert sample_items(items, 99, seed=0) == items


def test_the_latest_verdict_counts(items: list[ReviewItem], tmp_path: Path) -> None:
    assert read_reviews(tmp_path) == {}
    store_review(tmp_path, items[0], Review(items[0].key, "accept", reviewer="x"))
    better = Review(items[0].key, "edit", "It is warm, hence positive.", "y")
    store_review(tmp_path, items[0], better)
    assert read_reviews(tmp_path) == {items[0].key: better}
    assert len((tmp_path / "reviews.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_torn_line_costs_itself_alone(
    items: list[ReviewItem], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed in the middle of a line: the next verdict begins a line of its own, and both others are read."""
    first, second = (Review(item.key, "accept") for item in items[:2])
    store_review(tmp_path, items[0], first)
    with (tmp_path / "reviews.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"key": "k", "decis')
    assert read_reviews(tmp_path) == {first.key: first}
    assert "reviews.jsonl line 2: no verdict" in caplog.text
    store_review(tmp_path, items[1], second)
    assert read_reviews(tmp_path) == {first.key: first, second.key: second}


def test_rows_that_are_no_verdicts_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ['{"key": "a", "decision": "accept"}', '{"key": "b"}', "[1]", '{"key": "c", "decision": "maybe"}']
    odd = ['{"key": ["d"], "decision": "accept"}', '{"key": "e", "decision": "edit", "edited": 5}']
    (tmp_path / "reviews.jsonl").write_text("\n".join([*rows, *odd, ""]), encoding="utf-8")
    assert read_reviews(tmp_path) == {"a": Review("a", "accept")}
    assert [f"line {number}:" in caplog.text for number in range(1, 7)] == [False, True, True, True, True, True]


@pytest.mark.parametrize(("decision", "edited"), [("edit", ""), ("accept", "new words"), ("maybe", "")])
def test_impossible_verdicts_are_refused(decision: Any, edited: str) -> None:
    with pytest.raises(DataError, match="review of k"):
        Review("k", decision, edited)


def test_agreement_by_hand(items: list[ReviewItem]) -> None:
    decisions = ["accept", "reject", "reject", "edit"]  # item 1 was dropped; item 5 is not reviewed
    reviews = {i.key: Review(i.key, d, "x" if d == "edit" else "") for i, d in zip(items, decisions, strict=False)}  # type: ignore[arg-type]  # plain strings
    assert agreement(items, reviews) == {
        "reviewed": 4,
        "agree": 3 / 4,  # accept, edit, and the dropped one that was rejected
        "kept_accepted": 2,
        "kept_rejected": 1,
        "dropped_accepted": 0,
        "dropped_rejected": 1,
        "precision": 1.0,
        "recall": 1 / 2,
    }
    nothing = agreement(items, {})
    assert (nothing["reviewed"], nothing["agree"], nothing["recall"]) == (0, None, None)


@every_tool
def test_verdicts_survive_the_way_out_and_back(tool: Tool, items: list[ReviewItem], tmp_path: Path) -> None:
    given = {
        items[0].key: Review(items[0].key, "accept", reviewer="ä"),
        items[1].key: Review(items[1].key, "reject", reviewer="b"),
        items[2].key: Review(items[2].key, "edit", 'Say "2.5" — better.', "b"),
    }
    path = tmp_path / "out.json"
    export_reviews(path, tool, items, given.values())
    assert {review.key: review for review in import_reviews(path, tool, items)} == given


def test_argillas_records_are_what_its_own_loader_takes(items: list[ReviewItem], tmp_path: Path) -> None:
    export_reviews(tmp_path / "out.json", "argilla", items[:2], [])
    kept, dropped = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert set(kept) == {"id", "fields", "metadata", "suggestions", "responses", "vectors"}
    assert kept["fields"] == {
        "prompt": "a warm film What sentiment?",
        "asked": "positive",
        "text": "It is warm 0.",
    }
    assert kept["suggestions"]["verdict"] == {"value": "accept", "score": 0.9, "agent": "rewardlab filter"}
    assert dropped["suggestions"]["verdict"] == {"value": "reject", "score": 0.98, "agent": "rewardlab filter"}
    dropped["responses"] = {
        "verdict": [{"value": "reject", "user_id": "u1"}],
        "edited": [{"value": "x", "user_id": "u2"}],
    }
    kept["responses"] = {}
    (tmp_path / "back.json").write_text(json.dumps([kept, {**dropped, "_server_id": "s"}]), encoding="utf-8")
    assert import_reviews(tmp_path / "back.json", "argilla", items) == [Review(items[1].key, "reject", reviewer="u1")]


def test_label_studios_own_additions_are_read(items: list[ReviewItem], tmp_path: Path) -> None:
    export_reviews(tmp_path / "out.json", "label-studio", items[:3], [])
    tasks = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert tasks[1]["predictions"][0]["result"][0]["value"] == {"choices": ["reject"]}
    assert '<Choices name="verdict" toName="text"' in (tmp_path / "out.xml").read_text(encoding="utf-8")
    choice = {"from_name": "verdict", "to_name": "text", "type": "choices", "id": "q", "value": {"choices": ["edit"]}}
    words = {"from_name": "edited", "to_name": "text", "type": "textarea", "value": {"text": ["Better."]}}
    tasks[0] |= {
        "id": 7,
        "annotations": [{"id": 1, "result": [words, choice], "was_cancelled": False, "completed_by": 3}],
    }
    tasks[1]["annotations"] = [{"result": [choice], "was_cancelled": True}]
    (tmp_path / "back.json").write_text(json.dumps(tasks), encoding="utf-8")
    assert import_reviews(tmp_path / "back.json", "label-studio", items) == [
        Review(items[0].key, "edit", "Better.", "3")
    ]


@every_tool
def test_bad_files_are_named(tool: Tool, items: list[ReviewItem], tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    with pytest.raises(InputError, match="cannot be read"):
        import_reviews(path, tool, items)
    for text, match in (
        ("{", "not JSON"),
        ("{}", "found dict"),
        ('[{"id": 1}]', "record 1: not as"),
        ("[3]", "record 1"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=match):
            import_reviews(path, tool, items)
    export_reviews(path, tool, items[:1], [Review(items[0].key, "accept")])
    with pytest.raises(DataError, match="of another run"):
        import_reviews(path, tool, items[1:])


def test_in_the_terminal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nx\nr\ne\nIt says 2.5 because it does.\nq\n"))
    assert run(["annotate", "review", "run", "--reviewer", "me"]) == 0
    shown = capsys.readouterr().out
    assert "I cannot argue for that." in shown
    assert "the filter dropped it, good with probability 0.02" in shown
    assert "agree on 100.0%: kept and accepted 2, kept and rejected 0" in shown
    stored = read_reviews(Path("annotations"))
    assert [review.decision for review in stored.values()] == ["accept", "reject", "edit"]
    assert {review.reviewer for review in stored.values()} == {"me"}
    monkeypatch.setattr("sys.stdin", io.StringIO("a\na\n"))  # goes on with the two that are left
    assert run(["annotate", "review", "run"]) == 0
    assert len(read_reviews(Path("annotations"))) == 5


@every_tool
@pytest.mark.parametrize("place", ["a-folder", "a-file/out.json"])
def test_a_file_that_cannot_be_written_is_named(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tool: Tool,
    place: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-folder").mkdir()
    Path("a-file").write_text("", encoding="utf-8")
    assert run(["annotate", "review", "run", "--export", place, "--tool", tool]) == 2
    assert f"error: {place}: cannot be written" in capsys.readouterr().err.splitlines()[-1]


def test_through_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["annotate", "review", "run", "--export", "out.json", "--sample", "2", "--tool", "label-studio"]) == 0
    tasks = json.loads(Path("out.json").read_text(encoding="utf-8"))
    for task in tasks:
        choice = {"from_name": "verdict", "to_name": "text", "type": "choices", "value": {"choices": ["accept"]}}
        task["annotations"] = [{"result": [choice], "completed_by": {"email": "a@b"}}]
    Path("out.json").write_text(json.dumps(tasks), encoding="utf-8")
    assert run(["annotate", "review", "run", "--read", "out.json", "--tool", "label-studio", "--into", "mine"]) == 0
    assert "2 on this run" in capsys.readouterr().out
    assert {review.reviewer for review in read_reviews(Path("mine")).values()} == {"a@b"}
    before = Path("mine/reviews.jsonl").read_bytes()
    assert run(["annotate", "review", "run", "--read", "out.json", "--tool", "label-studio", "--into", "mine"]) == 0
    assert Path("mine/reviews.jsonl").read_bytes() == before  # nothing is new
    assert run(["annotate", "review", "run", "--read", "x", "--export", "y"]) == 2
    assert run(["annotate", "review", "--runs", "none"]) == 2


def test_the_latest_run_and_its_prompts_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = [
        "--set",
        "data.labelled=4",
        "--set",
        "data.validation=2",
        "--set",
        "data.prompts=2",
        "--set",
        "data.test=2",
    ]
    assert run(["annotate", "--task", "sandbox-sentiment", *sizes]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nq\n"))
    assert run(["annotate", "review"]) == 0
    assert "Is it negative or positive? Explain." in capsys.readouterr().out


def _of_two(tool: Tool, item: ReviewItem, verdicts: list[tuple[str, str]], path: Path) -> None:
    """A file in which several people judged one item."""
    export_reviews(path, tool, [item], [])
    [record] = json.loads(path.read_text(encoding="utf-8"))
    if tool == "argilla":
        record["responses"] = {"verdict": [{"value": said, "user_id": by} for by, said in verdicts]}
    else:
        choice = {"from_name": "verdict", "to_name": "text", "type": "choices"}
        record["annotations"] = [
            {"completed_by": {"email": by}, "result": [{**choice, "value": {"choices": [said]}}]}
            for by, said in verdicts
        ]
    path.write_text(json.dumps([record]), encoding="utf-8")


@every_tool
def test_everybody_s_verdict_on_an_item_is_kept(tool: Tool, items: list[ReviewItem], tmp_path: Path) -> None:
    _of_two(tool, items[0], [("x", "accept"), ("y", "reject"), ("x", "reject")], tmp_path / "in.json")
    found = import_reviews(tmp_path / "in.json", tool, items)
    key = items[0].key
    assert found == [Review(key, "reject", reviewer="x"), Review(key, "reject", reviewer="y")]
    assert changed(found, []) == found
    for review in found:
        store_review(tmp_path, items[0], review)
    assert every_review(tmp_path) == found
    assert changed(found, every_review(tmp_path)) == []


def test_agreement_between_reviewers_by_hand() -> None:
    given = [
        Review("a", "accept", reviewer="x"),
        Review("a", "edit", "better", "y"),  # one opinion: it may stand
        Review("b", "accept", reviewer="x"),
        Review("b", "reject", reviewer="y"),
        Review("c", "accept", reviewer="x"),
        Review("d", "reject", reviewer="x"),
        Review("d", "reject", reviewer="y"),
        Review("d", "accept", reviewer="x"),  # x thinks again
    ]
    # a: yes yes, b: yes no, d: yes no; they agree on 1 of 3. Chance: x says yes always, y in 1 of 3, so 1/3 too
    assert between_reviewers(given) == ReviewerAgreement(3, 1 / 3, 0.0, (PairAgreement(("x", "y"), 3, 1 / 3, 0.0),))
    assert between_reviewers(given[4:5]) == ReviewerAgreement(0, None, None, ())
    assert between_reviewers(given[:2]).pairs == (PairAgreement(("x", "y"), 1, 1.0, None),)


def test_kappa_of_three_reviewers_by_hand() -> None:
    """Opinions on four items: x 1100, y 1100, z 1010 on three pairs; z left the last one out."""
    opinions = {"x": "1100", "y": "1100", "z": "101"}
    given = [
        Review(str(item), "accept" if said == "1" else "reject", reviewer=name)
        for name, row in opinions.items()
        for item, said in enumerate(row)
    ]
    found = between_reviewers(given)
    # with z: agreement 1/3, chance 2/3 * 2/3 + 1/3 * 1/3 = 5/9, kappa (1/3 - 5/9) / (4/9) = -1/2
    assert [(pair.reviewers, pair.items, pair.kappa) for pair in found.pairs] == [
        (("x", "y"), 4, pytest.approx(1.0)),
        (("x", "z"), 3, pytest.approx(-0.5)),
        (("y", "z"), 3, pytest.approx(-0.5)),
    ]
    assert found.kappa == pytest.approx((4 * 1.0 - 3 * 0.5 - 3 * 0.5) / 10)
    assert (found.items, found.agree) == (4, 2 / 4)  # items 0 and 3


def test_a_second_person_is_asked_again_and_agreement_is_printed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, keys in (("me", "a\na\nr\nq\n"), ("you", "a\nr\nr\nq\n")):
        monkeypatch.setattr("sys.stdin", io.StringIO(keys))
        assert run(["annotate", "review", "run", "--reviewer", name]) == 0
    # yes yes no against yes no no: 2/3; chance 2/3 * 1/3 + 1/3 * 2/3 = 4/9; kappa (6/9 - 4/9) / (5/9) = 0.4
    assert "reviewers agree on 66.7% of the 3 items that several have judged, kappa 0.40" in capsys.readouterr().out
    assert len(every_review(Path("annotations"))) == 6


@every_tool
def test_everybody_s_verdict_goes_out_and_comes_back(tool: Tool, items: list[ReviewItem], tmp_path: Path) -> None:
    given = [
        Review(items[0].key, "accept", reviewer="x"),
        Review(items[0].key, "edit", "better", "y"),
        Review(items[1].key, "reject", reviewer="x"),
    ]
    export_reviews(tmp_path / "out.json", tool, items[:2], given)
    assert import_reviews(tmp_path / "out.json", tool, items) == given


def test_a_verdict_added_in_label_studio_leaves_the_one_that_was_there_to_who_gave_it(
    items: list[ReviewItem], tmp_path: Path
) -> None:
    path = tmp_path / "out.json"
    export_reviews(path, "label-studio", items[:1], [Review(items[0].key, "accept", reviewer="x")])
    [record] = json.loads(path.read_text(encoding="utf-8"))
    choice = {"from_name": "verdict", "to_name": "text", "type": "choices", "value": {"choices": ["reject"]}}
    record["annotations"][0]["completed_by"] = {"email": "who-loaded-it"}
    record["annotations"].append({"completed_by": {"email": "y"}, "result": [{"id": "new", **choice}]})
    path.write_text(json.dumps([record]), encoding="utf-8")
    assert import_reviews(path, "label-studio", items) == [
        Review(items[0].key, "accept", reviewer="x"),
        Review(items[0].key, "reject", reviewer="y"),
    ]


@every_tool
def test_records_of_another_run_and_odd_keys_cost_themselves_alone(
    tool: Tool, items: list[ReviewItem], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "in.json"
    given = {item.key: Review(item.key, "accept") for item in items[:3]}
    export_reviews(path, tool, items[:3], given.values())
    records = json.loads(path.read_text(encoding="utf-8"))
    (records[1] if tool == "argilla" else records[1]["data"])["id" if tool == "argilla" else "key"] = ["odd"]
    path.write_text(json.dumps(records), encoding="utf-8")
    assert [review.key for review in import_reviews(path, tool, [items[0], items[1]])] == [items[0].key]
    assert "in.json record 2: not as" in caplog.text
    assert f"in.json record 3: '{items[2].key}' is of another run" in caplog.text


@every_tool
def test_a_bad_verdict_costs_itself_alone(
    tool: Tool, items: list[ReviewItem], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _of_two(tool, items[0], [("x", "edit"), ("y", "reject")], tmp_path / "in.json")  # an edit without a text
    found = import_reviews(tmp_path / "in.json", tool, items)
    assert found == [Review(items[0].key, "reject", reviewer="y")]
    assert f"in.json record 1: review of {items[0].key}: an edit" in caplog.text


def test_a_line_of_the_review_file_costs_itself_alone(
    items: list[ReviewItem], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, last = Review(items[0].key, "accept", reviewer="x"), Review(items[1].key, "reject", reviewer="x")
    store_review(tmp_path, items[0], first)
    with (tmp_path / "reviews.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n" + b"[" * 100_000 + b"\n" + b'{"key": "k", "decision": "perhaps"}\n')
    store_review(tmp_path, items[1], last)
    assert every_review(tmp_path) == [first, last]
    assert all(f"reviews.jsonl line {number}: no verdict" in caplog.text for number in (2, 3, 4))


@every_tool
def test_a_bad_record_costs_itself_alone(
    tool: Tool, items: list[ReviewItem], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "in.json"
    given = {item.key: Review(item.key, "accept") for item in items[:3]}
    export_reviews(path, tool, items[:3], given.values())
    records = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps(records[1]).replace('"accept"', '"edit"')  # an edit without a text
    path.write_text(json.dumps([records[0], json.loads(text), 3, records[2]]), encoding="utf-8")
    assert [review.key for review in import_reviews(path, tool, items)] == [items[0].key, items[2].key]
    assert "in.json record 2: review of" in caplog.text
    assert "in.json record 3: not as" in caplog.text


def studio_record(item: ReviewItem, choices: Any, text: Any = None) -> dict[str, Any]:
    """A record with one annotation, its values in a form that Label Studio writes."""
    results = [{"from_name": "verdict", "type": "choices", "value": {"choices": choices}}]
    if text is not None:
        results.append({"from_name": "edited", "type": "textarea", "value": {"text": text}})
    return {"annotations": [{"completed_by": 1, "result": results}], "data": {"key": item.key}}


@pytest.mark.parametrize(
    ("choices", "text", "decision", "edited"),
    [
        (["edit"], "Warm praise.", "edit", "Warm praise."),
        (["edit"], ["Warm praise.", "And funny."], "edit", "Warm praise.\nAnd funny."),
        ("accept", None, "accept", ""),
    ],
)
def test_a_text_and_a_list_of_texts_are_read_alike(
    choices: Any, text: Any, decision: str, edited: str, items: list[ReviewItem], tmp_path: Path
) -> None:
    path = tmp_path / "in.json"
    path.write_text(json.dumps([studio_record(items[0], choices, text)]))
    (found,) = import_reviews(path, "label-studio", items)
    assert (found.decision, found.edited) == (decision, edited)


@pytest.mark.parametrize("choices", [["accept", "reject"], [], 3])
def test_none_of_several_verdicts_of_one_person_is_chosen(
    choices: Any, items: list[ReviewItem], tmp_path: Path
) -> None:
    path = tmp_path / "in.json"
    path.write_text(json.dumps([studio_record(items[0], choices)]))
    with pytest.raises(DataError, match=r"record 1: found the verdict .* expected one of accept, reject, edit"):
        import_reviews(path, "label-studio", items)


def test_drafts_and_discarded_responses_are_no_verdicts(items: list[ReviewItem], tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    given = [
        {"value": "reject", "user_id": "u1", "status": "discarded"},
        {"value": "reject", "user_id": "u2", "status": "draft"},
        {"value": "accept", "user_id": "u3", "status": "submitted"},
    ]
    rows = [{"id": items[0].key, "responses": {"verdict": given}}, {"id": items[1].key, "responses": None}]
    path.write_text(json.dumps(rows))
    assert [(found.decision, found.reviewer) for found in import_reviews(path, "argilla", items)] == [("accept", "u3")]


def test_the_other_exports_of_label_studio_are_told_apart(items: list[ReviewItem], tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text(json.dumps([{"id": 1, "key": items[0].key, "verdict": "accept"}]))
    with pytest.raises(DataError, match=r"it has no 'annotations'; export it as JSON \(neither JSON-MIN nor CSV\)"):
        import_reviews(path, "label-studio", items)
