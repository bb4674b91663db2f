"""Hosted models and chain of thought as settings of an evaluation: whose identity they belong to, what is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardlab.annotate.base import Annotation
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.stages.hosted import as_response, decodings_of
from rewardlab.types import AnswerFormat


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any text")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def evaluation(root: Path, *, trained: bool = False, **settings: Any) -> Stage:
    found = {"task": "sandbox-topic", **{key.replace("__", "."): value for key, value in settings.items()}}
    pipeline = Pipeline(load_config(found, NO_FILE), root)
    return pipeline.eval(pipeline.sft(True) if trained else None)


def test_a_hosted_model_is_no_part_of_what_trained_runs_answer(tmp_path: Path) -> None:
    plain, hosted = (evaluation(tmp_path, trained=True, **each) for each in ({}, {"eval__hosted__model": "m"}))
    assert plain.fingerprint == hosted.fingerprint
    assert "hosted" not in plain.settings["eval"]
    assert "chain_of_thought" not in plain.settings["eval"]


def test_what_its_answers_depend_on_is_its_identity(tmp_path: Path) -> None:
    base = {"eval__hosted__model": "m"}
    changes: list[dict[str, Any]] = [
        {},
        {"eval__hosted__model": "n"},
        {"eval__hosted__base_url": "http://127.0.0.1:9/v1"},
        {"eval__hosted__decodings": ["greedy"]},
        {"eval__chain_of_thought": True},
        {"eval__shots": 2},
        {"model__max_new_tokens": 9},
        {"seed": 1},
        {"annotate__extra_body": {"top_p": 0.5}},
    ]
    found = [evaluation(tmp_path, **{**base, **each}).fingerprint for each in changes]
    assert len(set(found)) == len(changes)
    same = ({"eval__batch": 3}, {"annotate__concurrency": 2}, {"annotate__budget_usd": 1.0}, {"lora__rank": 2})
    prices = {"annotate__prices": None, "eval__hosted__model": "gpt-4o"}
    assert {evaluation(tmp_path, **{**prices, **each}).fingerprint for each in same} == {
        evaluation(tmp_path, **prices).fingerprint
    }


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ({}, "zero-shot"),
        ({"eval__chain_of_thought": True}, "zero-shot CoT"),
        ({"eval__chain_of_thought": True, "eval__shots": 5}, "5-shot CoT"),
        ({"eval__hosted__model": "gpt-4o"}, "gpt-4o zero-shot"),
        ({"eval__hosted__model": "gpt-4o", "eval__shots": 5}, "gpt-4o 5-shot"),
    ],
)
def test_its_name_says_how_it_was_asked(tmp_path: Path, settings: dict[str, Any], title: str) -> None:
    assert evaluation(tmp_path, **settings).settings["method"] == title


def test_a_model_that_reasons_answers_sampled_alone() -> None:
    def decodings(model: str) -> tuple[str, ...]:
        return decodings_of(load_config({"annotate.model": model}, NO_FILE))

    assert decodings("gpt-4o") == ("sampled", "greedy")
    assert decodings("o4-mini") == decodings("gpt-5") == ("sampled",)


@pytest.mark.parametrize(
    ("format", "text", "response"),
    [
        ("judgement", "<Judgement> Yes </Judgement>", " Yes </Judgement>"),
        ("judgement", "I say:\n<Judgement>No</Judgement> It is clear.", "No</Judgement>"),
        ("judgement", "Yes </Judgement>", "Yes </Judgement>"),
        ("judgement", "Yes", "Yes"),
        ("label", "\n positive\nsince it is good", "positive\n"),
        ("rationale", "a\nb\n\nThe answer is: x\n", "a\nb\n\nThe answer is: x"),
    ],
)
def test_an_answer_is_cut_as_that_of_a_local_model(format: AnswerFormat, text: str, response: str) -> None:
    found = as_response(Annotation("key", text, "answered", "openai", "m"), format)
    assert (found.text, found.finished) == (response, True)


@pytest.mark.parametrize("outcome", ["refused", "filtered", "failed", "unparsable"])
def test_what_is_no_answer_is_empty(outcome: Any) -> None:
    found = as_response(Annotation("key", "I cannot say: positive", outcome, "openai", "m"), "label")
    assert (found.text, found.finished) == ("", False)
