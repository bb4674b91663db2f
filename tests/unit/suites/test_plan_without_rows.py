"""Plans of suites whose rows are not here: what is not known is said, nothing is taken for finished, no run begins."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.annotate.preview import Preview
from rewardlab.cli import main as cli
from rewardlab.cli.suite_plan import UNNAMED
from rewardlab.config import DataConfig, RunConfig
from rewardlab.errors import DataError
from rewardlab.pipeline.rows import UNREAD, Rows
from rewardlab.suites.plan import make_plan
from rewardlab.tasks import tasks
from rewardlab.tasks.rows import RowsMissing
from tests.support.fake_suite import FakeSuite
from tests.support.models import tiny_llama

HUB = DataConfig(seed=0, source="hub")
BUNDLED = DataConfig(seed=0, source="bundled")
SUITE = """
name = "small"
[settings]
task = "sst2,qnli"
format = "judgement"
"data.source" = "bundled"
"data.labelled" = 4
"data.prompts" = 4
"data.test" = 4
[[method]]
stage = "base"
[[method]]
name = "PPO-ST"
stage = "ppo"
scope = "each"
settings = { "init" = "base", "ppo.steps" = 6 }
"""


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    monkeypatch.setattr("rewardlab.tasks.hub.offline_reason", lambda: "no route to the hub")
    model = tiny_llama(tmp_path / "model")  # the default one knows the sandbox's language alone
    (tmp_path / "small.toml").write_text(SUITE.replace("[settings]", f'[settings]\n"model.name" = "{model}"'))


class TestRows:
    def test_what_is_lacking_is_refused_unless_it_may_lack(self) -> None:
        with pytest.raises(RowsMissing, match="no rows for task qnli"):
            Rows().splits(tasks.get("qnli"), HUB, "label")

    def test_what_is_lacking_is_named_with_the_reason(self) -> None:
        rows = Rows(may_lack=True)
        assert rows.splits(tasks.get("qnli"), HUB, "label").tests == {}
        assert rows.splits(tasks.get("sst2"), BUNDLED, "label").labelled
        assert list(rows.lacking) == ["qnli"]
        assert "no route to the hub" in rows.lacking["qnli"]

    def test_other_rows_stay_other_rows(self) -> None:
        """Task, part, format and limit each make a difference, so that no two stages become one."""
        rows = Rows(may_lack=True)
        qnli, rte = tasks.get("qnli"), tasks.get("rte")
        found = [
            rows.sha256(qnli, HUB, "label", ("tests",)),
            rows.sha256(rte, HUB, "label", ("tests",)),
            rows.sha256(qnli, HUB, "label", ("tests", "labelled")),
            rows.sha256(qnli, HUB, "judgement", ("tests",)),
            rows.sha256(qnli, DataConfig(seed=0, source="hub", test=7), "label", ("tests",)),
        ]
        assert len(set(found)) == len(found)
        assert all(each.startswith(UNREAD) for each in found)
        assert found[0] == Rows(may_lack=True).sha256(qnli, HUB, "label", ("tests",))

    def test_a_damaged_row_is_an_error_in_a_plan_too(self, tmp_path: Path) -> None:
        (tmp_path / "qnli").mkdir()
        (tmp_path / "qnli" / "train.jsonl").write_text('{"sentence1": "Who?", "label": "entailment"}\n')
        with pytest.raises(DataError, match=r"train\.jsonl line 1"):
            Rows(may_lack=True).splits(tasks.get("qnli"), DataConfig(seed=0, source="local", dir=tmp_path), "label")


class TestPlan:
    @pytest.mark.parametrize(("hash", "requests"), [(f"{UNREAD}1", None), ("ab12", 5)])
    def test_requests_are_unknown_where_rows_are(self, tmp_path: Path, hash: str, requests: int | None) -> None:
        made = FakeSuite(tmp_path)
        asking = replace(made.stage("pairs", "asking", rows={"toy": hash}), preview=lambda: Preview(5, 0.25, ""))
        quiet = made.stage("eval", "quiet", {"pairs": asking}, rows={"toy": hash})
        plan = make_plan([replace(made.cell("A", 0), goals=(quiet,))], tmp_path)
        assert [(row.kind, row.requests) for row in plan.rows] == [("pairs", requests), ("eval", 0)]
        assert plan.total.requests == requests
        assert plan.total.cost_usd == (None if requests is None else 0.25)

    def test_a_stage_lacks_the_rows_of_what_it_needs(self, tmp_path: Path) -> None:
        made = FakeSuite(tmp_path)
        unread = made.stage("sft", "unread", rows={"toy": f"{UNREAD}1"})
        assert not made.stage("eval", "on top", {"model": unread}, rows={"other": "ab12"}).has_rows
        assert made.stage("eval", "beside", rows={"other": "ab12"}).has_rows


def suite_run(*options: str) -> int:
    return cli.run(["suite", "run", "small.toml", "--runs", "runs", *options])


def test_the_plan_says_what_is_lacking(capsys: pytest.CaptureFixture[str]) -> None:
    """sst2 comes with the package, qnli does not: what reads qnli has no folder yet."""
    assert suite_run("--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    places = [line.split(": ")[1] for line in lines if line.startswith("[to run]")]
    assert [place == UNNAMED for place in places] == [True, False, True]
    assert places[1].startswith("runs/eval/sst2-ppo-st-")
    (told,) = [line for line in lines if line.startswith("the plan stands")]
    assert "no rows for task qnli (bundled: no sample comes with rewardlab)" in told
    assert "sst2" not in told
    assert not Path("runs").exists()


def test_several_tasks_without_rows_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert suite_run("--dry-run", "--source", "hub") == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("the plan stands")]
    assert "no rows for task sst2 (hub: nyu-mll/glue: no route to the hub)" in told
    assert told.endswith("Nor are there any for qnli")


def test_a_plan_needs_no_key_of_a_hosted_annotator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rationales for a right and a wrong label of 4 labelled rows, and of the validation rows."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    text = SUITE.replace("sst2,qnli", "sst2").replace('"judgement"', '"rationale"').replace('"init" = "base", ', "")
    hosted = '[settings]\n"model.name" = "model"\n"annotate.annotator" = "openai"\n"data.validation" = 3'
    Path("small.toml").write_text(text.replace("[settings]", hosted))
    assert suite_run("--dry-run") == 0
    said = capsys.readouterr().out
    assert re.search(r"annotate +│ +0 │ +1 │ +unknown │ +14 │ +0\.\d+ │", said)
    (told,) = [line for line in said.splitlines() if line.startswith("the plan stands")]
    assert "OPENAI_API_KEY is not set" in told
    assert suite_run() == 2
    assert "OPENAI_API_KEY is not set" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_run_without_rows_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert suite_run() == 2
    told = capfd.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "no rows for task qnli" in told.err
    assert not Path("runs").exists()


def test_the_default_task_needs_no_files() -> None:
    config = RunConfig()
    rows = Rows(may_lack=True)
    assert rows.splits(tasks.get(config.task), config.rows, config.format).labelled
    assert rows.lacking == {}
