"""The encoder on a tiny random BERT: what it reads, that it learns, what is stored, that it goes on where it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rewardlab.config import RunConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError
from rewardlab.runs import RunFolder
from rewardlab.tasks.task import tasks
from rewardlab.training import encoder as module
from rewardlab.training.encoder import Encoder, train_encoder
from rewardlab.types import Example
from tests.support.interrupted import Cut
from tests.support.models import tiny_bert

WORDS = {"positive": ("good", "fine", "great"), "negative": ("bad", "dull", "poor")}
NOISE = ("film", "plot", "end", "cast")
REVIEWS = [
    Example("sst2", f"{label}-{i}", {"text": f"the {NOISE[i % 4]} is {words[i % 3]}"}, label, "label")
    for label, words in WORDS.items()
    for i in range(12)
]
"""Twelve distinct texts a label, for each word and noun once."""
SECOND = [
    Example("rte", f"{label}-{i}", {"sentence1": f"the {NOISE[i % 4]}", "sentence2": words[i % 3]}, label, "label")
    for label, words in zip(("entailment", "not_entailment"), WORDS.values(), strict=True)
    for i in range(12)
]
"""Only the second text tells the label."""
SIMILAR = [
    Example("stsb", f"{word}-{noun}", {"sentence1": f"the {noun}", "sentence2": word}, 5.0 * place / 5, "label")
    for place, word in enumerate((*WORDS["positive"], *WORDS["negative"]))
    for noun in NOISE
]
"""The second text alone tells the number, 0 to 5."""

CHOICES = [
    Example(
        "record",
        f"{noun}-{i}",
        {"passage": f"the {noun}", "query": "is", "entities": " | ".join((bad, good, "dull"))},
        good,
        "label",
    )
    for noun in NOISE
    for i, (good, bad) in enumerate(zip(WORDS["positive"], WORDS["negative"], strict=True))
]
"""Good words are right, whatever the row."""


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [*sum(WORDS.values(), ()), *NOISE, "the", "is"]
    return tiny_bert(tmp_path_factory.mktemp("models") / "bert", words)


def config(**encoder: object) -> RunConfig:
    own = {"lr": 3e-3, "epochs": 15, "batch": 8, "micro_batch": 8, **encoder}
    return RunConfig.model_validate(
        {"encoder": own, "model": {"name": "unused", "device": "cpu"}, "lora": {"rank": 4, "alpha": 8}}
    )


def opened(path: Path) -> RunFolder:
    folder = RunFolder(path, "encoder", {})
    folder.open()
    return folder


def fitted(bert: Path, folder: Path, rows: list[Example], **settings: object) -> dict[str, Any]:
    task, found = tasks.get(rows[0].task), config(**settings)
    return train_encoder(opened(folder), found, str(bert), task, rows, validation=rows[::2])


def loaded(bert: Path, folder: Path, task: str, name: str = "adapter") -> Encoder:
    return Encoder.load(folder / name, str(bert), tasks.get(task), config().encoder, "cpu")


def test_it_reads_the_fields_and_not_the_prompt(bert: Path) -> None:
    encoder = Encoder.fresh(str(bert), tasks.get("rte"), config(max_length=9).encoder, "cpu")
    assert encoder.text(SECOND[0]) == "the film <eos> good"
    ids = encoder.tokenizer.convert_tokens_to_ids
    encoded = encoder.encode([SECOND[0], replace(SECOND[0], fields={"sentence1": "the " * 20, "sentence2": "good"})])
    assert encoded.rows[0]["input_ids"] == ids(["the", "film", "good"])
    assert encoded.rows[1]["input_ids"] == ids(["the"] * 8 + ["good"]), "the longer text is cut, the other is whole"
    assert encoded.cut == 1


def test_three_texts_stand_one_behind_the_other(bert: Path) -> None:
    encoder = Encoder.fresh(str(bert), tasks.get("wic"), config().encoder, "cpu")
    row = Example("wic", "1", {"word": "good", "sentence1": "the film", "sentence2": "the plot"}, "yes", "label")
    assert encoder.text(row) == "good <eos> the film <eos> the plot"
    wanted = ["good", "the", "film", "<eos>", "the", "plot"]
    assert encoder.tokenizer.convert_ids_to_tokens(encoder.encode([row]).rows[0]["input_ids"]) == wanted


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("rows", [REVIEWS, SECOND], ids=["one text", "second of two"])
def test_it_learns_and_answers_the_same_from_its_folder(
    bert: Path, tmp_path: Path, rows: list[Example], tuning: str
) -> None:
    result = fitted(bert, tmp_path / "run", rows, tuning=tuning, lr=3e-3 if tuning == "full" else 2e-2)
    answers = loaded(bert, tmp_path / "run", rows[0].task).answers(rows, batch=5)
    assert answers == [row.label for row in rows]
    assert result["validation"]["last"]["accuracy"] == 1.0
    assert result["steps"] == 45
    assert result["parameters"]["trained"] < result["parameters"]["all"] or tuning == "full"
    untrained = Encoder.fresh(str(bert), tasks.get(rows[0].task), config().encoder, "cpu").answers(rows, batch=5)
    assert untrained != answers


def test_adapters_leave_the_weights_beneath_alone(bert: Path, tmp_path: Path) -> None:
    fitted(bert, tmp_path / "run", REVIEWS, tuning="lora", epochs=2)
    stored = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert {name.rsplit(".", 2)[-2] for name in stored} == {"lora_A", "lora_B", "classifier"}
    assert sum("query.lora_A" in name for name in stored) == 2, "a layer each"


def test_numbers_are_fitted_and_kept_in_their_range(bert: Path, tmp_path: Path) -> None:
    result = fitted(bert, tmp_path / "run", SIMILAR, epochs=30)
    encoder = loaded(bert, tmp_path / "run", "stsb")
    answers = encoder.answers(SIMILAR, batch=7)
    assert max(abs(float(answer) - float(row.label or 0)) for answer, row in zip(answers, SIMILAR, strict=True)) < 0.6
    assert result["validation"]["last"]["accuracy"] > 0.98, "Pearson"
    assert encoder._labels(torch.tensor([[7.5], [-1.0], [2.25]])) == [5.0, 0.0, 2.25]


def test_the_best_epoch_is_kept_beside_the_last(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured after each of three epochs as 0.5, 0.75 and 0.75: the second is the earliest of the best."""
    values = iter([0.5, 0.75, 0.75])
    kept: dict[str, torch.Tensor] = {}
    look = module._Looks._look

    def told(self: Any, step: int) -> None:
        look(self, step)
        if step == 6:
            kept.update(self._weights())

    monkeypatch.setattr(module._Looks, "_look", told)
    monkeypatch.setattr(module.metrics, "score_predictions", lambda *_: next(values))
    result = fitted(bert, tmp_path / "run", REVIEWS, epochs=3)
    assert result["validation"]["best"]["step"] == 6
    assert result["validation"]["last"]["step"] == 9
    best, last = (load_file(tmp_path / "run" / name / "model.safetensors") for name in ("adapter-best", "adapter"))
    assert all(torch.equal(best[name], weight) for name, weight in kept.items())
    assert not torch.equal(best["classifier.weight"], last["classifier.weight"])


