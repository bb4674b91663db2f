"""``patience``, the stopping rule of all training methods: when it ends a run, and that a resumed run ends there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rewardlab.disk import read_jsonl
from rewardlab.runs import RunFolder
from rewardlab.training import encoder as encoders
from rewardlab.training import sft_trainer
from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.preference import PreferenceTrainer
from rewardlab.training.raft import RaftTrainer
from rewardlab.training.sft import train_sft
from rewardlab.training.validation import Cadence, Measured, Validation, is_settled
from tests.support.bandit import WORDS
from tests.support.interrupted import Cut
from tests.support.models import tiny_bert, tiny_llama, tiny_tokenizer
from tests.support.preference import preference_trainer, word_pair
from tests.support.training import EXAMPLES, ppo_trainer
from tests.unit.training.test_encoder import NOISE, REVIEWS, fitted
from tests.unit.training.test_encoder import WORDS as REVIEW_WORDS
from tests.unit.training.test_raft import trainer as raft_trainer
from tests.unit.training.test_sft import EXAMPLES as SFT_EXAMPLES
from tests.unit.training.test_sft import RATIONALES, TEXTS, make_config, open_folder

ACCURACY = [0.5, 0.75, 0.5, 0.75, 0.75, 1.0, 1.0, 1.0]
"""At the k-th measure: the best of the first five is the second; the sixth would be better, if one waited for it."""


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Let the measures of a run be :data:`ACCURACY`; gives step -> number of its measure, from 0."""
    seen: dict[int, int] = {}

    def measure(self: Validation, step: int) -> Measured:
        number = seen[step] = len(self.measures)
        return Measured(step, ACCURACY[number], {"sst2": ACCURACY[number]}, 0.0, 1.0, 4)

    monkeypatch.setattr(Validation, "_measure", measure)
    return seen


def at(*accuracy: float) -> list[Measured]:
    """Measures after steps 0, 10, 20 ..."""
    return [Measured(10 * number, value, {}, 0.0, 1.0, 4) for number, value in enumerate(accuracy)]


@pytest.mark.parametrize(
    ("accuracy", "patience", "settled"),
    [
        ((), 1, False),
        ((0.5,), 1, False),
        ((0.5, 0.5), 1, True),  # an equal is not above the best one
        ((0.5, 0.5), 2, False),
        ((0.5, 0.4, 0.4), 2, True),  # the start is a candidate
        ((0.5, 0.6, 0.5, 0.6), 2, True),
        ((0.5, 0.6, 0.5, 0.7), 2, False),  # it rose before the second look in a row without a rise
        ((0.9, 0.1, 0.1, 0.1), None, False),
    ],
)
def test_it_ends_after_so_many_measures_that_are_not_above_the_best(
    accuracy: tuple[float, ...], patience: int | None, settled: bool
) -> None:
    measures = at(*accuracy)
    best = max(measures, key=lambda each: each.accuracy, default=None)  # of equals the earliest
    assert is_settled(measures, best, patience) is settled


def online(folder: Path, **more: Any) -> OnlineTrainer:
    settings = {"steps": 12, "validate_every": 2, "checkpoint_every": 1, "patience": 3, **more}
    return ppo_trainer(folder, lambda example, text: float(len(text)), validation=EXAMPLES[:4], **settings)


def preference(folder: Path, **more: Any) -> PreferenceTrainer:
    pairs = [word_pair(example, WORDS[n % 6], WORDS[(n + 1) % 6]) for n, example in enumerate(EXAMPLES)]
    settings = {"steps": 12, "validate_every": 2, "checkpoint_every": 1, "patience": 3, **more}
    return preference_trainer(folder, pairs, validation=EXAMPLES[:4], **settings)


def raft(folder: Path, **more: Any) -> RaftTrainer:
    return raft_trainer(folder, validation=EXAMPLES[:4], **{"rounds": 7, "epochs": 1.0, "patience": 3, **more})


Made = Callable[..., Any]
STEPS: dict[Made, tuple[int, int]] = {online: (8, 12), preference: (8, 12), raft: (4, 7)}
"""Steps until the measure that ends a run (the start is a measure), and of a run that nothing ends."""


