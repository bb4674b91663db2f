"""Logs of other libraries: each layout as its library writes it, named columns, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rewardlab.errors import ConfigError, DataError
from rewardlab.evaluation.rollout_files import Columns, RolloutFile, parse_parts, read_rollouts
from rewardlab.rewards.ledger import Ledger, Shaped
from rewardlab.types import Answer, Example, Score

RIGHT = "So.\n\n The answer is: Sports"


def lines(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def columns_of(rows: Sequence[Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(row, name) for name in names) for row in rows]


def test_our_own_ledger(tmp_path: Path) -> None:
    written: list[Mapping[str, Any]] = []
    examples = [Example("agnews", "7", {}, "Sports"), Example("stsb", "9", {}, 4.0)]
    judged = [
        Score(1.25, {"rule": 1.0, "label": 0.1}, answer=Answer("Sports")),
        Score(None, {"rule": None}, answer=Answer(2.5)),
    ]
    Ledger(lambda file, row: written.append(row)).record(
        3, examples, [RIGHT, "2.5"], judged, [Shaped(1.0, 1.0, 0.0, 0.0), None], [1, 0]
    )
    first, second = read_rollouts(RolloutFile(lines(tmp_path / "samples.jsonl", *written)))
    assert (first.step, first.prompt, first.example.label, first.sample) == (3, ("agnews", "7"), "Sports", 1)
    assert (first.parts, first.score, first.correct, first.answer) == ({"rule": 1.0, "label": 0.1}, 1.25, 1.0, "Sports")
    assert (second.parts, second.score, second.correct, second.error) == ({"rule": None}, None, None, 1.5)


def test_trl_completions(tmp_path: Path) -> None:
    """Two files of GRPOTrainer's log: messages, NaN for a reward that could not judge, a column a reward."""
    prompt = [{"role": "user", "content": "2 + 2?"}]
    for step, rewards in ((10, [1.0, float("nan")]), (9, [0.5, 0.0])):
        table = {
            "step": [step, step],
            "prompt": [prompt, [{"role": "user", "content": "3 + 3?"}]],
            "completion": [[{"role": "assistant", "content": "4"}], [{"role": "assistant", "content": "7"}]],
            "accuracy_reward": rewards,
            "format_reward": [0.25, 0.5],
            "advantage": [1.0, -1.0],
        }
        pl.DataFrame(table).write_parquet(tmp_path / f"completions_{step:05d}.parquet")
    rows = read_rollouts(RolloutFile(tmp_path))
    assert columns_of(rows, "step", "response", "score") == [
        (9, "4", None),
        (9, "7", None),
        (10, "4", None),
        (10, "7", None),
    ]
    assert rows[0].prompt == rows[2].prompt == ("", "2 + 2?")
    assert rows[3].parts == {"accuracy_reward": None, "format_reward": 0.5, "advantage": -1.0}


def test_verl_rollouts(tmp_path: Path) -> None:
    for step in (10, 9):
        row = {
            "input": "user\n2 + 2?",
            "output": "4",
            "gts": "4",
            "score": step / 10,
            "step": step,
            "acc": True,
            "pred": "4",
        }
        lines(tmp_path / f"{step}.jsonl", row)
    rows = read_rollouts(RolloutFile(tmp_path))
    assert columns_of(rows, "step", "score", "correct") == [(9, 0.9, 1.0), (10, 1.0, 1.0)]
    assert rows[0].parts == {"score": 0.9, "acc": 1.0}
    assert rows[0].example.label is None  # nothing is known of the task


def test_openrlhf_rows(tmp_path: Path) -> None:
    rows = read_rollouts(RolloutFile(lines(tmp_path / "out.jsonl", {"input": "Hi", "output": "Ho", "reward": -0.5})))
    assert columns_of(rows, "step", "response", "score") == [(0, "Ho", -0.5)]


def test_columns_of_any_name_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("it,question text,said,total,rm score,ok\n2,a,x,0.5,1.5,true\n1,b,y,,2.5,False\n")
    columns = Columns("it", "question text", "said", "total", None, "ok", None, {"rm": "rm score"})
    rows = read_rollouts(RolloutFile(path, columns))
    assert columns_of(rows, "step", "response", "score", "correct") == [(1, "y", None, 0.0), (2, "x", 0.5, 1.0)]
    assert rows[0].prompt == ("", "b")
    assert rows[1].parts == {"total": 0.5, "ok": 1.0, "rm": 1.5}


