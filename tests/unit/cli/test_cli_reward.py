"""``rewardlab reward``: rows in, rows out, the summary on standard error, and bad input named by file and line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rewardlab.cli import reward_score
from rewardlab.cli.reward import app
from rewardlab.errors import ConfigError, DataError, ExpressionError, RewardlabError, UnknownNameError
from rewardlab.tasks.parsing import AnswerParser
from tests.support.commands import Command

RIGHT, WRONG = "A match.\n\n The answer is: Sports", "Money.\n\n The answer is: Business"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command; errors are raised, as ``rewardlab.cli.main`` expects them to be."""
    return CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)


def answers(*rows: dict[str, Any] | str) -> str:
    path = Path("answers.jsonl")
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def data_folder() -> str:
    """A task folder with ids to look up."""
    folder = Path("data/agnews")
    folder.mkdir(parents=True)
    labels = ["Sports", "Business"]
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        rows = [
            {"id": f"{split}-{i}", "text": f"{split} story number {i} about things", "label": labels[i % 2]}
            for i in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "data"


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_label_rows() -> None:
    path = answers({"response": RIGHT, "label": "Sports", "id": "a"}, "", {"response": "?", "label": "Sports"})
    result = invoke("score", "--task", "agnews", "--input", path)
    first, second = rows_of(result.stdout)
    assert (first["id"], first["score"], first["answer"], first["strict"]) == ("a", 1.0, "Sports", "Sports")
    assert first["parts"] == first["terms"] == {"rule": 1.0}
    assert (second["score"], second["answer"], second["correct"]) == (-1.0, None, False)
    assert second["reason"].startswith("rule: malformed")
    assert result.stderr == (
        "2 responses of agnews scored by rule: mean score 0.0000, 0.0% unscored, 50.0% malformed, accuracy 0.5000.\n"
    )


def test_id_rows_are_looked_up_in_every_split() -> None:
    path = answers(*({"response": RIGHT, "id": name} for name in ("train-0", "train-11", "validation-1", "test-2")))
    result = invoke("score", "--task", "agnews", "--input", path, "--data", data_folder())
    assert [(row["id"], row["score"]) for row in rows_of(result.stdout)] == [
        ("train-0", 1.0),
        ("train-11", 0.0),
        ("validation-1", 0.0),
        ("test-2", 1.0),
    ]


def test_an_id_of_two_different_rows_is_not_looked_up() -> None:
    folder = data_folder()
    for split in ("train", "test"):
        path = Path(folder) / "agnews" / f"{split}.jsonl"
        path.write_text(path.read_text().replace(f'"{split}-', '"'))
    with pytest.raises(DataError, match=r"line 1: id '2' is that of 2 rows of task agnews; expected label and text"):
        invoke("score", "--task", "agnews", "--input", answers({"response": RIGHT, "id": 2}), "--data", folder)
    path = answers({"response": RIGHT, "id": 9})  # of train alone
    [row] = rows_of(invoke("score", "--task", "agnews", "--input", path, "--data", folder).stdout)
    assert row["score"] == 0.0


@pytest.mark.parametrize("name", ["answers.csv", "answers.json", "answers.tsv"])
def test_answers_are_read_from_every_kind_of_file(name: str) -> None:
    contents = {
        "answers.csv": f'response,label\n"{RIGHT}",Sports\n,Sports\n',
        "answers.tsv": f'label\tresponse\nSports\t"{RIGHT}"\nSports\t\n',
        "answers.json": json.dumps([{"response": text, "label": "Sports"} for text in (RIGHT, "")]),
    }
    Path(name).write_text(contents[name])
    found = rows_of(invoke("score", "--task", "agnews", "--input", name).stdout)
    assert [row["score"] for row in found] == [1.0, -1.0]


def test_bundled_and_generated_rows_can_be_looked_up() -> None:
    from rewardlab.tasks import tasks
    from rewardlab.tasks.sources import load_splits

    bundled = load_splits(tasks.get("mrpc"), source="bundled").labelled[0]
    Path("rewardlab.toml").write_text('[data]\nsource = "bundled"\n')
    path = answers({"id": bundled.id, "response": f"So.\n\n The answer is: {bundled.label}"})
    [row] = rows_of(invoke("score", "--task", "mrpc", "--input", path).stdout)
    assert (row["score"], row["gold"]) == (1.0, bundled.label)
    generated = load_splits(tasks.get("sandbox-topic"), labelled=600, prompts=3000, validation=200, test=500).prompts[7]
    path = answers({"id": generated.id, "response": f"So.\n\n The answer is: {generated.label}"})
    [row] = rows_of(invoke("score", "--task", "sandbox-topic", "--input", path).stdout)
    assert (row["score"], row["gold"]) == (1.0, generated.label)


def test_output_file_appears_whole() -> None:
    path = answers({"response": RIGHT, "label": "Sports"})
    result = invoke("score", "--task", "agnews", "--input", path, "--output", "out/scores.jsonl")
    assert result.stdout == ""
    assert [row["score"] for row in rows_of(Path("out/scores.jsonl").read_text())] == [1.0]
    bad = answers({"response": RIGHT, "label": "Sports"}, {"response": RIGHT, "label": "Sport"})
    with pytest.raises(DataError):
        invoke("score", "--task", "agnews", "--input", bad, "--output", "out/second.jsonl")
    assert [file.name for file in Path("out").iterdir()] == ["scores.jsonl"]


@pytest.mark.parametrize("asked", [("score",), ("diff", "--a", "rule", "--b", "length")], ids=["score", "diff"])
@pytest.mark.parametrize(("output", "why"), [("answers.jsonl/rows.jsonl", "File exists"), (".", "Is a directory")])
def test_an_output_that_cannot_be_a_file_is_one_line(
    rewardlab: Command, asked: tuple[str, ...], output: str, why: str
) -> None:
    path = answers(
        {"response": RIGHT, "label": "Sports"}, {"response": RIGHT, "label": "Sport"}
    )  # a bad row, not yet read
    found = rewardlab("reward", *asked, "--task", "agnews", "--input", path, "--output", output).problem
    assert found == f"--output {output}: cannot be written ({why}); choose another file"


def test_standard_input_and_an_expression() -> None:
    row = json.dumps({"response": WRONG, "label": "Sports"})
    result = invoke("score", "--task", "agnews", "--input", "-", "--reward", "max(rule, 0.5) - length", stdin=row)
    assert rows_of(result.stdout)[0]["terms"] == {"max(rule, 0.5)": 0.5, "-(length)": -0.05}


def test_format_and_reading() -> None:
    path = answers({"response": "sports.", "label": "Sports"})
    lenient = invoke("score", "--task", "agnews", "--input", path, "--format", "label")
    strict = invoke("score", "--task", "agnews", "--input", path, "--format", "label", "--reading", "strict")
    assert [rows_of(result.stdout)[0]["score"] for result in (lenient, strict)] == [1.0, -1.0]


def test_a_reward_without_needs_takes_bare_responses() -> None:
    path = answers({"response": "one two"})
    assert (
        rows_of(invoke("score", "--task", "agnews", "--reward", "length", "--input", path).stdout)[0]["score"] == 0.02
    )


def test_numbers_print_their_distance() -> None:
    path = answers({"response": "x\n\n The answer is: 3", "label": 4})
    assert "mean distance to gold 1.0000" in invoke("score", "--task", "stsb", "--input", path).stderr


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": "Sports"}, "answers.jsonl line 2: field 'response' is missing"),
        ({"response": 5, "label": "Sports"}, "answers.jsonl line 2: field 'response' is 5"),
        ({"response": RIGHT}, "answers.jsonl line 2: has no 'id' to look up"),
        ({"response": RIGHT, "id": None}, "answers.jsonl line 2: has no 'id' to look up"),
        ({"response": RIGHT, "label": "Sport"}, "answers.jsonl line 2: label 'Sport' is not one of World politics"),
        ({"response": RIGHT, "id": "nobody"}, "answers.jsonl line 2: id 'nobody' is not among the"),
        ("{", "answers.jsonl line 2: not JSON"),
        ("[1]", "answers.jsonl line 2: found \\[1\\]"),
        ("[" * 100_000, "answers.jsonl line 2: not JSON"),
    ],
)
def test_bad_rows_name_file_and_line(row: dict[str, Any] | str, message: str) -> None:
    path = answers({"response": RIGHT, "label": "Sports"}, row)
    with pytest.raises(DataError, match=message):
        invoke("score", "--task", "agnews", "--input", path, "--data", data_folder())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--task", "agnew"], UnknownNameError, "agnews"),
        (["--task", "agnews,mr"], ConfigError, "names 2 tasks"),
        (["--reward", "lable"], ExpressionError, "did you mean label"),
        (["--reward", "min(rule,"], ExpressionError, "column 10"),
        (["--lambda", "5"], ConfigError, "neither mixed nor lam"),
        (["--reward", "mixed"], ConfigError, "needs lambda"),
        (["--reward", "mixed", "--lambda", "x"], ConfigError, "expected a number"),
        (["--reward", "mixed", "--lambda", "5"], ConfigError, "add --rm label=DIR --rm ranked=DIR"),
        (["--rm", "label"], ConfigError, "expected KIND=DIR"),
        (["--rm", "best=."], ConfigError, "expected KIND=DIR"),
        (["--rm", "label=nowhere"], ConfigError, "no such folder"),
        (["--input", "missing.jsonl"], DataError, "missing.jsonl: no such file"),
        (["--input", "empty.jsonl"], DataError, "holds no rows"),
    ],
)
def test_bad_options(options: list[str], error: type[RewardlabError], message: str) -> None:
    Path("empty.jsonl").touch()
    path = answers({"response": RIGHT, "label": "Sports"})
    with pytest.raises(error, match=message) as caught:
        invoke("score", "--task", "agnews", "--input", path, *options)
    assert caught.value.exit_code == 2


