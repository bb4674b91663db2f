"""What README and the suites promise: every command parses, every example runs, every suite plans."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import rewardlab as rl
from rewardlab.cli.main import USAGE_ERROR, app
from rewardlab.config import TINY_MODEL, RewardConfig
from rewardlab.config_loading import load_config, parse_setting
from rewardlab.pipeline.rows import Rows
from rewardlab.rewards import plan_reward
from rewardlab.rewards.registry import rewards
from rewardlab.suites.cells import cells
from rewardlab.suites.file import load_suite
from rewardlab.tasks import resolve_tasks, tasks
from rewardlab.tasks.sources import load_splits
from tests.support.models import tiny_llama

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
SUITES = sorted((ROOT / "experiments").glob("*.toml"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


def blocks(language: str) -> list[str]:
    """The fenced blocks of README in one language; "" is plain."""
    return [text for found, text in BLOCK.findall(README.read_text(encoding="utf-8")) if found == language]


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every ``rewardlab ...`` in a block: after ``$``, variables and ``&&``, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True) if "rewardlab " in part else []
            while words and (words[0] == "$" or ASSIGNMENT.fullmatch(words[0])):
                words.pop(0)
            if words and Path(words[0]).name == "rewardlab":
                yield words[1:]


def parse(arguments: list[str]) -> dict[str, Any]:
    """Parameters as typer reads them; raises its usage error."""
    command: Any = typer.main.get_command(app)
    name, rest = "rewardlab", list(arguments)
    while rest and rest[0] in getattr(command, "commands", {}):
        name = rest.pop(0)
        command = command.commands[name]
    if rest and getattr(command, "commands", None) and not rest[0].startswith("-"):
        command.resolve_command(typer.Context(command), rest)
    with command.make_context(name, rest) as context:
        parameters: dict[str, Any] = context.params
        return parameters


README_COMMANDS = [arguments for text in [*blocks(""), *blocks("bash"), *blocks("sh")] for arguments in commands(text)]


def test_commands_are_found() -> None:
    found = list(
        commands("$ A=1 .venv/bin/rewardlab ppo --seed 3  # why\ncd x && rewardlab \\\n  tasks\nother rewardlab")
    )
    assert found == [["ppo", "--seed", "3"], ["tasks"]]
    assert ["ppo", "--reward", "mixed", "--lambda", "5"] in README_COMMANDS


@pytest.mark.parametrize("line", ["ppo --stepz 3", "ppoo", "rm tran", "tasks shw x", "ppo --steps many", "suite run"])
def test_the_parser_of_this_test_refuses(line: str) -> None:
    with pytest.raises(USAGE_ERROR):
        parse(line.split())


@pytest.mark.parametrize("arguments", README_COMMANDS, ids=" ".join)
def test_every_command_parses_and_asks_for_what_exists(arguments: list[str]) -> None:
    given = parse(arguments)
    for task in str(given.get("task") or "").split(","):
        if task and not task.endswith(".toml"):
            resolve_tasks(task)
    load_config(dict(map(parse_setting, given.get("set") or [])))
    expression = given.get("reward")
    if expression and ":" not in expression:
        plan_reward(RewardConfig(expression=expression, lam=given.get("lam"), r2=given.get("r2") or "ranked"))


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?\bmake ([a-z]+)\b(?=`|$| )", "\n".join(blocks("")) + README.read_text()))
    assert {"install", "demo", "test"} <= named & targets
    assert named <= targets


def test_the_tree_names_what_is_there() -> None:
    tree = next(text for text in blocks("") if text.startswith("rewardlab/\n"))
    for line in tree.splitlines():
        inside = line.startswith("  ")
        for name in re.findall(r"[\w.]+(?:/|\.py)(?= |$)", line.split("   ")[0].strip()):
            assert ((ROOT / "rewardlab" if inside else ROOT) / name).exists(), name


def test_the_task_example_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.names()  # imports the generated tasks, once and for good, before the registry is copied
    monkeypatch.setattr(tasks, "_entries", dict(tasks._entries))
    declaration = next(text for text in blocks("toml") if "labels" in text)
    row = json.loads(blocks("json")[0])
    folder = tmp_path / "tickets"
    folder.mkdir()
    (folder / "tickets.toml").write_text(declaration)
    rows = [{"text": f"{row['text']} {number}", "label": row["label"]} for number in range(12)]
    (folder / "train.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in rows))
    task = resolve_tasks(str(folder / "tickets.toml"))[0]
    assert row["label"] in task.labels
    splits = load_splits(task)
    assert row["text"] in task.prompt(splits.labelled[0])


def test_the_reward_example_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))
    code = next(text for text in blocks("python") if "register_reward" in text)
    names: dict[str, Any] = {}
    exec(compile(code, "my_rewards.py", "exec"), names)
    assert plan_reward(RewardConfig(expression="rule + polite")).names == ("rule", "polite")
    assert names["polite"]([], ["Please sit", "no"]) == [1.0, 0.0]


def test_the_python_section_names_what_there_is() -> None:
    code = next(text for text in blocks("python") if "rl.Lab" in text)
    owners = {"rl": rl, "lab": rl.Lab, "run": rl.Run}
    read = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)]
    named = {(node.value.id, node.attr) for node in read if isinstance(node.value, ast.Name)}
    assert {("rl", "Lab"), ("lab", "train"), ("run", "samples")} <= named
    assert [f"{owner}.{name}" for owner, name in named if not hasattr(owners[owner], name)] == []
    for name in re.findall(r" \.(\w+)\(", code):
        assert hasattr(rl.Compared, name), name


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.name)
def test_every_suite_loads_and_plans(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    monkeypatch.setattr("rewardlab.tasks.hub.offline_reason", lambda: "no network in tests")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    suite = load_suite(path, "bundled" if load_suite(path).settings.get("data.source") == "hub" else None)
    if suite.models or suite.settings.get("model.name", TINY_MODEL) != TINY_MODEL:
        settings = {**suite.settings, "model.name": str(tiny_llama(tmp_path / "model"))}
        suite = suite.model_copy(update={"settings": settings, "models": ()})
    rows = Rows(may_lack=suite.settings.get("preset") == "ppo-nlu")  # no sample of its tasks comes with the package
    planned = cells(suite.model_copy(update={"seeds": suite.seeds[:1]}), Path("runs"), rows=rows)
    places = max(1, len(suite.tasks)) * max(1, len(suite.models))
    assert len({(cell.method, cell.task, cell.model) for cell in planned}) == len(planned)
    assert len(planned) == len(suite.method) * places
    goals = [goal.fingerprint for cell in planned for goal in cell.goals]
    assert len(set(goals)) == len(goals)
    assert not Path("runs").exists()


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.name)
def test_learned_rewards_are_compared_with_the_rule_reward_at_equal_gold_labels(path: Path) -> None:
    """On SFT's own labelled rows the rule reward reads no label that they have not read."""
    suite = load_suite(path)
    if suite.only_grid:
        return  # it chooses settings and compares nothing
    expressions = {
        m.name: str({**suite.settings, **m.settings}.get("reward.expression", "rule"))
        for m in suite.method
        if m.stage == "ppo"
    }
    if suite.only_grid or all(expression == "rule" for expression in expressions.values()):
        return  # a suite that only chooses settings compares nothing
    equal = {
        m.name for m in suite.method if m.settings.get("ppo.rows") == "labelled" and expressions.get(m.name) == "rule"
    }
    assert equal & set(suite.against), suite.against
    assert "SFT w. rationale" in suite.against


def test_the_demo_shows_every_method_on_two_tasks() -> None:
    suite = load_suite(ROOT / "experiments" / "demo.toml")
    expressions = [method.settings.get("reward.expression") for method in suite.method if method.stage == "ppo"]
    assert sorted(map(str, expressions)) == ["label", "mixed", "mixed", "ranked", "rule", "rule"]
    assert [method.settings.get("reward.lam") for method in suite.method].count("5") == 1
    assert len(resolve_tasks(str(suite.settings["task"]))) == 2
