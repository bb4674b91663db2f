"""Commands in the pages of ``docs/``: every one parses; those that need nothing run, those that train are planned.

``annotate.md`` has tests of its own too, which run its commands against a server. The studio's commands are parsed
alone, since they go on until they are stopped.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from rewardlab.config import RewardConfig
from rewardlab.config_loading import load_config, parse_setting
from rewardlab.rewards import plan_reward
from rewardlab.rewards.registry import rewards
from rewardlab.tasks import resolve_tasks, tasks
from tests.contract.test_readme import BLOCK, commands, parse
from tests.support.commands import Command, written
from tests.support.pages import DOCS, GENERATED, PAGES, ROOT
from tests.unit.conftest import rewardlab as rewardlab

PLAIN = ("", "bash", "sh")
SEEN = ("tasks", "methods", "annotators", "config", "reward list", "reward show")
"""Commands that only print."""
NEEDS = re.compile(
    r"\b(RUN|RUN_A|RUN_B|RM|DIR|MODEL)\b|meta-llama|smollm2|openai|ppo-nlu|rllr8"
    r"|--task (agnews|cola|mr|emotion|sick|axb)|tickets|theirs|mine|completions|my_rewards|answers\.jsonl"
    r"|bench|compare|log\.jsonl|rescore|^studio|^annotate (merge|review)|experiments/(?!demo)"
)
"""What a command names that is not in an empty folder; ``test_readme.py`` plans every suite."""


def page_commands(page: Path) -> list[list[str]]:
    """The arguments of every ``rewardlab ...`` in a page's plain blocks."""
    blocks = [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in PLAIN]
    return [arguments for text in blocks for arguments in commands(text)]


WRITTEN = [(page.stem, words) for page in PAGES if page.name not in GENERATED for words in page_commands(page)]
DISTINCT = sorted({tuple(words) for _, words in WRITTEN})
PLANNED = [words for words in DISTINCT if not NEEDS.search(" ".join(words)) or "bundled" in words]


def block(page: str, language: str) -> str:
    """The first block of a page in one language."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return next(text for found, text in BLOCK.findall(text) if found == language)


def test_the_pages_have_commands() -> None:
    pages = {page for page, _ in WRITTEN}
    assert {
        "laptop",
        "gpu",
        "own-task",
        "own-reward",
        "reports",
        "which-reward",
        "methods",
        "papers",
        "studio",
        "annotate",
        "tour",
    } <= pages
    assert len(PLANNED) > 20


@pytest.mark.parametrize("words", DISTINCT, ids=" ".join)
def test_each_parses_and_asks_for_what_exists(words: tuple[str, ...]) -> None:
    given = parse(list(words))
    for task in str(given.get("task") or "").split(","):
        if task and not task.endswith(".toml"):
            resolve_tasks(task)
    load_config(dict(map(parse_setting, given.get("set") or [])))
    expression = given.get("reward")
    if expression and ":" not in expression and not given.get("against"):  # else its names are columns of a log
        plan_reward(RewardConfig(expression=expression, lam=given.get("lam"), r2=given.get("r2") or "ranked"))


@pytest.mark.parametrize("words", PLANNED, ids=" ".join)
def test_what_needs_nothing_runs(rewardlab: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """As printed where it only prints, else with ``--dry-run``; suites lie in the repository."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    places = [str(ROOT / word) if word.startswith("experiments/") else word for word in words]
    is_seen = " ".join(words).startswith(SEEN)
    done = rewardlab(*places, *(() if is_seen or "--dry-run" in words else ("--dry-run",)))
    assert done.code == 0, done.err
    assert done.out
    assert written() == []


def test_the_task_of_the_page_is_shown(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.names()  # imports the generated tasks, once and for good, before the registry is copied
    monkeypatch.setattr(tasks, "_entries", dict(tasks._entries))
    row = json.loads(block("own-task", "json"))
    Path("tickets").mkdir()
    Path("tickets/tickets.toml").write_text(block("own-task", "toml"), encoding="utf-8")
    rows = [{"text": f"{row['text']} {number}", "label": row["label"]} for number in range(12)]
    Path("tickets/train.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    [shown] = [words for words in page_commands(DOCS / "own-task.md") if words[0] == "tasks"]
    done = rewardlab(*shown)
    assert done.code == 0, done.err
    assert "bug, question, praise" in done.out


def test_the_reward_of_the_page_scores_its_answer(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    Path("my_rewards.py").write_text(block("own-reward", "python"), encoding="utf-8")
    Path("answers.jsonl").write_text(block("own-reward", "json"), encoding="utf-8")
    typed = [words for words in page_commands(DOCS / "own-reward.md") if words[:2] == ["reward", "score"]]
    done = rewardlab(*typed[0])
    assert done.code == 0, done.err
    row = json.loads(done.out)
    assert row["parts"] == {"rule": 1.0, "my_rewards:polite": 1.0}  # right, and says please
    assert row["score"] == pytest.approx(1.1)
