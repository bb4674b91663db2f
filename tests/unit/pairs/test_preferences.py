"""Preference data in TRL's formats: read, cleaned, divided, written back; `rewardlab pairs` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rewardlab.cli import main as cli
from rewardlab.disk import read_json, write_json, write_jsonl
from rewardlab.errors import ConfigError, DataError, InputError
from rewardlab.pairs.files import read_folder, read_pairs
from rewardlab.pairs.imported import ImportRequest, read_import
from rewardlab.pairs.preferences import Preference, read_preferences, write_preferences
from rewardlab.pairs.statistics import rationale_sensitive_share
from rewardlab.pairs.summary import sampled_kinds, summarise
from rewardlab.tasks.task import tasks

END = "\n\n The answer is: "


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def read(path: Path, *rows: object) -> list[Preference]:
    write_jsonl(path / "rows.jsonl", rows)  # type: ignore[arg-type]  # rows of any kind, bad ones too
    return read_preferences(path / "rows.jsonl")


class TestReading:
    @pytest.mark.parametrize(
        "row",
        [
            {"prompt": "q", "chosen": "yes", "rejected": "no"},
            {"prompt": [user("q")], "chosen": [bot("yes")], "rejected": [bot("no")]},
            {"chosen": [user("q"), bot("yes")], "rejected": [user("q"), bot("no")]},
            {"prompt": [user("q")], "chosen": [user("q"), bot("yes")], "rejected": [user("q"), bot("no")]},
            {"prompt": [user("q")], "chosen": "yes", "rejected": "no"},
            {"prompt": "q", "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "yes"}]}],
             "rejected": [bot("no")]},
        ],
        ids=["plain", "messages", "implicit prompt", "repeated prompt", "mixed", "parts"],
    )  # fmt: skip
    def test_all_forms_say_the_same(self, tmp_path: Path, row: dict[str, Any]) -> None:
        assert read(tmp_path, row) == [Preference("q", "yes", "no")]

    def test_an_implicit_plain_prompt_is_the_common_beginning(self, tmp_path: Path) -> None:
        found = read(tmp_path, {"chosen": "Is it? Yes", "rejected": "Is it? No"})
        assert found == [Preference("Is it?", " Yes", " No")]

    def test_a_system_message_stands_in_front(self, tmp_path: Path) -> None:
        system = {"role": "system", "content": "Be brief."}
        found = read(tmp_path, {"prompt": [system, user("q")], "chosen": "a", "rejected": "b"})
        assert found[0].prompt == "Be brief.\n\nq"

    def test_longer_conversations_are_written_out(self, tmp_path: Path) -> None:
        turns = [user("one"), bot("two"), user("three")]
        found = read(tmp_path, {"prompt": turns, "chosen": [bot("a")], "rejected": [bot("b")]})
        assert found[0].prompt == "User: one\n\nAssistant: two\n\nUser: three"

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({"prompt": "q", "chosen": "a"}, "rejected missing or empty"),
            ({"prompt": "q", "chosen": "", "rejected": []}, "chosen and rejected missing or empty"),
            ({"prompt": "q", "chosen": "a", "rejected": 3}, "found 3"),
            ({"chosen": 5, "rejected": 3}, "found 5"),
            ({"chosen": "q a", "rejected": {"role": "user"}}, 'found {"role": "user"}'),
            ({"prompt": "q", "chosen": "a", "rejected": " "}, "an empty prompt or response"),
            ({"prompt": [{"content": "x"}], "chosen": "a", "rejected": "b"}, "no message"),
            ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "a message of user without text"),
        ],
    )
    def test_other_rows_are_named_and_counted(self, tmp_path: Path, row: dict[str, Any], said: str) -> None:
        good = {"prompt": "q", "chosen": "a", "rejected": "b"}
        with pytest.raises(
            DataError, match=rf"rows.jsonl row 2: {said}.* \(and 1 more rows\); expected prompt, chosen"
        ):
            read(tmp_path, good, row, good, row)

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_text("no")
        write_json(tmp_path / "x.json", {"prompt": "q"})
        for name, said in (
            ("x.parquet", "a Parquet file"),
            ("x.json", "expected an array of rows"),
            ("x.xlsx", "unknown format"),
        ):
            with pytest.raises(DataError, match=said):
                read_preferences(tmp_path / name)


def import_pairs(request: ImportRequest, folder: Path) -> dict[str, Any]:
    return read_import(request).write(folder)


def preferences(count: int) -> list[dict[str, str]]:
    """Two pairs a prompt, of every second prompt only one."""
    rows = [
        {"prompt": f"question {n}", "chosen": f"r{end} {n}{END}positive", "rejected": f"w{end} {n}{END}negative"}
        for n in range(count)
        for end in ("", "r")
    ]
    return [row for place, row in enumerate(rows) if place % 4 != 3]


class TestImport:
    def request(self, path: Path, **changes: Any) -> ImportRequest:
        write_jsonl(path / "in.jsonl", preferences(20))
        return ImportRequest(**{"source": path / "in.jsonl", "task": tasks.get("mr"), "kind": "label", **changes})

    def test_prompts_are_held_out_whole(self, tmp_path: Path) -> None:
        manifest = import_pairs(self.request(tmp_path, held_out=0.25), tmp_path / "out")
        train, held_out = read_folder(tmp_path / "out")
        known, unseen = {pair.prompt for pair in train}, {pair.prompt for pair in held_out}
        assert (len(known), len(unseen), known & unseen) == (15, 5, set())
        assert len(train) + len(held_out) == 30 == manifest["pairs"] + manifest["held_out_pairs"]
        other = import_pairs(self.request(tmp_path, held_out=0.25, seed=1), tmp_path / "other")
        assert read_pairs(tmp_path / "other" / "held_out.jsonl") != held_out
        assert other["kind"] == "label"

    def test_answers_are_read_by_the_tasks_rules(self, tmp_path: Path) -> None:
        manifest = import_pairs(self.request(tmp_path, held_out=0.0), tmp_path / "out")
        assert manifest["tasks"]["mr"]["kinds"] == {"label_sensitive": 30}
        pair = read_pairs(tmp_path / "out" / "pairs.jsonl")[0]
        assert (pair.chosen_label, pair.rejected_label, pair.gold_label) == ("positive", "negative", None)
        bare = import_pairs(self.request(tmp_path, task=None), tmp_path / "bare")
        assert bare["tasks"]["imported"]["kinds"].keys() == {"malformed"}

    def test_gold_labels_come_along(self, tmp_path: Path) -> None:
        request = self.request(tmp_path, held_out=0.0)
        write_jsonl(request.source, [{**row, "label": "positive"} for row in preferences(2)])
        import_pairs(request, tmp_path / "out")
        assert {pair.gold_label for pair in read_pairs(tmp_path / "out" / "pairs.jsonl")} == {"positive"}
        write_jsonl(request.source, [{**row, "label": "good"} for row in preferences(2)])
        with pytest.raises(DataError, match=r"in.jsonl row 1: label 'good' is not one of .*\(task mr\)"):
            import_pairs(request, tmp_path / "again")

    def test_repeated_pairs_are_dropped_and_counted(self, tmp_path: Path) -> None:
        request = self.request(tmp_path, held_out=0.0)
        rows = preferences(4)
        write_jsonl(request.source, [*rows, *rows, {**rows[0], "prompt": "QUESTION 0!"}])
        manifest = import_pairs(request, tmp_path / "out")
        assert manifest["outcomes"] | {"written": 6, "duplicate": 6, "near_duplicate": 1} == manifest["outcomes"]

    def test_no_pair_is_an_error(self, tmp_path: Path) -> None:
        request = self.request(tmp_path)
        write_jsonl(request.source, [{"prompt": "q", "chosen": "a", "rejected": "A"}])
        with pytest.raises(DataError, match="not one training pair: 1 same_responses"):
            import_pairs(request, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["3", "null", '"prompt"', '{"prompt": "q"}'])
def test_json_that_is_no_list_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(DataError, match=r"rows\.json: found a JSON .*, expected an array of rows"):
        read_preferences(tmp_path / "rows.json")


@pytest.mark.parametrize("bad", [{"prompt": 1, "chosen": "a", "rejected": "b"}, None])
def test_a_file_that_is_refused_claims_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: dict[str, Any] | None
) -> None:
    """A row that is none, or no pair at all: the corrected file goes into the same folder."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", [*preferences(4), bad] if bad else [])
    assert cli.run(["pairs", "import", "in.jsonl", "--out", "mine"]) == 2
    assert not (tmp_path / "mine").exists()
    write_jsonl(tmp_path / "in.jsonl", preferences(4))
    assert cli.run(["pairs", "import", "in.jsonl", "--out", "mine"]) == 0


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    for place in (folder, tmp_path / "file" / f"x{suffix}"):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be written"):
            write_preferences([], place, conversational=False)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("conversational", [False, True])