def test_gold_labels_are_read_by_the_parser_of_their_task(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "completion": RIGHT, "reward": 1, "label": "sports"},
        {"prompt": "p", "completion": "Sports", "reward": 1, "label": "Business"},
    ]
    path = lines(tmp_path / "log.jsonl", *rows)
    found = read_rollouts(RolloutFile(path, task="agnews"))
    assert [(row.example.label, row.correct, row.answer) for row in found] == [
        ("Sports", 1.0, "Sports"),
        ("Business", 0.0, None),
    ]
    assert [row.correct for row in read_rollouts(RolloutFile(path, task="agnews", format="label"))][1] == 0.0
    lines(path, {**rows[0], "label": "Sport"})
    with pytest.raises(DataError, match=r"line 1: label 'Sport' is not one of .*task agnews"):
        read_rollouts(RolloutFile(path, task="agnews"))


def test_rows_without_prompt_or_id_are_prompts_of_their_own(tmp_path: Path) -> None:
    first, second = read_rollouts(RolloutFile(lines(tmp_path / "a.jsonl", {"response": "x"}, {"response": "x"})))
    assert first.prompt != second.prompt


def test_unknown_layouts_are_refused_by_naming_their_columns(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", {"text": "x", "value": 1})
    with pytest.raises(DataError) as error:
        read_rollouts(RolloutFile(path, needs=("response", "reward")))
    assert str(error.value) == (
        f"{path}: no column for response (looked for response, completion, output); reward (looked for reward, score); "
        "the columns are text, value. Name it with --response-column --reward-column"
    )
    with pytest.raises(DataError, match="--step-column it: no such column; the columns are text, value"):
        read_rollouts(RolloutFile(path, Columns(step="it")))
    with pytest.raises(DataError, match="--part rm=score: no such column; the columns are text, value"):
        read_rollouts(RolloutFile(path, Columns(response="text", parts={"rm": "score"})))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": 3}, "line 1: column 'response': found 3; expected a text or messages"),
        ({"response": "x", "step": 1.5}, "line 1: step is 1.5, expected a whole number"),
        ({"response": "x", "reward": "high"}, "line 1: column 'reward' is 'high', expected a finite number"),
        ({"response": "x", "reward": 1e999}, "line 1: part 'reward' is inf, expected a finite number"),
        ({"response": "x", "correct": [1]}, r"line 1: column 'correct' is \[1\], expected a finite number"),
    ],
)
def test_bad_values_name_file_row_and_column(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = lines(tmp_path / "log.jsonl", row)
    with pytest.raises(DataError, match=f"{path} {message}"):
        read_rollouts(RolloutFile(path))


def test_what_is_no_log_is_told(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none", "no such file or folder"),
        (lines(tmp_path / "empty.jsonl"), "holds no rows"),
        (lines(tmp_path / "log.txt"), "unknown format '.txt'"),
    ):
        with pytest.raises(DataError, match=message):
            read_rollouts(RolloutFile(path))
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="neither a run with a ledger nor a folder of logs"):
        read_rollouts(RolloutFile(tmp_path / "folder"))


def test_half_of_a_last_line_is_left_out_where_the_run_still_writes(tmp_path: Path) -> None:
    path = lines(tmp_path / "samples.jsonl", {"response": "x"})
    path.write_text(path.read_text() + '{"response": "')
    assert len(read_rollouts(RolloutFile(path, may_be_cut=True))) == 1
    with pytest.raises(DataError, match="line 2: not JSON"):
        read_rollouts(RolloutFile(path))


def test_parts_are_named_columns() -> None:
    assert parse_parts(["label=rewards/rm", "a=b=c"]) == {"label": "rewards/rm", "a": "b=c"}
    for option in ("label", "a b=c", "lam=x"):
        with pytest.raises(ConfigError, match=f"--part '{option}': expected NAME=COLUMN"):
            parse_parts([option])
