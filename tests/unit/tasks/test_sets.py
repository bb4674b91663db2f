"""Sets of labels: reading, writing, rows, wrong sets, rewards and metrics, each by hand or against scikit-learn."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.metrics
from sklearn.preprocessing import MultiLabelBinarizer

from rewardlab.annotate.wrong_labels import WrongLabels
from rewardlab.comparison.by_label import by_label
from rewardlab.comparison.evaluations import read_cells
from rewardlab.config import RewardConfig
from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError, DataError, InputError
from rewardlab.evaluation.answers import write_answers
from rewardlab.evaluation.predict import GeneratedText, evaluate
from rewardlab.metrics import OF_SETS, encode, measure, score_predictions
from rewardlab.pipeline.pipeline import Pipeline
from rewardlab.rewards import RewardContext, build_reward, label_shares
from rewardlab.sandbox.topic import topics_of
from rewardlab.tasks import tasks
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.sets import joined, labels_in, set_f1, set_jaccard
from rewardlab.tasks.sources import load_splits
from rewardlab.tasks.task import Task
from rewardlab.tasks.user import load_task
from rewardlab.types import Example

EMOTIONS = tasks.get("goemotions_ekman")


def row(label: str, format: str = "label") -> Example:
    return Example("goemotions_ekman", label, {"text": "x"}, label, format)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("response", "value", "strict"),
    [
        ("anger, joy", "anger, joy", "anger, joy"),
        ("joy, anger", "anger, joy", "anger, joy"),
        ("joy", "joy", "joy"),
        ("joy, joy", "joy", None),
        ("joy,anger", "anger, joy", None),
        ("Joy and anger.", "anger, joy", None),
        ("joy; anger / fear", "anger, fear, joy", None),
        ("joy, hope", "joy", None),
        ("joy, not anger", None, None),
        ("none", None, None),
        ("", None, None),
    ],
)
def test_what_is_read(response: str, value: str | None, strict: str | None) -> None:
    answer = EMOTIONS.parse(response, "label")
    assert (answer.value, answer.strict) == (value, strict)


@pytest.mark.parametrize("format", ["label", "rationale", "judgement", "confident"])
def test_every_pair_survives_print_and_parse(format: str) -> None:
    for pair in itertools.combinations(EMOTIONS.labels, 2):
        label = joined(pair, EMOTIONS.labels)
        answer = EMOTIONS.parse(EMOTIONS.response(label, format, "Because."), format)  # type: ignore[arg-type]
        assert (answer.value, answer.strict) == (label, label)


def test_words_of_a_set_are_those_of_its_labels(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        'name = "t-set"\nfields = ["text"]\nlabels = ["a", "b"]\ntemplate = "{text}"\nmulti_label = true\n'
        '[words.judgement]\na = "first"\nb = "second"\n'
    )
    task = load_task(file)
    assert task.response("a, b", "judgement") == " first, second </Judgement>"
    assert task.parse(" second, first </Judgement>", "judgement").strict == "a, b"
    assert task.metrics[0] == "sample_f1"
    assert "multi_label" in task.to_json()
    assert "multi_label" not in tasks.get("mr").to_json()


@pytest.mark.parametrize("broken", [{"labels": ("a, b", "c")}, {"labels": ("1", "2"), "numeric_range": (1.0, 2.0)}])
def test_what_cannot_be_a_set_is_refused(broken: dict[str, object]) -> None:
    templates = dict.fromkeys(("label", "rationale", "judgement"), "{text}")
    with pytest.raises(ConfigError, match="multi_label needs labels without commas"):
        Task("t", fields=("text",), templates=templates, multi_label=True, **broken)  # type: ignore[arg-type]


def test_rows_hold_lists_or_texts() -> None:
    assert read_label(["joy", "anger"], EMOTIONS) == read_label("Joy, anger", EMOTIONS) == "anger, joy"
    for raw in ([], "", ["hope"], "joy, hope"):
        with pytest.raises(RowProblem):
            read_label(raw, EMOTIONS)


@pytest.mark.skipif(not os.environ.get("REWARDLAB_DATA"), reason="needs REWARDLAB_DATA, the folder of real data sets")
def test_real_rows_have_several_labels_as_often_as_their_readme_says() -> None:
    splits = load_splits(
        EMOTIONS, source="local", data_dir=Path(os.environ["REWARDLAB_DATA"]), labelled=9000, test=2000
    )
    rows = [*splits.labelled, *splits.prompts, *splits.validation, *(r for part in splits.tests.values() for r in part)]
    share = np.mean([len(labels_in(example.label)) > 1 for example in rows])
    assert share == pytest.approx(0.089, abs=0.01)


def test_wrong_sets_drop_add_or_swap_one_label() -> None:
    wrong, gold = WrongLabels(EMOTIONS, []), {"anger", "joy"}
    drawn = [set(labels_in(wrong.draw("anger, joy", seed))) for seed in range(3000)]
    kinds = Counter((len(each - gold), len(gold - each)) for each in drawn)
    assert set(kinds) == {(0, 1), (1, 0), (1, 1)}
    assert all(abs(count - 1000) < 110 for count in kinds.values())  # four standard deviations of 25.8
    single = [set(labels_in(wrong.draw("joy", seed))) for seed in range(200)]
    assert {len(each) for each in single} == {1, 2}
    assert {"joy"} not in single
    assert wrong.draw("joy", 1) == wrong.draw("joy", 1)
    full = joined(EMOTIONS.labels, EMOTIONS.labels)
    assert len(labels_in(wrong.draw(full, 0))) == len(EMOTIONS.labels) - 1


@pytest.mark.parametrize(
    ("response", "f1", "jaccard"),
    [
        ("anger, joy", 1.0, 1.0),
        ("joy", 2 / 3, 1 / 2),
        ("joy, fear", 1 / 2, 1 / 3),
        ("anger, fear, joy", 4 / 5, 2 / 3),
        ("fear", 0.0, 0.0),
        ("?", -1.0, -1.0),
    ],
)
def test_rewards_by_hand(response: str, f1: float, jaccard: float) -> None:
    for name, expected in (("rule", f1), ("jaccard", jaccard)):
        reward = build_reward(RewardConfig(expression=name), RewardContext())
        assert reward([row("anger, joy")], [response])[0].score == pytest.approx(expected)
    if f1 >= 0:
        assert (set_f1(response, "anger, joy"), set_jaccard(response, "anger, joy")) == pytest.approx((f1, jaccard))


def test_jaccard_of_one_label_is_the_rule_without_halves() -> None:
    reward = build_reward(RewardConfig(expression="jaccard"), RewardContext())
    rows = [Example("mr", "1", {}, "positive", "label"), Example("stsb", "2", {}, 0.0, "label")]
    assert [score.score for score in reward(rows, ["negative", "0"])] == [0.0, 1.0]


def test_balanced_shares_are_of_labels_and_not_of_sets() -> None:
    shares = label_shares([row("anger, joy"), row("joy"), row("fear")])["goemotions_ekman"]
    assert shares == {"anger": 0.25, "joy": 0.5, "fear": 0.25}
    reward = build_reward(
        RewardConfig(expression="rule_balanced"), RewardContext(label_shares={"goemotions_ekman": shares})
    )
    # weights 1 / (3 * 1/4) = 4/3 and 1 / (3 * 1/2) = 2/3; their mean is 1
    assert reward([row("anger, joy")], ["anger, joy"])[0].score == pytest.approx(1.0)


def test_balanced_batches_are_refused(tmp_path: Path) -> None:
    given = {"task": "sandbox-topics", "ppo.balance": "label", "format": "label", "data.prompts": 8, "data.labelled": 8}
    with pytest.raises(InputError, match="sandbox-topics has several a row"):
        Pipeline(load_config(given), tmp_path).train("ppo")


class TestMetrics:
    GOLD = ("anger, joy", "joy", "fear", "joy, surprise")
    ANSWERS = ("joy", "joy", None, "anger, joy, surprise")

    def test_by_hand(self) -> None:
        found = {name: score_predictions(name, self.GOLD, self.ANSWERS, EMOTIONS) for name in OF_SETS}
        assert found["accuracy"] == 0.25
        assert found["sample_f1"] == pytest.approx((2 / 3 + 1 + 0 + 4 / 5) / 4)
        assert found["micro_f1"] == pytest.approx(2 * 4 / (6 + 5))  # hits 1 + 1 + 0 + 2, gold 6, answered 5
        # anger: 0 of 1 + 1; joy 3 of 3 and 3; fear 0 of 1; surprise 1 of 1 and 1
        assert found["macro_f1"] == pytest.approx((0 + 1 + 0 + 1) / 4)
        assert found["balanced_accuracy"] == pytest.approx((0 + 1 + 0 + 1) / 4)

    def test_as_scikit_learn_has_them(self) -> None:
        rng = np.random.default_rng(3)
        draw = lambda: joined([e for e in EMOTIONS.labels if rng.random() < 0.4] or ["joy"], EMOTIONS.labels)  # noqa: E731
        gold, answers = [draw() for _ in range(60)], [draw() for _ in range(60)]
        binary = MultiLabelBinarizer(classes=EMOTIONS.labels)
        theirs = [binary.fit_transform(list(map(labels_in, texts))) for texts in (gold, answers)]
        for name, average in (("micro_f1", "micro"), ("macro_f1", "macro"), ("sample_f1", "samples")):
            expected = sklearn.metrics.f1_score(*theirs, average=average)
            assert score_predictions(name, gold, answers, EMOTIONS) == pytest.approx(expected)
        assert score_predictions("accuracy", gold, answers, EMOTIONS) == sklearn.metrics.accuracy_score(*theirs)

    def test_of_one_label_they_are_accuracy(self) -> None:
        gold, answers = ["positive", "negative", "negative"], ["positive", "positive", "negative"]
        for name in ("micro_f1", "sample_f1"):
            assert score_predictions(name, gold, answers, tasks.get("mr")) == pytest.approx(2 / 3)

    def test_counts_are_repeated_items(self) -> None:
        from rewardlab.metrics import METRICS

        for name in OF_SETS:
            once = METRICS[name](encode(name, self.GOLD, self.ANSWERS, EMOTIONS), np.array([[2.0, 0.0, 1.0, 1.0]]))
            places = [0, 0, 2, 3]
            coded = encode(name, [self.GOLD[p] for p in places], [self.ANSWERS[p] for p in places], EMOTIONS)
            assert once.item() == pytest.approx(measure(name, coded))

    def test_others_and_strange_labels_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="matthews does not fit sets of labels"):
            encode("matthews", self.GOLD, self.ANSWERS, EMOTIONS)
        with pytest.raises(DataError, match="found hope"):
            encode("micro_f1", ["hope"], ["joy"], EMOTIONS)


def test_from_an_evaluation_to_recall_by_label(tmp_path: Path) -> None:
    texts = ["joy", "joy", "?", "anger, joy, surprise"]
    found = evaluate(
        {"goemotions_ekman": [row(gold) for gold in TestMetrics.GOLD]},
        lambda *_: [GeneratedText(text, True) for text in texts],
        decodings=("greedy",),
        bootstrap=100,
    )
    cell = found.columns["goemotions_ekman"]["greedy"]
    assert cell["metrics"]["sample_f1"]["value"] == pytest.approx((2 / 3 + 1 + 0 + 4 / 5) / 4)
    assert (
        cell["metrics"]["micro_f1"]["low"] < cell["metrics"]["micro_f1"]["value"] < cell["metrics"]["micro_f1"]["high"]
    )
    write_answers(tmp_path, found.rows)
    [read] = read_cells(tmp_path, found.columns).values()
    assert read.multi_label
    row_of = SimpleNamespace(cells={("c", "greedy"): {0: read}}, runs=(), by_seed={})
    by = by_label(row_of, ("c", "greedy"), 100)  # type: ignore[arg-type]
    assert by is not None
    assert {label: each.value for label, each in by.recalls.items()} == {"anger": 0, "fear": 0, "joy": 1, "surprise": 1}
    assert by.items == {"anger": 1, "joy": 3, "fear": 1, "surprise": 1}


def test_the_sandbox_s_sets_are_those_of_its_words() -> None:
    assert topics_of(["guitar", "team", "river"]) == {"music", "sports"}
    assert topics_of(["record", "river", "door"]) == {"business"}  # a shared word alone means its home topic
    assert topics_of(["record", "guitar", "door"]) == {"music"}
    assert topics_of(["guitar", "choir", "door"]) == {"music"}
    rows = tasks.get("sandbox-topics").generate("train", 200, 0)  # type: ignore[misc]
    sizes = Counter(len(labels_in(example.label)) for example in rows)
    assert set(sizes) == {1, 2}
    assert sizes[2] > 60