def test_what_is_exported_is_imported_again_and_read_by_trl(tmp_path: Path, suffix: str, conversational: bool) -> None:
    from trl import is_conversational

    write_jsonl(tmp_path / "in.jsonl", preferences(6))
    import_pairs(ImportRequest(tmp_path / "in.jsonl", held_out=0.0), tmp_path / "out")
    pairs = read_pairs(tmp_path / "out" / "pairs.jsonl")
    file = tmp_path / "exported" / f"pairs{suffix}"
    assert write_preferences(pairs, file, conversational=conversational) == 9
    assert read_preferences(file) == [Preference(pair.prompt, pair.chosen, pair.rejected) for pair in pairs]
    rows = pl.read_parquet(file).to_dicts() if suffix == ".parquet" else _json_rows(file)
    assert list(rows[0]) == ["prompt", "chosen", "rejected"]
    assert is_conversational(rows[0]) is conversational


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'.csv'; expected a name ending in .jsonl, .json, .parquet"):
        write_preferences([], tmp_path / "x.csv", conversational=False)
    assert write_preferences([], tmp_path / "x.parquet", conversational=True) == 0


def test_shares_have_intervals_over_prompts() -> None:
    # three samples a prompt give 3 pairs: + + + has 3 of one answer, + + - has 1; half of the prompts are of each
    answers = [["+", "+", "+"], ["+", "+", "-"]] * 20
    interval = rationale_sensitive_share(answers)
    assert interval.value == pytest.approx((3 + 1) / 6)
    # prompts are drawn, not pairs: 40 prompts with values 1 and 1/3, so the variance is (1/3)**2 / 40, with one prompt
    # more added 1 / 40**2; Student's t of 39 degrees of freedom is 2.023
    assert interval.high - interval.low == pytest.approx(2 * 2.023 * (1 / 9 / 40 + 1 / 40**2) ** 0.5, rel=0.08)
    assert sampled_kinds({"t": answers, "none": [["+"]]})["t"]["label_sensitive"] == pytest.approx(2 / 6)
    assert "none" not in sampled_kinds({"t": answers, "none": [["+"]]})