def test_one_epoch_measures_nothing(bert: Path, tmp_path: Path) -> None:
    result = fitted(bert, tmp_path / "run", REVIEWS, epochs=1)
    assert (result["validation"], result["candidates"]) == (None, 1)
    assert not (tmp_path / "run" / "adapter-best").exists()


def test_an_interrupted_run_ends_as_one_that_was_not(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"epochs": 4, "checkpoint_every": 5}
    straight = fitted(bert, tmp_path / "straight", REVIEWS, **settings)
    step = module._Trainer.training_step
    calls = []

    def failing(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:
            raise Cut
        return step(self, *arguments, **named)

    monkeypatch.setattr(module._Trainer, "training_step", failing)
    with pytest.raises(Cut):
        fitted(bert, tmp_path / "cut", REVIEWS, **settings)
    resumed = fitted(bert, tmp_path / "cut", REVIEWS, **settings)
    assert len(calls) == 8 + 12 - 5, "it went on behind step 5"
    timeless = ("loss", "validation", "steps", "rows", "parameters")
    assert {name: resumed[name] for name in timeless} == {name: straight[name] for name in timeless}
    for name in ("adapter", "adapter-best"):
        a, b = (load_file(tmp_path / run / name / "model.safetensors") for run in ("straight", "cut"))
        assert all(torch.equal(a[key], b[key]) for key in a)
    rows = [list(read_jsonl(tmp_path / run / "metrics.jsonl")) for run in ("straight", "cut")]
    assert rows[0] == rows[1]
    assert set(rows[0][0]) - {"step"} == set(module.GLOSSARY)


def test_rows_without_a_label_are_counted_and_none_is_refused(bert: Path, tmp_path: Path) -> None:
    bare = [replace(row, label=None) for row in REVIEWS[:3]]
    assert fitted(bert, tmp_path / "run", [*REVIEWS, *bare], epochs=1)["dropped"] == {"no_label": 3}
    with pytest.raises(DataError, match="no labelled row is left to train on: of 3, 3 have no label"):
        fitted(bert, tmp_path / "none", bare)


@pytest.mark.parametrize("rows", [REVIEWS, SIMILAR], ids=["labels", "numbers"])
def test_micro_batches_change_neither_loss_nor_gradient(bert: Path, tmp_path: Path, rows: list[Example]) -> None:
    """A step is the mean over its rows, however they are cut: the last step has 4 of 24 rows, in pieces of 3 and 1."""
    still = tmp_path / "still"
    shutil.copytree(bert, still)
    shape = json.loads((still / "config.json").read_text())
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (still / "config.json").write_text(json.dumps({**shape, **none}))
    logged = []
    for micro in (10, 3, 1):
        folder = tmp_path / f"{micro}"
        fitted(still, folder, rows, epochs=1, batch=10, micro_batch=micro)
        logged.append([(row["encoder/loss"], row["encoder/grad_norm"]) for row in read_jsonl(folder / "metrics.jsonl")])
    assert len(logged[0]) == 3
    for other in logged[1:]:
        for (loss, norm), (own_loss, own_norm) in zip(logged[0], other, strict=True):
            assert own_loss == pytest.approx(loss, rel=1e-3)
            assert own_norm == pytest.approx(norm, rel=1e-3)


def test_the_loss_is_a_mean_over_the_rows_of_the_step() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    outputs, labels = SimpleNamespace(logits=logits), torch.tensor([0, 1])
    # -log(e^2 / (e^2 + 1)) = 0.126928, and ln 2 = 0.693147: together 0.820075
    assert float(module.mean_over_rows(outputs, labels)) == pytest.approx(0.820075 / 2, abs=1e-6)
    assert float(module.mean_over_rows(outputs, labels, torch.tensor(5))) == pytest.approx(0.820075 / 5, abs=1e-6)
    numbers = SimpleNamespace(logits=torch.tensor([[1.0], [3.0]]))
    assert float(module.mean_over_rows(numbers, torch.tensor([0.0, 1.0]), 10)) == pytest.approx((1 + 4) / 10)


def test_of_candidates_it_reads_each_and_answers_with_the_likeliest(bert: Path, tmp_path: Path) -> None:
    """One right and one wrong row of each; the answer is one of the row's own candidates."""
    encoder = Encoder.fresh(str(bert), tasks.get("record"), config().encoder, "cpu")
    made = encoder.training_rows(CHOICES[:2], 0)
    assert [target for _, target in made] == [1, 0, 1, 0]
    assert [row.fields["entities"] for row, target in made if target] == ["good", "fine"]
    assert {row.fields["entities"] for row, target in made if not target} <= {"bad", "dull"}
    assert encoder.text(made[0][0]) == "the film <eos> is <eos> good"
    rows = CHOICES
    result = fitted(bert, tmp_path, rows, epochs=20)
    assert result["rows"] == len(rows)
    assert result["parameters"]["trained"] == result["parameters"]["all"]
    answers = loaded(bert, tmp_path, "record").answers(rows, 5)
    assert answers == [row.label for row in rows]
