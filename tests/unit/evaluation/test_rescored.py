"""What another expression changes, against counts made by hand, scikit-learn and scipy."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import scipy
import sklearn

from rewardlab.evaluation.rescored import Agreement, Swaps, count_swaps, report
from rewardlab.metrics import Coded, auc
from rewardlab.rewards.rescoring import Rescored, StoredResponse
from rewardlab.types import Example, Score


def response(
    step: int, prompt: str, correct: float | None = None, *, error: float | None = None, task: str = "agnews",
    label: float | None = None,
) -> StoredResponse:  # fmt: skip
    parts = {} if label is None else {"label": label}
    return StoredResponse(step, Example(task, prompt, {}), "text", parts, None, correct, error)


def rescored(values: Sequence[float | None], lam: float | None = None) -> Rescored:
    return Rescored([Score(value) for value in values], lam)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    # right: 3, 1; wrong: 2, 1. pairs: 3>2, 3>1, 1<2, 1=1 -> (2 + 1/2) / 4
    gold, scores = np.array([1.0, 1.0, 0.0, 0.0]), np.array([3.0, 1.0, 2.0, 1.0])
    assert auc(Coded(gold, scores), np.ones((1, 4))) == pytest.approx([0.625])
    # the last wrong one three times: pairs 8, in order 1 + 3 + 0 + 3/2
    assert auc(Coded(gold, scores), np.array([[1.0, 1.0, 1.0, 3.0]])) == pytest.approx([5.5 / 8])
    assert np.isnan(auc(Coded(gold, scores), np.array([[2.0, 2.0, 0.0, 0.0]]))).all()


def test_auc_under_counts_is_that_of_the_repeated_rows() -> None:
    rng = np.random.default_rng(3)
    gold, scores = (rng.random(40) < 0.6).astype(float), rng.integers(0, 6, 40).astype(float)
    counts = rng.integers(0, 4, (5, 40))
    expected = [sklearn.metrics.roc_auc_score(np.repeat(gold, each), np.repeat(scores, each)) for each in counts]
    assert auc(Coded(gold, scores), counts.astype(float)) == pytest.approx(expected, abs=1e-12)


def test_swaps_are_counted_within_equal_keys() -> None:
    old = np.array([1.0, 2.0, 3.0, 3.0, 9.0])
    new = np.array([2.0, 1.0, 3.0, 3.0, 0.0])
    # step 1: (1,2) swaps; (1,3) and (2,3) twice each alike; 3 and 3 tied by both. Step 2 has one response.
    found = count_swaps(old, new, [1, 1, 1, 1, 2])
    assert found == Swaps(pairs=6, same=4, swapped=1, one_ties=0, both_tie=1)
    assert found.share == pytest.approx(1 / 5)
    assert count_swaps(old, new, [1, 2, 3, 4, 5]).share is None
    assert count_swaps(np.zeros(2), np.array([0.0, 1.0]), [1, 1]) == Swaps(1, 0, 0, 1, 0)


def test_the_report_counts_steps_prompts_and_what_was_not_scored() -> None:
    rows = [response(1, "a"), response(1, "b"), response(2, "a"), response(2, "b")]
    found = report(rows, [1.0, None, 2.0, 3.0], rescored([1.0, 2.0, None, 4.0]))
    assert (found.responses, found.steps, found.prompts) == (4, 2, 2)
    assert (found.unscored_old, found.unscored_new) == (1, 1)
    assert found.swaps.pairs == 0  # one response of each step was scored by both


def test_order_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    old, new = rng.normal(size=60), rng.normal(size=60).round(1)
    found = report([response(n // 10, str(n)) for n in range(60)], old.tolist(), rescored(new.tolist()))
    assert found.spearman is not None
    assert found.spearman.value == pytest.approx(scipy.stats.spearmanr(old, new).statistic)
    assert found.kendall == pytest.approx(scipy.stats.kendalltau(old, new).statistic)
    assert found.swaps.pairs == 6 * 45
    assert found.group_swaps.pairs == 0


def test_groups_are_the_responses_to_one_prompt_in_one_step() -> None:
    rows = [response(1, "a"), response(1, "a"), response(1, "b"), response(2, "a"), response(2, "a")]
    found = report(rows, [1.0, 1.0, 5.0, 1.0, 2.0], rescored([0.0, 1.0, 5.0, 2.0, 1.0]))
    assert found.group_swaps == Swaps(pairs=2, same=0, swapped=1, one_ties=1, both_tie=0)
    assert (found.even.groups, found.even.old, found.even.new) == (2, 1, 0)


def agreement(rows: Sequence[StoredResponse], old: Sequence[float], new: Sequence[float]) -> Sequence[Agreement]:
    return report(rows, list(old), rescored(list(new))).agreement


def test_agreement_with_right_and_wrong_answers() -> None:
    rng = np.random.default_rng(2)
    gold = (rng.random(300) < 0.7).astype(float)
    old, new = rng.normal(size=300), gold + rng.normal(size=300)
    rows = [response(1, str(n), right) for n, right in enumerate(gold)]
    (found,) = agreement(rows, old.tolist(), new.tolist())
    assert (found.task, found.measure, found.responses) == ("agnews", "AUC", 300)
    assert found.old is not None
    assert found.new is not None
    assert found.gain is not None
    assert found.old.value == pytest.approx(sklearn.metrics.roc_auc_score(gold, old))
    assert found.new.value == pytest.approx(sklearn.metrics.roc_auc_score(gold, new))
    assert found.gain.value == pytest.approx(found.new.value - found.old.value)
    assert found.new_correlation == pytest.approx(scipy.stats.pointbiserialr(gold, new).statistic)
    # Hanley & McNeil 1982: the standard error of an AUC of 0.5 is sqrt((n1 + n0 + 1) / (12 n1 n0))
    right, wrong = gold.sum(), 300 - gold.sum()
    assert (found.old.high - found.old.low) / 3.94 == pytest.approx(np.sqrt(301 / (12 * right * wrong)), rel=0.15)


def test_intervals_resample_prompts_and_not_responses() -> None:
    """Each response four times: of four prompts' worth of words, or of one prompt answered four times."""
    rng = np.random.default_rng(4)
    gold, new = (rng.random(100) < 0.5).astype(float), rng.normal(size=100)
    alone = agreement([response(1, str(n), gold[n]) for n in range(100)], new.tolist(), new.tolist())[0].new
    copied = [response(step, str(n), gold[n]) for n in range(100) for step in range(4)]
    repeated = agreement(copied, np.repeat(new, 4).tolist(), np.repeat(new, 4).tolist())[0].new
    assert alone is not None
    assert repeated is not None
    assert repeated.value == pytest.approx(alone.value)
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.02)