class TestCommands:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write_jsonl(tmp_path / "in.jsonl", preferences(20))

    def test_import_stats_export(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["pairs", "import", "in.jsonl", "--task", "mr", "--kind", "label", "--out", "made"]) == 0
        result = read_json(Path("made/result.json"))
        assert result["kind"] == "label"
        assert result["pairs"] + result["held_out_pairs"] == 30
        counts = f"({result['pairs']} written; {result['held_out_pairs']} held out)"
        assert f"pairs: made/pairs.jsonl {counts}" in capsys.readouterr().out
        assert {"config.json", "provenance.json", "manifest.json"} <= {path.name for path in Path("made").iterdir()}
        assert cli.run(["pairs", "export", "made", "out.jsonl", "--part", "all", "--conversational"]) == 0
        assert "30 pairs: out.jsonl" in capsys.readouterr().out
        assert sorted(read_preferences(Path("out.jsonl")), key=str) == sorted(
            read_preferences(Path("in.jsonl")), key=str
        )
        samples = [{"task": "mr", "id": str(n), "labels": ["positive", "positive", "negative"]} for n in range(5)]
        write_jsonl(Path("made/samples.jsonl"), samples)
        assert cli.run(["pairs", "stats", "made"]) == 0
        out = capsys.readouterr().out
        assert "| made | mr | label | 2" in out
        # five equal prompts: one prompt more adds 1 / 5**2, and t of 4 degrees of freedom is 2.776: 55.5 points
        assert "| mr | 33.3 [0.0, 88.9] | 66.7 | 0.0 | 33.3 [0.0, 88.9] | 15 |" in out
        assert "rationale-sensitive" in Path("made/pair_kinds.svg").read_text()

    @pytest.mark.parametrize("row", [{"task": "mr"}, {"task": "mr", "labels": "x"}, {"task": "mr", "labels": [["a"]]}])
    def test_stats_name_a_line_that_is_no_sample(
        self, capsys: pytest.CaptureFixture[str], row: dict[str, object]
    ) -> None:
        assert cli.run(["pairs", "import", "in.jsonl", "--out", "made"]) == 0
        write_jsonl(Path("made/samples.jsonl"), [{"task": "mr", "labels": ["positive", None]}, row])
        assert cli.run(["pairs", "stats", "made"]) == 2
        assert "error: made/samples.jsonl row 2: found {'task'" in capsys.readouterr().err

    def test_stats_say_which_task_is_not_known(self, caplog: pytest.LogCaptureFixture) -> None:
        assert cli.run(["pairs", "import", "in.jsonl", "--out", "made", "--task", "mr"]) == 0
        assert cli.run(["pairs", "stats", "made"]) == 0
        assert "is not known" not in caplog.text
        text = Path("made/pairs.jsonl").read_text(encoding="utf-8")
        Path("made/pairs.jsonl").write_text(text.replace('"task": "mr"', '"task": "foo"'), encoding="utf-8")
        assert cli.run(["pairs", "stats", "made"]) == 0
        assert "made: task foo is not known here" in caplog.text

    def test_the_same_import_is_done_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        for said in ("import in.jsonl:", "done before"):
            assert cli.run(["pairs", "import", "in.jsonl"]) == 0
            assert said in capsys.readouterr().err
        assert cli.run(["pairs", "import", "in.jsonl", "--dry-run", "--seed", "3"]) == 0
        assert "[to run] import in.jsonl" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("pairs", "import", "absent.jsonl"), "absent.jsonl: no such file"),
            (("pairs", "import", "in.jsonl", "--task", "mr,cola"), "names 2 tasks; pairs import reads"),
            (("pairs", "import", "in.jsonl", "--held-out", "2"), "--held-out"),
            (("pairs", "stats", "absent"), "absent: no pairs.jsonl; expected a folder made by"),
            (("pairs", "export", "absent", "x.jsonl"), "absent: no pairs.jsonl"),
        ],
    )
    def test_bad_input_is_one_line(
        self, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
    ) -> None:
        assert cli.run(list(arguments)) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1

    def test_stats_say_what_todays_rules_would_drop(self) -> None:
        cli.run(["pairs", "import", "in.jsonl", "--task", "mr", "--held-out", "0", "--out", "made"])
        lines = Path("made/pairs.jsonl").read_text().splitlines()
        Path("made/pairs.jsonl").write_text("\n".join([*lines, lines[0]]))
        assert summarise(Path("made"))["tasks"]["mr"]["outcomes"]["duplicate"] == 1


