"""The documentation site: every page can be found, every link leads somewhere, pages that are made are current."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from experiments.tools.commands_page import commands, commands_page
from rewardlab.config import RunConfig
from rewardlab.training.methods import methods
from tests.contract.test_ppo_page import exists, quoted
from tests.support.pages import DOCS, PAGES, ROOT, anchors, broken, links, navigation

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
METHODS = (DOCS / "methods.md").read_text(encoding="utf-8")


class TestNavigation:
    def test_names_every_page_once(self) -> None:
        own = [place for place in navigation() if (DOCS / place).exists()]
        assert sorted(own) == [str(page.relative_to(DOCS)) for page in PAGES]

    def test_names_what_exists(self) -> None:
        assert [place for place in navigation() if not (DOCS / place).exists() and not (ROOT / place).is_file()] == []


class TestLinks:
    @pytest.mark.parametrize("page", [*PAGES, CONTRIBUTING], ids=lambda page: page.name)
    def test_lead_somewhere(self, page: Path) -> None:
        assert broken(page, page.read_text(encoding="utf-8")) == []

    def test_are_found(self) -> None:
        assert links("[a](b.md#c) `[d](e.md)` [f](https://g)\n```\n[h](i.md)\n```\n") == ["b.md#c"]

    def test_that_lead_nowhere_are_noticed(self) -> None:
        text = "# One, two\n[a](index.md) [b](no.md) [c](#one-two) [d](#three) [e](ppo.md#pitfalls) [f](ppo.md#pit)"
        assert broken(DOCS / "page.md", text) == ["no.md", "#three", "ppo.md#pit"]

    def test_headings_are_named_as_readers_name_them(self) -> None:
        assert anchors("# 2026-11-21: `make demo`, the model's λ\n") == {"2026-11-21-make-demo-the-models"}


class TestCommandsPage:
    def test_is_current(self) -> None:
        said = "run: python -m experiments.tools.commands_page > docs/commands.md"
        assert (DOCS / "commands.md").read_text(encoding="utf-8") == commands_page(), said

    def test_has_groups_and_plain_commands(self) -> None:
        names = [name for name, _ in commands()]
        assert {"rewardlab ppo", "rewardlab rm train", "rewardlab annotate", "rewardlab annotate merge"} <= set(names)
        assert "rewardlab rm" not in names  # it only prints its help
        assert len(names) == len(set(names))

    def test_an_option_has_its_meaning(self) -> None:
        part = commands_page().split("## rewardlab ppo\n")[1].split("\n## ")[0]
        assert "| `--lambda <str>` | Cap of the label RM: 5, q90 or 1.5z; auto:5: target of its mean. |" in part
        assert "| `--runs <path>` | Where run folders live. [default: runs] |" in part


class TestAPIPage:
    def test_is_made_from_the_public_names(self) -> None:
        assert "\n::: rewardlab\n" in (DOCS / "api.md").read_text(encoding="utf-8")

    def test_every_public_name_can_be_read_without_importing(self) -> None:
        """The site reads the source: each name of ``__all__`` must be assigned, or imported for type checkers."""
        tree = ast.parse((ROOT / "rewardlab" / "__init__.py").read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        assigned = {
            target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert set(import_module("rewardlab").__all__) <= imported | assigned


class TestMethodsPage:
    def test_every_method_has_a_row(self) -> None:
        rows = re.findall(r"^\| [^|]+ \| `(\w+)`[^|]* \|", METHODS.split("## What each needs")[1], re.MULTILINE)
        assert set(methods.every()) <= set(rows)

    def test_what_each_needs_is_what_the_code_says(self) -> None:
        table = METHODS.split("## What each needs\n")[1].split("\n## ")[0]
        for line in table.splitlines():
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            command = quoted(cells[1])[0] if len(cells) == 6 and quoted(cells[1]) else ""
            if command in methods.every():
                assert methods.get(command).has_critic is (cells[4] == "yes"), line

    def test_functions_and_tests_exist(self) -> None:
        functions = set(re.findall(r"`(rewardlab\.[\w.]+)`", METHODS))
        assert len(functions) >= 5
        for name in functions:
            module, _, attribute = name.rpartition(".")
            assert hasattr(import_module(module), attribute), name
        tests = re.findall(r"`(tests/[^`]+::[^`]+)`", METHODS)
        assert len(tests) >= 5
        assert all(map(exists, tests)), tests

    def test_settings_and_their_defaults_are_those_of_the_code(self) -> None:
        named = set(re.findall(r"`(\w+)\.(\w+)`", METHODS))
        config = RunConfig()
        sections = {section for section, _ in named} & set(methods.every())
        assert {"ppo", "grpo", "rloo", "reinforce", "dpo"} <= sections
        for section, key in named:
            if section in sections:
                assert hasattr(config.section(section), key), f"{section}.{key}"
        assert (config.grpo.samples, config.rloo.samples, config.reinforce.samples) == (4, 4, 1)
        assert (
            "| GRPO | `grpo.samples`, `grpo.variant`, `grpo.kl`, `grpo.even_groups` | 4, grpo, loss, leave |" in METHODS
        )
        assert (config.grpo.variant, config.grpo.kl, config.grpo.even_groups) == ("grpo", "loss", "leave")


def test_contributing_names_files_that_exist() -> None:
    named = re.findall(r"`((?:rewardlab|tests|docs|experiments)/[\w./]+)`", CONTRIBUTING.read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
