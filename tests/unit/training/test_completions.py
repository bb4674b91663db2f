"""What a server is asked for a response, and what of its answer is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rewardlab.config import ModelConfig
from rewardlab.models.codec import Codec
from rewardlab.models.sampler import Sample, SamplingConfig
from rewardlab.training.completions import BadCompletion, completion_request, read_completion
from tests.support.models import tiny_tokenizer

PROMPT = [7, 8, 9]
VOCABULARY = 1000


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(tiny_tokenizer(), ModelConfig())


def answer(ids: list[int], **changed: Any) -> str:
    """A body with these ids; a part that is given as None is left out."""
    table = {
        "tokens": [f"token_id:{token}" for token in ids],
        "token_logprobs": [-float(n + 1) for n in range(len(ids))],
    }
    choice = {"token_ids": ids, "prompt_token_ids": PROMPT, "logprobs": table, "finish_reason": "stop", **changed}
    return json.dumps({"choices": [{name: part for name, part in choice.items() if part is not None}]})


def read(codec: Codec, text: str, budget: int = 6, stop: tuple[str, ...] = ()) -> Sample:
    return read_completion(text, PROMPT, SamplingConfig(budget, stop=stop), codec, {codec.eos_id}, VOCABULARY)


class TestRequest:
    def test_everything_that_shapes_the_draw_is_sent(self) -> None:
        config = SamplingConfig(5, 0.7, ("</Judgement>",))
        assert completion_request("policy-1", PROMPT, -(2**62) - 5, config, {3, 1}) == {
            "model": "policy-1",
            "prompt": [7, 8, 9],
            "max_tokens": 5,
            "temperature": 0.7,
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": 2**31 - 5,  # the key modulo 2^31
            "stop_token_ids": [1, 3],
            "stop": ["</Judgement>"],
            "logprobs": 1,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }

    def test_a_stop_string_of_white_space_is_not_sent(self) -> None:
        """It does not end a response that it begins, here; a server would end it."""
        assert "stop" not in completion_request("m", PROMPT, 1, SamplingConfig(5, stop=("\n",)), {1})


class TestRead:
    def test_a_finished_response(self, codec: Codec) -> None:
        good = codec.response_ids("good")
        found = read(codec, answer(good))
        assert (found.ids, found.text, found.is_finished) == (tuple(good), "good", True)
        assert found.drawn == tuple(-float(n + 1) for n in range(len(good)))

    def test_a_cut_one(self, codec: Codec) -> None:
        ids = codec.response_ids("the film is good and fine", end=False)[:6]
        found = read(codec, answer(ids, finish_reason="length"))
        assert (found.ids, found.is_finished) == (tuple(ids), False)
        assert found.text == codec.decode(ids)

    def test_ids_out_of_the_names(self, codec: Codec) -> None:
        ids = codec.response_ids("good")
        assert read(codec, answer(ids, token_ids=None)).ids == tuple(ids)

    def test_it_ends_where_it_ends_here(self, codec: Codec) -> None:
        """A line break in front ends nothing; the one behind the answer does, and what comes after it is left out."""
        newline, good = codec.response_ids("\n", end=False), codec.response_ids("good", end=False)
        ids = [*newline, *good, *newline, *good]
        found = read(codec, answer(ids), budget=20, stop=("\n",))
        assert (list(found.ids), found.is_finished) == ([*newline, *good, *newline], True)
        assert found.drawn == tuple(-float(n + 1) for n in range(len(found.ids)))

    def test_what_lies_beyond_the_budget_is_left_out(self, codec: Codec) -> None:
        ids = codec.response_ids("the film is good and the plot is fine")
        found = read(codec, answer(ids), budget=3)
        assert (found.ids, found.is_finished) == (tuple(ids[:3]), False)


BAD: dict[str, tuple[str, str]] = {
    "no body": ("[]", "is no completion: '\\[\\]'"),
    "no JSON": ("<html>", "is no completion: '<html>'"),
    "no choices": ('{"choices": []}', "is no completion"),
    "a choice of text": ('{"choices": ["good"]}', "is no completion"),
    "another prompt": (answer([5, 1], prompt_token_ids=[7, 8]), "prompt of 2 tokens that is not the one sent, of 3"),
    "no log-probabilities": (answer([5, 1], logprobs=None), "no log-probabilities"),
    "names that are texts": (
        answer([5, 1], token_ids=None, logprobs={"tokens": ["a", "b"], "token_logprobs": [-1.0, -1.0]}),
        "no token ids; it has to know return_token_ids",
    ),
    "one too few": (answer([5, 1], logprobs={"token_logprobs": [-1.0]}), "2 tokens and 1 log-probabilities"),
    "none that is a number": (
        answer([5, 1], logprobs={"token_logprobs": [-1.0, None]}),
        "None as the log-probability of a token",
    ),
    "infinite": (answer([5, 1], logprobs={"token_logprobs": [-1.0, float("-inf")]}), "-inf as the log-probability"),
    "a large vocabulary": (answer([5, VOCABULARY]), "token 1000, and the model here has 1000: it serves another model"),
    "an end of its own": (
        answer([5, 6]),
        "after 2 of 6 tokens .finish_reason 'stop'. with token 6, which ends none here",
    ),
    "nothing": (answer([]), "after 0 of 6 tokens"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_on_is_refused(codec: Codec, case: str) -> None:
    text, said = BAD[case]
    with pytest.raises(BadCompletion, match=said):
        read(codec, text)
