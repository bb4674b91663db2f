"""What README and the suites promise: every command parses, findings are logged, every suite plans."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import rewardlab as rl
from experiments.tools import readme_table
from rewardlab.cli.main import USAGE_ERROR, app
from rewardlab.config import TINY_MODEL, RewardConfig
from rewardlab.config_loading import load_config, parse_setting
from rewardlab.pipeline.rows import Rows
from rewardlab.rewards import plan_reward
from rewardlab.suites.cells import cells
from rewardlab.suites.file import load_suite
from rewardlab.tasks import resolve_tasks
from tests.support.commands import Command
from tests.support.models import tiny_bert, tiny_llama
from tests.support.pages import anchors
from tests.unit.conftest import rewardlab as rewardlab

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
LOG = ROOT / "experiments" / "LOG.md"
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
            if words[:2] == ["accelerate", "launch"] and "-m" in words:
                words = words[words.index("-m") + 1 :]
            if words and Path(words[0]).name == "rewardlab":
                yield words[1:]


def parse(arguments: list[str]) -> dict[str, Any]:
    """Parameters as typer reads them; raises its usage error."""
    command: Any = typer.main.get_command(app)
    name, rest, context = "rewardlab", list(arguments), None
    while True:
        context = command.make_context(name, rest, parent=context)
        left = [*context._protected_args, *context.args]
        if not left or not hasattr(command, "commands"):
            parameters: dict[str, Any] = context.params
            return parameters
        name, command, rest = command.resolve_command(context, left)


README_COMMANDS = [arguments for text in [*blocks(""), *blocks("bash"), *blocks("sh")] for arguments in commands(text)]


def test_commands_are_found() -> None:
    found = list(
        commands(
            "$ A=1 .venv/bin/rewardlab ppo --seed 3  # why\ncd x && rewardlab \\\n  tasks\nother rewardlab\n"
            "accelerate launch --config_file c.yaml -m rewardlab sft\n[1/3] rewardlab prints this"
        )
    )
    assert found == [["ppo", "--seed", "3"], ["tasks"], ["sft"]]
    assert ["compare", "runs"] in README_COMMANDS


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


def form(line: str) -> str:
    """A printed line without its numbers, its hashes and the width of its columns."""
    plain = re.sub(r"(?<=-)[0-9a-f]{12}\b", "HASH", " ".join(line.split()))
    return re.sub(r"[+-]?\d+(?:\.\d+)?", "N", plain)


def printed_in_readme() -> dict[str, list[str]]:
    """Command -> the lines that README shows under it, without those that were left out."""
    found = {}
    for text in blocks(""):
        first, *lines = text.splitlines()
        if first.startswith("$ rewardlab "):
            found[first.removeprefix("$ rewardlab ").split()[0]] = [line for line in lines if line != "..."]
    return found


@pytest.mark.slow
def test_the_three_commands_print_what_readme_shows(rewardlab: Command) -> None:
    """In form: with the numbers of a smaller run. Tables are compared by their headings and methods."""
    sizes = [f"--set=data.{part}=16" for part in ("labelled", "prompts", "validation", "test")]
    small = [*sizes, "--set=ppo.batch=8", "--set=ppo.micro_batch=8", "--set=ppo.steps=2"]
    out = {"ppo": rewardlab("ppo", "--reward", "rule", *small)}
    [trained], [sft] = Path("runs/ppo").iterdir(), Path("runs/sft").iterdir()
    out["eval"] = rewardlab("eval", "--run", str(trained))
    rewardlab("eval", "--run", str(sft))
    out["compare"] = rewardlab("compare", "runs")
    shown = printed_in_readme()
    assert shown.keys() == out.keys()
    for command, lines in shown.items():
        assert out[command].code == 0, out[command].err
        printed = {form(line) for line in (out[command].out + out[command].err).splitlines()}
        assert len(lines) >= 2
        assert [line for line in map(form, lines) if line not in printed] == [], (command, printed)


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?\bmake ([a-z]+)\b(?=`|$| )", "\n".join(blocks("")) + README.read_text()))
    assert {"install", "demo", "test"} <= named & targets
    assert named <= targets


def test_the_tree_of_the_design_page_names_what_is_there() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    tree = next(text for _, text in BLOCK.findall(page) if text.startswith("rewardlab/\n"))
    for line in tree.splitlines():
        inside = line.startswith("  ")
        for name in re.findall(r"[\w.]+(?:/|\.py)(?= |$)", line.split("   ")[0].strip()):
            assert ((ROOT / "rewardlab" if inside else ROOT) / name).exists(), name
    named = {Path(name).stem for name in re.findall(r"([\w.]+)(?:/|\.py)", tree)}
    packages = {path.parent.name for path in (ROOT / "rewardlab").glob("*/__init__.py")}
    assert packages - named == set()


def test_a_visitor_meets_a_command_soon() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert len(text.split("```")[0].split()) <= 80


def numbers(text: str) -> set[str]:
    """Numbers with a unit, decimals or an exponent; plain counts are left."""
    return set(re.findall(r"\d+\.\d+|\d+e-\d+|\d+(?= %)", text))


def entry(anchor: str) -> str:
    """The entry of the log that a link names; empty where there is none."""
    entries = re.split(r"^(?=## )", LOG.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return next((text for text in entries if anchor in anchors(text.split("\n")[0])), "")


def unlogged(section: str) -> list[str]:
    """Findings without a dated entry of the log, or with a number that its entry does not have."""
    findings = re.findall(r"^\* .*?(?=^\* |^\S|\Z)", section, re.MULTILINE | re.DOTALL)
    logged = ["".join(map(entry, re.findall(r"LOG\.md#([\w-]+)", finding))) for finding in findings]
    return [one for one, text in zip(findings, logged, strict=True) if not text or numbers(one) - numbers(text)]


def test_findings_are_those_of_the_log() -> None:
    """Beside the block that a command makes, which ``test_readme_claims.py`` makes again."""
    text = readme_table.BLOCK.sub("", README.read_text(encoding="utf-8"))
    section = text[text.index("## What came out") : text.index("## Who it is for")]
    assert len(re.findall(r"^\* ", section, re.MULTILINE)) == 3
    assert unlogged(section) == []
    assert len(unlogged(section.replace("97.8", "97.9"))) == 1
    assert len(unlogged(section.replace("LOG.md#2026-11-29-intervals", "LOG.md#nothing"))) == 1


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
        if "encoder.model" in settings:
            settings["encoder.model"] = str(tiny_bert(tmp_path / "encoder", ["good"]))
        suite = suite.model_copy(update={"settings": settings, "models": ()})
    specs = [*(suite.tasks or (suite.settings["task"],)), *suite.unseen.values()]
    asked = {task.name for spec in specs for task in resolve_tasks(str(spec))}
    sampled = {task.name for task in resolve_tasks("rllr8,sandbox")}
    rows = Rows(may_lack=not asked <= sampled)  # of other tasks no sample comes with the package
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
    if not any(re.search(r"label|ranked|rationale|mixed", expression) for expression in expressions.values()):
        return  # the rule alone, whatever is made of it
    equal = {
        m.name for m in suite.method if m.settings.get("ppo.rows") == "labelled" and expressions.get(m.name) == "rule"
    }
    assert equal & set(suite.against), suite.against
    starts = {method.name for method in suite.method} & {"SFT w. rationale", "SFT"}
    assert ("SFT w. rationale" if "SFT w. rationale" in starts else "SFT") in suite.against


def test_the_demo_shows_every_method_on_two_tasks() -> None:
    suite = load_suite(ROOT / "experiments" / "demo.toml")
    expressions = [method.settings.get("reward.expression") for method in suite.method if method.stage == "ppo"]
    assert sorted(map(str, expressions)) == ["label", "mixed", "mixed", "ranked", "rule", "rule"]
    assert [method.settings.get("reward.lam") for method in suite.method].count("5") == 1
    assert len(resolve_tasks(str(suite.settings["task"]))) == 2