@pytest.mark.parametrize("make", list(STEPS))
def test_online_preference_and_raft_end_there_and_keep_the_best(
    tmp_path: Path, measured: dict[int, int], make: Made
) -> None:
    result = make(tmp_path).train()
    stopped, _ = STEPS[make]
    assert result.steps == stopped == max(measured)
    assert (result.validation["best"]["accuracy"], result.validation["last"]["step"]) == (0.75, stopped)
    assert result.validation["best"]["step"] == stopped // 4
    trained = [row["step"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    assert trained == list(range(1, stopped + 1))


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("make", list(STEPS))
def test_without_patience_they_go_on_to_their_last_step(tmp_path: Path, make: Made) -> None:
    assert make(tmp_path, patience=None).train().steps == STEPS[make][1]


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("make", list(STEPS))
def test_a_run_that_was_cut_after_it_had_settled_takes_no_further_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Made
) -> None:
    """Killed when the last policy is to be stored, with a checkpoint of the step that settled it."""
    first = make(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(first.trunk.roles, "save", lambda *_: cut())
        with pytest.raises(Cut):
            first.train()
    assert make(tmp_path).train().steps == STEPS[make][0]


@pytest.mark.usefixtures("measured")
def test_what_a_stopped_run_read_is_counted_up_to_its_last_step(tmp_path: Path) -> None:
    """Eight pairs and four a step: after two steps all of them, forward and backward twice each."""
    made = preference(tmp_path, batch=4, patience=1, validate_every=1)
    made.validation.measures = []
    found = made.train().to_json()
    assert (found["steps"], found["updates"]) == (2, 2)  # 0.5, 0.75, 0.5
    assert (found["pairs"], found["backward"], found["forward"]) == (8, 16, 32)


def cut() -> None:
    raise Cut


def sft(llama: Path, path: Path, **section: Any) -> tuple[dict[str, Any], RunFolder]:
    """16 rows in batches of 8: two steps an epoch."""
    own = {"lr": 1e-2, "epochs": 7, "batch": 8, "micro_batch": 8, "checkpoint_every": 1, **section}
    folder = open_folder(path)
    found = train_sft(folder, make_config(llama, sft=own), SFT_EXAMPLES, RATIONALES, validation=SFT_EXAMPLES[:4])
    return found, folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama", tiny_tokenizer(TEXTS))


def test_sft_measures_each_epoch_and_ends_there(llama: Path, tmp_path: Path, measured: dict[int, int]) -> None:
    result, folder = sft(llama, tmp_path / "run", patience=3)
    assert list(measured) == [2, 4, 6, 8, 10]  # the base model is no candidate, so the first measure is after an epoch
    assert result["steps"] == 10
    assert {name: each["step"] for name, each in result["validation"].items()} == {"best": 4, "last": 10}
    assert (folder.path / "adapter-best").exists()


def test_sft_that_was_cut_after_it_had_settled_takes_no_further_step(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: dict[int, int]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sft_trainer, "run_trainer", _then_cut(sft_trainer.run_trainer))
        with pytest.raises(Cut):
            sft(llama, tmp_path / "run", patience=3)
    measured.clear()
    result, _ = sft(llama, tmp_path / "run", patience=3)
    assert (result["steps"], measured) == (10, {})


def _then_cut(work: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        work(*arguments)
        raise Cut

    return wrapped


def test_how_often_sft_looks_follows_from_patience() -> None:
    every = {patience: Cadence.of_sft(40, 2, patience) for patience in (None, 3)}
    assert (every[None].looks, every[3].looks) == (5, 20)


def test_an_encoder_ends_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bert = tiny_bert(tmp_path / "bert", [*sum(REVIEW_WORDS.values(), ()), *NOISE, "the", "is"])
    values: Iterator[float] = iter(ACCURACY)
    monkeypatch.setattr(encoders.metrics, "score_predictions", lambda *_: next(values))
    result = fitted(bert, tmp_path / "run", REVIEWS, epochs=7, patience=3)  # 24 rows in batches of 8: three steps
    assert result["steps"] == 15
    assert {name: each["step"] for name, each in result["validation"].items()} == {"best": 6, "last": 15}
    with suppress(StopIteration):
        assert next(values) == 1.0  # the sixth measure was not made