def test_agreement_with_numbers_and_by_task() -> None:
    rows = [response(1, str(n), float(n % 2), task=("mr", "sst2")[n // 4]) for n in range(8)]
    rows += [response(1, str(n), error=float(n), task="stsb") for n in range(5)]
    old, new = [0.0, 1.0] * 4 + [0.0] * 5, [1.0, 0.0] * 2 + [0.0, 1.0] * 2 + [5.0, 4.0, 3.0, 1.0, 2.0]
    whole, mr, sst2, stsb = agreement(rows, old, new)
    assert [each.task for each in (whole, mr, sst2, stsb)] == ["all", "mr", "sst2", "stsb"]
    assert [each.new.value if each.new else None for each in (whole, mr, sst2)] == [0.5, 0.0, 1.0]
    # errors 0 1 2 3 4 are closeness 0 -1 -2 -3 -4: one swap of neighbours in five, 1 - 6 * 2 / (5 * 24)
    assert stsb.measure == "Spearman"
    assert stsb.new is not None
    assert stsb.new.value == pytest.approx(0.9)
    assert (stsb.old, stsb.gain) == (None, None)  # one score for all


def test_right_answers_alone_leave_the_measure_undefined() -> None:
    (found,) = agreement([response(1, str(n), 1.0) for n in range(4)], [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0])
    assert (found.old, found.new, found.gain, found.new_correlation) == (None, None, None, 0.0)
    assert agreement([response(1, "a"), response(1, "b")], [1.0, 2.0], [2.0, 1.0]) == []


def test_means_and_saturation_along_the_run() -> None:
    """25 steps in ten stretches: two or three steps each."""
    rows = [response(step, str(step), float(step > 20), label=float(step)) for step in range(1, 26)]
    found = report(rows, [1.0] * 25, rescored([float(step) for step in range(1, 26)], lam=20.0))
    assert found.saturated == pytest.approx(6 / 25)  # 20, which is at the cap, to 25
    assert len(found.buckets) == 10
    assert [bucket.responses for bucket in found.buckets] == [2, 3, 3, 2, 2, 3, 3, 2, 2, 3]
    last = found.buckets[-1]
    assert (last.first, last.last, last.old, last.new, last.correct, last.error) == (23, 25, 1.0, 24.0, 1.0, None)
    assert [bucket.saturated for bucket in found.buckets] == [0, 0, 0, 0, 0, 0, 0, pytest.approx(1 / 2), 1, 1]


def test_lambda_without_label_scores_saturates_nothing() -> None:
    assert report([response(1, "a")], [1.0], rescored([1.0], lam=5.0)).saturated is None


def test_json_has_everything_but_no_more_movers_than_asked() -> None:
    rows = [response(1, str(n), float(n % 2)) for n in range(4)]
    found = json.loads(json.dumps(report(rows, [1.0, 2.0, 3.0, 4.0], rescored([4.0, 2.0, 3.0, 1.0])).to_json(1)))
    # places 0.125 and 0.875 change
    assert found["movers"] == [
        {
            "task": "agnews",
            "id": "0",
            "old": 1.0,
            "new": 4.0,
            "place_old": 0.125,
            "place_new": 0.875,
            "response": "text",
        }
    ]
    assert found["swap_share"] == pytest.approx(5 / 6)
    assert found["swaps"] == {"pairs": 6, "same": 1, "swapped": 5, "one_ties": 0, "both_tie": 0}
    assert found["agreement"][0]["new"].keys() == {"value", "low", "high"}