def test_learned_rewards_come_from_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import rewardlab.models.scoring as scoring

    def load(folders: dict[str, Path]) -> SimpleNamespace:
        assert folders.items() <= {"label": Path("a"), "ranked": Path("b")}.items()
        scorers = {"label": lambda examples, responses: [6.0] * len(responses)}
        scorers["ranked"] = lambda examples, responses: [float(len(example.fields["text"])) for example in examples]
        return SimpleNamespace(scorers=scorers, sft_scores={"label": [0.0, 10.0]})

    monkeypatch.setattr(scoring, "load_scorers", load)
    Path("a").mkdir()
    Path("b").mkdir()
    path = answers({"response": RIGHT, "label": "Sports", "text": "four"})
    folders = ("--rm", "label=a", "--rm", "ranked=b")
    result = invoke("score", "--task", "agnews", "--input", path, "--reward", "mixed", "--lambda", "q50", *folders)
    [row] = rows_of(result.stdout)
    assert row["terms"] == {"min(label, lam)": 5.0, "ranked": 4.0}
    assert row["answer"] == "Sports"
    assert "100.0% at or above lambda" in result.stderr
    path = answers({"response": RIGHT, "label": "Sports"})
    with pytest.raises(DataError, match="line 1: has no 'id' to look up; expected id, or label and text"):
        invoke("score", "--task", "agnews", "--input", path, "--reward", "ranked", *folders)


