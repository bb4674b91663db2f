"""The first hour with a file of one's own: a task file and its rows, a real model, from a table to an exported model.

The example of ``docs/own-task.md`` is run as printed. Needs the weights of ``smollm2-135m-q4``; all else is small.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from rewardlab.config import PACKED_MODEL
from rewardlab.disk import read_json, read_jsonl
from rewardlab.models.names import how_to_install
from tests.contract.test_docs_commands import block, page_commands
from tests.support.commands import Command
from tests.support.pages import DOCS
from tests.unit.conftest import rewardlab as rewardlab

needs_weights = pytest.mark.skipif(how_to_install(PACKED_MODEL) != "", reason=how_to_install(PACKED_MODEL))
pytestmark = [
    pytest.mark.smollm,
    needs_weights,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # PEFT 0.21
]
TEXTS = {
    "bug": "The {} does nothing since Monday.",
    "question": "How do I change my {}?",
    "praise": "I love the new {}, thank you!",
}
THINGS = ("export button", "password", "dashboard", "search", "invoice")
COUNT = 60
SMALL = ("--set=sft.batch=4", "--set=sft.micro_batch=4", "--set=model.max_new_tokens=6", "--set=lora.rank=4")


def tickets() -> list[dict[str, str]]:
    """60 rows, 20 of each label, no two alike."""
    labels = list(TEXTS)
    return [
        {"text": f"{TEXTS[labels[n % 3]].format(THINGS[n % 5])} Ticket {n}.", "label": labels[n % 3]}
        for n in range(COUNT)
    ]


def write_task() -> None:
    """The task file of the page, where it says."""
    Path("tickets").mkdir()
    Path("tickets/tickets.toml").write_text(block("own-task", "toml"), encoding="utf-8")


@pytest.mark.slow
def test_the_example_of_the_page_runs_as_printed(rewardlab: Command) -> None:
    """Look, SFT, evaluation, with nothing added to them; RUN is the folder that was made before."""
    commands = page_commands(DOCS / "own-task.md")
    typed = [words for words in commands if words[0] != "ppo" and "--dry-run" not in words]
    assert [words[0] for words in typed] == ["tasks", "sft", "eval"]
    write_task()
    assert json.loads(block("own-task", "json")).keys() == tickets()[0].keys()
    Path("tickets/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tickets()[:12]))
    for words in typed:
        made = [str(folder) for folder in Path("runs/sft").glob("*")]
        done = rewardlab(*(made[0] if word == "RUN" else word for word in words))
        assert done.code == 0, (words, done.err)
    [evaluated] = Path("runs/eval").iterdir()
    assert read_json(evaluated / "result.json")["columns"]["tickets"]


@pytest.mark.slow
def test_from_a_table_of_tickets_to_answers_without_rewardlab(
    rewardlab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Path.cwd()
    write_task()
    with Path("tickets/train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("text", "label"))
        writer.writeheader()
        writer.writerows(tickets())

    shown = rewardlab("tasks", "show", "tickets/tickets.toml", "--format", "label")
    assert "train.csv (60 rows)" in shown.out
    assert "A customer wrote: " in shown.out

    task = ("--task", "tickets/tickets.toml")
    model = ("--model", PACKED_MODEL, "--format", "label", "--dtype", "float32", "--tracker", "none")
    sizes = ("--set=data.labelled=8", "--set=data.prompts=4", "--set=data.validation=2")
    what = (*task, *model, *SMALL, *sizes, "--set=sft.epochs=1", "--set=sft.lr=1e-3")
    for command in (("sft",), ("ppo", "--reward", "rule", "--steps", "1", "--batch", "4", "--set=ppo.lr=1e-3")):
        done = rewardlab(*command, *what)
        assert done.code == 0, (command, done.err)
    [sft], [ppo] = Path("runs/sft").iterdir(), Path("runs/ppo").iterdir()

    moved = project.parent / "moved"
    project.rename(moved)
    monkeypatch.chdir(moved.parent)
    for run in (sft, ppo):
        done = rewardlab("eval", "--run", f"moved/{run}", "--limit", "4")
        assert done.code == 0, (run, done.err)
    monkeypatch.chdir(moved)
    assert {path.name for path in Path("runs").iterdir()} == {"sft", "ppo", "eval"}
    table = rewardlab("compare", "runs")
    assert table.code == 0, table.err
    assert "PPO-rule" in table.out

    assert rewardlab("export", str(ppo), "--to", "mine").code == 0
    card = Path("mine/README.md").read_text(encoding="utf-8")
    assert '\n- "tickets"\n' in card  # the task by its name, not by a path of this machine
    [evaluated] = [path for path in Path("runs/eval").iterdir() if "ppo" in path.name]
    rows = [row for row in read_jsonl(evaluated / "predictions.jsonl") if row["decoding"] == "greedy"]
    assert len(rows) == 4
    answers = plain_answers(card, [row["prompt"] for row in rows])
    assert answers == [row["response"] for row in rows]


def plain_answers(card: str, prompts: list[str]) -> list[str]:
    """What transformers and PEFT alone answer, by the lines of the model card with each row's prompt in its own."""
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    loading, asking = code[1].split("prompt = ")
    names: dict[str, object] = {}
    exec(loading, names)
    shown = eval(asking.split("\n", 1)[0])
    own = next(iter(re.findall(r"A customer wrote: .*What kind of message is it\?", shown, re.DOTALL)))
    found = []
    for prompt in prompts:
        names["prompt"] = shown.replace(own, prompt)
        exec(asking.split("\n", 1)[1].replace("print(answer)", ""), names)
        found.append(str(names["answer"]))
    return found
