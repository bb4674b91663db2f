"""``docs/ppo.md`` names functions and tests that exist, and exactly the metrics that a PPO step logs."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from rewardlab.disk import read_jsonl
from rewardlab.rewards.ledger import GLOSSARY as LEDGER_GLOSSARY
from rewardlab.training.metrics import GLOSSARY
from rewardlab.types import Answer, Example, Score
from tests.support.training import EXAMPLES, ppo_trainer

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "experiments" / "accelerate"
PAGE = ROOT / "docs" / "ppo.md"
PITFALLS = 31
SERVER = {f"sampler/{name}" for name in ("ratio_mean", "truncated_share", "difference")}
"""Logged where a server draws the responses (``tests/servers/test_sampling_server.py``)."""
NUMBER = Example("stsb", "n0", {"sentence1": "a film", "sentence2": "a movie"}, 4.0, "label")


def rows(section: str) -> list[list[str]]:
    """Cells of the table under a heading, without its head."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def names_in(file: str) -> frozenset[str]:
    """Names of the tests in a file, a class's with ``Class::`` in front."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return frozenset(name for name in found if name.split("::")[-1].startswith("test_"))


def exists(reference: str) -> bool:
    """Whether ``file::test`` is one."""
    file, _, name = reference.partition("::")
    return (ROOT / file).is_file() and name in names_in(file)


class Everything:
    """A reward with the parts that make every metric appear."""

    name = "everything"
    needs_gold = False

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        numbers = [float(number) for number in range(len(responses))]
        answers = [Answer(3.0) if isinstance(example.label, float) else None for example in examples]
        answers = [each or Answer("x", confidence=0.5) for each in answers]
        return [Score(n, {"label": n}, {"label": n}, answer) for n, answer in zip(numbers, answers, strict=True)]


def logged(folder: Path, method: str) -> Mapping[str, float]:
    run, settings = {"model.max_new_tokens": 12}, {"steps": 1, "kl_target": 6.0, "batch": 16, "sft_coef": 0.1}
    trainer = ppo_trainer(folder, Everything(), run=run, validation=EXAMPLES[:1], method=method, **settings)
    trainer.lam = 2.0
    trainer.examples = [*EXAMPLES, *(replace(NUMBER, id=f"n{number}") for number in range(8))]
    trainer.train()
    row: Mapping[str, float] = next(iter(read_jsonl(folder / "run" / "metrics.jsonl")))
    return row


def general(name: str) -> str:
    """The glossary's name of a metric: parts and terms are ``*``."""
    return re.sub(r"^(reward/(?:part|term|recall))/.*", r"\1/*", name)


class TestFormulas:
    @pytest.mark.parametrize("row", rows("Formulas") + rows("Several processes"), ids=lambda row: row[0])
    def test_function_and_test_exist(self, row: list[str]) -> None:
        [function], tests = quoted(row[2]), quoted(row[3])
        module, _, name = function.rpartition(".")
        assert callable(getattr(import_module(module), name))
        assert tests
        assert all(map(exists, tests)), tests

    def test_every_public_function_of_the_arithmetic_is_there(self) -> None:
        named = {quoted(row[2])[0] for row in rows("Formulas")}
        for module in ("kl", "gae", "groups", "ppo", "preference"):
            tree = ast.parse((ROOT / "rewardlab" / "functional" / f"{module}.py").read_text(encoding="utf-8"))
            public = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}
            assert {f"rewardlab.functional.{module}.{name}" for name in public} <= named

    @pytest.mark.parametrize("row", rows("Decoding"), ids=lambda row: row[0])
    def test_what_is_said_of_decoding_is_tested(self, row: list[str]) -> None:
        tests = quoted(row[1])
        assert tests
        assert all(map(exists, tests)), tests

    def test_every_launch_configuration_has_a_line(self) -> None:
        named = re.findall(r"--config_file (\S+)", PAGE.read_text(encoding="utf-8"))
        assert sorted(named) == sorted(f"experiments/accelerate/{p.name}" for p in CONFIGS.glob("*.yaml"))


class TestMetrics:
    def test_the_table_is_the_glossary(self) -> None:
        assert [quoted(row[0])[0] for row in rows("Metrics")] == [*LEDGER_GLOSSARY, *GLOSSARY]

    def test_the_table_is_what_a_step_logs(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        methods = ("ppo", "grpo")  # a critic, and groups with the KL in the loss; no judge has a price, and no server
        names = {name for method in methods for name in logged(tmp_path_factory.mktemp(method), method)}
        found = {general(name) for name in names} - {"step"}
        assert found | {"reward/cost_usd", *SERVER} == {quoted(row[0])[0] for row in rows("Metrics")}

    @pytest.mark.parametrize("row", rows("Metrics"), ids=lambda row: row[0].strip("`"))
    def test_each_has_formula_unit_and_range(self, row: list[str]) -> None:
        assert len(row) == 4
        assert all(row)


class TestPitfalls:
    def test_every_row_is_there(self) -> None:
        assert [int(row[0]) for row in rows("Pitfalls")] == list(range(1, PITFALLS + 1))

    @pytest.mark.parametrize("row", rows("Pitfalls"), ids=lambda row: row[0])
    def test_its_tests_exist(self, row: list[str]) -> None:
        tests = quoted(row[3])
        assert tests
        assert all(map(exists, tests)), tests


def test_every_test_that_the_page_names_exists() -> None:
    named = [name for name in quoted(PAGE.read_text(encoding="utf-8")) if name.startswith("tests/")]
    assert len(named) > PITFALLS
    for name in named:
        assert exists(name) if "::" in name else (ROOT / name).exists(), name


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert not exists("tests/unit/training/test_ppo.py::test_that_nobody_wrote")
    assert not exists("tests/unit/test_nothing.py::test_summary")
    assert not exists("tests/unit/functional/test_functional_parity.py::test_kl_estimators")  # it stands in a class


def test_readme_sends_its_reader_here() -> None:
    assert "(docs/ppo.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