def _json_rows(file: Path) -> list[dict[str, Any]]:
    text = file.read_text()
    rows = [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)
    return list(rows)


ARENA = {"prompt": '["hi"]', "response_a": '["a"]', "response_b": '["b"]', "winner_model_a": 1, "winner_model_b": 0}
RATED = {"instruction": "hi", "generations": ["a", "b"], "ratings": [2, 1]}


@pytest.mark.parametrize(
    ("whole", "null"),
    [
        (ARENA, {"response_a": "[null]"}),
        (RATED, {"ratings": [None, 1]}),
        ({"prompt": "hi", "chosen": "a", "rejected": "b"}, {"rejected": None}),
    ],
)
def test_a_null_costs_its_own_row_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, whole: dict[str, object], null: dict[str, object]
) -> None:
    path = tmp_path / "p.jsonl"
    write_jsonl(path, [whole, {**whole, **null}, whole, {**whole, **null}])
    assert [(each.prompt, each.chosen, each.rejected) for each in read_preferences(path)] == [("hi", "a", "b")] * 2
    assert "p.jsonl row 2: " in caplog.text
    assert "null: 2" in caplog.text
    write_jsonl(path, [{**whole, **null}] * 2)
    with pytest.raises(DataError, match=r"row 1: .* \(and 1 more rows\)"):
        read_preferences(path)
    write_jsonl(path, [whole, {"prompt": "hi", "chosen": "a"}])
    if "chosen" in whole:
        with pytest.raises(DataError, match="row 2: rejected missing or empty"):
            read_preferences(path)
