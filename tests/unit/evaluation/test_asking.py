"""Prompts of an evaluation: solved examples that fit the model's context, and a count of those that did not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rewardlab.config import ModelConfig
from rewardlab.errors import DataError
from rewardlab.evaluation.asking import Questions
from rewardlab.evaluation.few_shot import Demonstration, few_shot_prompt
from rewardlab.models import Codec, load_codec, load_trunk
from rewardlab.tasks.task import prompt_of, tasks
from rewardlab.types import Example
from tests.support.models import tiny_gpt2, tiny_llama, tiny_model

TASK = tasks.get("sst2")
QUESTION = Example("sst2", "q", {"text": "the film is good"}, "positive", "label")
SHOTS = [
    Demonstration(Example("sst2", f"d{number}", {"text": f"film number {number} is fine"}, "positive"))
    for number in range(5)
]
LONG = "the plot is fine but the end was bad " * 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def codec(model: Path) -> Codec:
    return load_codec(ModelConfig(name=str(model), max_prompt_tokens=120))


def length(codec: Codec, shots: list[Demonstration]) -> int:
    return len(codec.text_prompt_ids(few_shot_prompt(TASK, QUESTION, shots), "label"))


def test_all_examples_are_shown_where_they_fit(codec: Codec, caplog: pytest.LogCaptureFixture) -> None:
    questions = Questions(codec, length(codec, SHOTS), {"sst2": SHOTS})
    asked = questions.ask(QUESTION)
    assert asked.text == few_shot_prompt(TASK, QUESTION, SHOTS)
    assert asked.ids == codec.text_prompt_ids(asked.text, "label")
    assert questions.counts() == {"prompts": 1, "cut": 0, "shown": {"5": 1}}
    questions.warn()
    assert caplog.text == ""


def test_examples_are_left_out_from_the_front_and_counted(codec: Codec, caplog: pytest.LogCaptureFixture) -> None:
    """One token short of four examples: the last three stay."""
    longest = length(codec, SHOTS[1:]) - 1
    questions = Questions(codec, longest, {"sst2": SHOTS})
    asked = questions.ask(QUESTION)
    assert asked.text == few_shot_prompt(TASK, QUESTION, SHOTS[2:])
    assert len(asked.ids) <= longest
    assert questions.counts() == {"prompts": 1, "cut": 0, "shown": {"3": 1}}
    with caplog.at_level(logging.WARNING):
        questions.warn()
    assert f"1 of 1 prompts show fewer than 5 examples, since the model's context holds {longest} tokens" in caplog.text


def test_long_texts_are_cut_as_everywhere(codec: Codec, caplog: pytest.LogCaptureFixture) -> None:
    """The question's and an example's own: each prompt is what it would be alone."""
    long = Demonstration(Example("sst2", "long", {"text": LONG}, "negative", "label"))
    asking = Example("sst2", "asking", {"text": LONG[4:]}, "negative", "label")
    questions = Questions(codec, None, {"sst2": [long]})
    shown = questions.text(QUESTION)
    assert shown.startswith(prompt_of(codec.fitted(long.example)))
    assert prompt_of(codec.fitted(asking)) == questions.text(asking).split("\n\n", 2)[-1]
    assert codec.prompt_ids(long.example) == codec.text_prompt_ids(prompt_of(codec.fitted(long.example)), "label")
    assert questions.counts() == {"prompts": 2, "cut": 2, "shown": {"1": 2}}
    questions.warn()
    assert "2 of 2 prompts have a text cut to model.max_prompt_tokens = 120" in caplog.text


def test_zero_shot_prompts_are_those_of_training(codec: Codec) -> None:
    questions = Questions(codec, 200)
    for example in (QUESTION, Example("sst2", "long", {"text": LONG}, "negative", "label")):
        assert questions.ids(example) == codec.prompt_ids(example)
    assert questions.counts() == {"prompts": 2, "cut": 1, "shown": {"0": 2}}


def test_a_question_that_does_not_fit_by_itself_is_an_error(codec: Codec) -> None:
    longest = length(codec, []) - 1
    with pytest.raises(DataError, match=rf"row q: .* the model's context holds {longest} beside the response; lower"):
        Questions(codec, longest, {"sst2": SHOTS}).ask(QUESTION)


def test_models_say_how_long_their_context_is(model: Path, tmp_path: Path) -> None:
    """512 positions in the Llama and the GPT-2 of the tests, 256 in their MPT; Bloom has no bound."""
    folders = [model, tiny_gpt2(tmp_path / "gpt2"), *(tiny_model(f, tmp_path / f) for f in ("mpt", "bloom"))]
    found = [load_trunk(ModelConfig(name=str(folder), dtype="float32")).context for folder in folders]
    assert found == [512, 512, 256, None]
