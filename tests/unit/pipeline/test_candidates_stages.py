"""A task whose rows bring their own answers, through SFT, PPO and evaluation, as commands run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.disk import read_json, read_jsonl, write_jsonl
from tests.support.commands import Command
from tests.support.models import tiny_llama, tiny_tokenizer

TASK = """
name = "orders"
fields = ["passage", "drinks"]
template = "{passage} One of: {drinks}"
candidates = "drinks"
metrics = ["accuracy", "token_f1"]
data = "rows"
"""
ROWS = {"labelled": 16, "prompts": 8, "validation": 4, "test": 4}
SETTINGS = {
    **{f"data.{part}": count for part, count in ROWS.items()},
    "sft.epochs": 40,
    "sft.batch": 8,
    "sft.lr": 0.02,
    "ppo.steps": 2,
    "ppo.batch": 8,
    "ppo.micro_batch": 8,
    "model.max_new_tokens": 12,
}


def only(stage: str) -> Path:
    [path] = Path("runs", stage).iterdir()
    return path


@pytest.mark.slow
def test_candidates_are_learned_rewarded_and_evaluated(rewardlab: Command) -> None:
    """Tea stands among the answers of every row, and is right in all of them, now and then beside another one."""
    drinks = ["milk", "juice", "water"]
    rows = [
        {
            "id": f"o{n}",
            "passage": f"guest {n} orders tea",
            "drinks": ["tea", drinks[n % 3]],
            "label": ["tea", drinks[n % 3]] if n % 4 == 0 else "tea",
        }
        for n in range(sum(ROWS.values()))
    ]
    write_jsonl(Path("rows/train.jsonl"), rows)
    Path("orders.toml").write_text(TASK)
    model = tiny_llama(Path("model"), tiny_tokenizer([f"{row['passage']} {row['drinks']}" for row in rows]))
    small = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    what = ["--task", "orders.toml", "--format", "label", "--model", str(model), "--dtype", "float32", *small]
    done = rewardlab("ppo", "--reward", "rule", "--tracker", "none", *what)
    assert done.code == 0, done.err
    samples = list(read_jsonl(only("ppo") / "samples.jsonl"))
    assert len(samples) == 2 * 8
    assert {row["score"] for row in samples if row["answer"] == "tea"} == {1.0}
    assert {row["score"] for row in samples if row["answer"] is None} <= {-1.0}
    done = rewardlab("eval", "--run", str(only("ppo")))
    assert done.code == 0, done.err
    measured = read_json(only("eval") / "result.json")["columns"]["orders"]["greedy"]
    assert measured["n"] == ROWS["test"]
    assert [measured["metrics"][name]["value"] for name in ("accuracy", "token_f1")] == [1.0, 1.0]
    answers = list(read_jsonl(only("eval") / "predictions.jsonl"))
    assert {row["answer"] for row in answers if row["decoding"] == "greedy"} == {"tea"}
