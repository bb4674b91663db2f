"""The reward ``rubric`` in stages: what enters their identity, what is refused, what an interrupted one remembers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_jsonl
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.stages.rubric import GRADED_FILE, rubric_of, spent_on
from rewardlab.tasks import resolve_task

SMALL = {f"data.{part}": 8 for part in ("labelled", "prompts", "validation", "test")}


def config(**settings: Any) -> Any:
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return load_config({"task": "sandbox-sentiment", "init": "base", **SMALL, **dotted}, NO_FILE)


def stage(method: str = "ppo", **settings: Any) -> Stage:
    return Pipeline(config(**settings), Path("runs")).train(method)


def test_without_it_nothing_of_it_is_in_the_identity() -> None:
    plain = stage()
    assert "rubric" not in plain.settings
    assert stage(rubric__scale="1-5", rubric__template="rationale").fingerprint == plain.fingerprint


def test_words_scale_and_grader_make_another_run(tmp_path: Path) -> None:
    own = tmp_path / "mine.jinja"
    own.write_text("Grade {{ response }}.")

    def fingerprint(**settings: Any) -> str:
        return stage(reward__expression="0.5 * rubric + rule", **settings).fingerprint

    first = fingerprint(rubric__template=str(own))
    assert fingerprint(rubric__template=str(own), annotate__concurrency=2, annotate__temperature=0.1) == first
    own.write_text("Grade {{ response }}!")
    others = [
        fingerprint(rubric__template=str(own)),
        fingerprint(),
        fingerprint(rubric__scale="1-5"),
        fingerprint(annotate__oracle_weight=0.5),
    ]
    assert len({first, *others}) == 5
    asked = stage(reward__expression="rubric").settings["rubric"]
    assert (asked["annotator"], asked["scale"], asked["template"][:2]) == ("sandbox", "0-10", "1-")


def test_a_method_that_needs_the_grades_of_each_step_refuses_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    hosted = {"rubric__annotator": "openai", "annotate__annotator": "openai", "annotate__batch": "submit"}
    with pytest.raises(ConfigError, match=r"annotate.batch = 'submit': grpo needs the grades of each step at once"):
        stage("grpo", reward__expression="rubric", **hosted)
    assert "rubric" not in stage("grpo", reward__expression="rule", **hosted).settings


def test_a_plan_counts_the_grades_of_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    hosted = {"rubric__annotator": "openai", "rubric__model": "gpt-4o-mini", "reward__expression": "rubric"}
    seen = stage("grpo", grpo__steps=3, grpo__batch=8, **hosted).preview()
    assert seen is not None
    assert seen.requests == 24
    assert "24 grades of gpt-4o-mini" in seen.text
    assert seen.cost_usd is not None
    assert seen.cost_usd > 0
    assert stage("ppo", reward__expression="rubric").preview() is None, "the oracle is free"


def test_an_interrupted_stage_goes_on_counting_its_requests(tmp_path: Path) -> None:
    generate = resolve_task("sandbox-sentiment", "test").generate
    assert generate is not None
    rows = list(generate("train", 6, 0))
    job: Any = SimpleNamespace(
        folder=SimpleNamespace(path=tmp_path, stage="ppo"), journals=tmp_path / "annotations", purse=None
    )
    asked = config(reward__expression="rubric - 0.1 * length")
    first = rubric_of(job, asked, rows)
    assert first is not None
    first(rows[:4], [f"The answer is: {row.label}" for row in rows[:4]])
    first(rows[:1], [f"The answer is: {rows[0].label}"])
    assert [len(row["keys"]) for row in read_jsonl(tmp_path / GRADED_FILE)] == [4]
    second = rubric_of(job, asked, rows)
    assert second is not None
    second(rows[3:], ["The answer is: positive"] * 3)
    calls = spent_on(second)["annotator_calls"]
    assert calls == 4 + 3 - (rows[3].label == "positive")
    assert rubric_of(job, config(), rows) is None
    assert spent_on(None) == {}
