"""The local annotator against a tiny random model: log-probabilities by hand, journal, budgets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewardlab.annotate.base import RankingRequest, RationaleRequest
from rewardlab.annotate.journal import Journal
from rewardlab.annotate.local import LocalAnnotator, _raw
from rewardlab.annotate.prompting import VERDICTS, judge_request
from rewardlab.annotate.verdicts import verdict_margins
from rewardlab.config_loading import load_config
from rewardlab.models import Sample
from rewardlab.types import Example
from tests.support.models import tiny_llama, tiny_tokenizer

EXAMPLE = Example("mr", "1", {"text": "the film is good"}, "positive")
RESPONSES = ("good film\n\n The answer is: positive", "dull\n\n The answer is: negative", "fine")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [judge_request(EXAMPLE, "good", "bad"), " ".join(VERDICTS)] * 3
    return tiny_llama(tmp_path_factory.mktemp("model"), tiny_tokenizer(words, vocab_size=700))


def annotator(folder: Path, journals: Path, **settings: object) -> LocalAnnotator:
    given = {
        "model.name": str(folder),
        "model.device": "cpu",
        "model.dtype": "float32",
        "annotate.max_new_tokens": 8,
        **settings,
    }
    return LocalAnnotator(load_config(given), Journal(journals / "local.jsonl"))


def without_model(folder: Path, journals: Path) -> LocalAnnotator:
    """An annotator that can only answer from its journal: it breaks when it turns to its model."""
    known = annotator(folder, journals)
    vars(known)["trunk"] = None
    return known


def slow_logprob(model: LocalAnnotator, prompt: list[int], text: str) -> float:
    """One prompt, one verdict, one plain forward pass."""
    verdict = model.trunk.codec.response_ids(text, end=False)
    with torch.inference_mode():
        logits = model.trunk.model(torch.tensor([prompt + verdict])).logits[0].float()
    steps = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return float(steps.gather(1, torch.tensor(verdict)[:, None]).sum())


def test_margins_are_the_difference_of_both_verdicts_logprobs(folder: Path, tmp_path: Path) -> None:
    model = annotator(folder, tmp_path)
    texts = [judge_request(EXAMPLE, *two) for two in ((RESPONSES[0], "x"), ("y", RESPONSES[1]), ("a " * 20, "b"))]
    prompts = [model.trunk.codec.text_prompt_ids(text, "rationale") for text in texts]  # of different lengths
    expected = [slow_logprob(model, ids, VERDICTS[0]) - slow_logprob(model, ids, VERDICTS[1]) for ids in prompts]
    assert verdict_margins(model.trunk, prompts) == pytest.approx(expected, abs=1e-4)
    assert max(map(abs, expected)) > 0.05  # otherwise the comparison says nothing


def test_a_ranking_asks_both_orders_and_is_journalled(folder: Path, tmp_path: Path) -> None:
    (first,) = annotator(folder, tmp_path).rank_many([RankingRequest(EXAMPLE, RESPONSES)])
    assert len(first.places) == 3
    assert len(Journal(tmp_path / "local.jsonl").get(first.annotation.key)["margins"]) == 6  # type: ignore[index]
    (second,) = without_model(folder, tmp_path).rank_many([RankingRequest(EXAMPLE, RESPONSES)])
    assert second.places == first.places
    assert second.annotation.from_journal


def test_rationales_are_sampled_once_and_do_not_depend_on_their_batch(folder: Path, tmp_path: Path) -> None:
    requests = [RationaleRequest(EXAMPLE, label) for label in ("positive", "negative")]
    together = annotator(folder, tmp_path / "a").rationales([*requests, requests[0]])
    alone = [annotator(folder, tmp_path / "b").rationales([request])[0] for request in requests]
    assert [answer.text for answer in together] == [alone[0].text, alone[1].text, alone[0].text]
    assert len(Journal(tmp_path / "a" / "local.jsonl")) == 2
    again = without_model(folder, tmp_path / "a").rationales(requests)
    assert all(answer.from_journal for answer in again)
    assert [answer.text for answer in again] == [answer.text for answer in together[:2]]


def test_only_the_text_of_a_long_row_is_cut(folder: Path, tmp_path: Path) -> None:
    model = annotator(folder, tmp_path)
    long = Example("mr", "2", {"text": "good film " * 500}, "positive")
    ids = model.prompt_ids(long, lambda row: judge_request(row, "good", "bad"))
    text = model.trunk.codec.decode(ids)
    assert len(ids) <= 512 - 8
    assert "[Answer 2] bad" in text
    assert text.endswith("and then give your rationale.")


@pytest.mark.parametrize(
    ("text", "finished", "kept", "finish"),
    [
        ("It is good. And it", True, "It is good. And it", "stop"),
        ("It is good. And it", False, "It is good.", "stop"),
        ('He said "yes!" and then', False, 'He said "yes!"', "stop"),
        ("It is so very", False, "It is so very", "length"),
    ],
)
def test_a_cut_rationale_ends_behind_its_last_sentence(text: str, finished: bool, kept: str, finish: str) -> None:
    record = _raw(Sample((1, 2), text, finished), mends=True)
    assert (record["text"], record["finish"], record["response_tokens"]) == (kept, finish, 2)


def test_a_model_that_was_trained_since_is_asked_again(tmp_path: Path) -> None:
    """Same folder name, other weights: what the old ones wrote is no answer."""
    request = [RationaleRequest(EXAMPLE, "positive")]
    folder = tiny_llama(tmp_path / "model")
    first = annotator(folder, tmp_path).rationales(request)[0]
    assert annotator(folder, tmp_path).rationales(request)[0].from_journal
    tiny_llama(folder, seed=1)
    second = annotator(folder, tmp_path).rationales(request)[0]
    assert not second.from_journal
    assert first.key != second.key