def test_list_and_show() -> None:
    listed = invoke("list").stdout
    assert all(
        word in listed for word in ("rule", "label", "ranked", "rationale", "length", "mixed", "gate(", "q(label")
    )
    assert "gold labels   yes" in invoke("show", "rule").stdout
    assert "trained on label pairs" in invoke("show", "label").stdout
    assert "RLLR eq. 4" in invoke("show", "mixed").stdout
    with pytest.raises(UnknownNameError, match="did you mean mixed"):
        invoke("show", "mixd")


def test_responses_stream_through_and_each_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 200 of them are two batches and the rest; what is scored is written before the next batch is read."""
    path = answers(*({"response": f"{i}. {RIGHT}", "label": "Sports"} for i in range(1_200)))
    batches: list[int] = []
    build = reward_score.build_reward

    class Counting:
        def __init__(self, *given: Any) -> None:
            self.reward = build(*given)
            self.lam = self.reward.lam

        def __call__(self, examples: Any, responses: Any) -> Any:
            batches.append(len(examples))
            return self.reward(examples, responses)

    parsed: Counter[str] = Counter()
    parse = AnswerParser.parse
    monkeypatch.setattr(AnswerParser, "parse", lambda self, text: (parsed.update([text]), parse(self, text))[1])
    monkeypatch.setattr(reward_score, "build_reward", Counting)
    assert invoke("score", "--task", "agnews", "--input", path, "--output", "scores.jsonl").exit_code == 0
    assert batches == [512, 512, 176]
    assert (len(parsed), set(parsed.values())) == (1_200, {1})


def test_a_rule_scores_without_torch() -> None:
    path = answers({"response": RIGHT, "label": "Sports"})
    code = (
        "import sys; from rewardlab.cli.reward import app;"
        f"app(['score', '--task', 'agnews', '--input', {path!r}, '--output', 'scores.jsonl'], standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 responses of agnews scored by rule: mean score 1.0000" in done.stderr
