"""One budget for all that a command asks: its stages share a purse, finished ones are counted, processes do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rewardlab.annotate.base import Resources
from rewardlab.annotate.lost_requests import LostRequests
from rewardlab.annotate.money import BudgetError, Price, Purse, Spending, booked_tokens, estimated
from rewardlab.annotate.oracle import SandboxAnnotator
from rewardlab.annotate.preview import Preview, total_text
from rewardlab.config_loading import load_config
from rewardlab.errors import InputError
from rewardlab.pipeline.runner import Runner
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages import annotate, pairs
from rewardlab.runs import RunFolder
from rewardlab.suites.cells import Cell
from rewardlab.suites.local import Workers
from rewardlab.suites.run import Here, build
from rewardlab.suites.scheduler import Scheduler
from rewardlab.training.progress import Silent

PRICE = Price(prompt=10, response=100)
"""100 000 response tokens cost 10 USD."""


def asking(name: str, inputs: Mapping[str, Stage] | None = None, budget: float = 15.0) -> Stage:
    """A stage that spends 10 USD if the command's budget allows it."""

    def run(job: Work) -> dict[str, Any]:
        ledger = Spending(PRICE, budget, job.purse)
        ledger.reserve(10.0)
        ledger.settle(10.0, 0, 100_000)
        return {"spent": ledger.to_json()}

    config = {"annotate": {"budget_usd": budget}}
    preview = Preview(3, 10.0, "three requests")
    return Stage("annotate", name, name, {"name": name}, inputs or {}, run, config=config, preview=lambda: preview)


def test_stages_of_a_command_share_its_budget(tmp_path: Path) -> None:
    first = asking("rationales")
    with pytest.raises(BudgetError, match=r"budget_usd = 15.0: \$10.0000 are spent"):
        Runner(tmp_path, lambda line: None).execute(asking("rankings", {"annotate": first}))
    assert first.folder(tmp_path).is_done


def test_a_stage_that_an_earlier_command_paid_for_is_counted(tmp_path: Path) -> None:
    first = asking("rationales")
    Runner(tmp_path, lambda line: None).execute(first)
    with pytest.raises(BudgetError):
        Runner(tmp_path, lambda line: None).execute(asking("rankings", {"annotate": first}))
    enough = asking("rankings", {"annotate": first}, budget=20.0)
    assert Runner(tmp_path, lambda line: None).execute(enough).is_done


def cell(*goals: Stage) -> Cell:
    return Cell("m", "t", "sandbox-tiny", 0, goals, "base")


def test_a_suite_counts_what_it_found(tmp_path: Path) -> None:
    first, second = asking("rationales"), asking("others")
    Runner(tmp_path, lambda line: None).execute(first)
    scheduler = Scheduler([cell(first, second)], tmp_path)
    build(scheduler, Here(Runner(tmp_path, lambda line: None), scheduler.done()))
    ((_, error),) = scheduler.failures()
    assert "$10.0000 are spent" in error


def test_several_processes_cannot_keep_a_budget(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"annotate.budget_usd is kept by one process, and rationales .* --jobs 1"):
        build(Scheduler([cell(asking("rationales"))], tmp_path), Workers(2, ["false"]))


class Asked(Exception):
    """Raised in place of building an annotator."""


def test_both_annotating_stages_get_the_commands_purse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    purses: list[Purse | None] = []

    def build(given: Resources) -> None:
        purses.append(given.purse)
        raise Asked

    monkeypatch.setattr(SandboxAnnotator, "build", build)
    job = Work(RunFolder(tmp_path / "x", "pairs", {}), {}, Silent(), lambda what, done, total: None)
    works: list[Callable[[], object]] = [
        lambda: annotate.annotate(job, load_config({}), {}, tmp_path),
        lambda: pairs.pairs(job, load_config({}), "ranked", {}, tmp_path),
    ]
    for work in works:
        with pytest.raises(Asked):
            work()
    assert [purse is job.purse for purse in purses] == [True, True]


def test_a_plan_of_several_stages_has_a_total() -> None:
    first, second = Preview(3, 0.25, ""), Preview(4, 0.5, "")
    assert total_text([first, second], None) == "7 requests, $0.7500"
    assert total_text([first, second], 5.0) == "7 requests, $0.7500 of a budget of $5"
    assert total_text([first, Preview(1, None, "")], 5.0) == "4 requests, cost unknown"


def test_tokens_that_nobody_counted_are_booked_by_estimate() -> None:
    assert booked_tokens(estimated({"prompt_tokens": None, "response_tokens": None}, 9, 160)) == (9, 160)
    assert booked_tokens(estimated({"prompt_tokens": 7, "response_tokens": None}, 9, 160)) == (7, 160)
    assert estimated({"prompt_tokens": 7, "response_tokens": 0}, 9, 160) == {"prompt_tokens": 7, "response_tokens": 0}
    assert booked_tokens({"text": "free"}) == (0, 0)


def test_lost_money_is_remembered_by_request(tmp_path: Path) -> None:
    journal = tmp_path / "openai.jsonl"
    lost = LostRequests(journal)
    lost.note("a", {"response_tokens": 1000}, is_certain=False)
    lost.note("a", {"response_tokens": 2000}, is_certain=True)
    lost.note("b", {"response_tokens": 4000}, is_certain=True)
    ledger = Spending(PRICE)
    for record in LostRequests(journal).of({"a", "c"}):
        ledger.add_earlier(record)
    assert ledger.at_risk_usd == pytest.approx(0.1)  # 1000 tokens at 100 USD a million
    assert ledger.earlier_usd == pytest.approx(0.2)
