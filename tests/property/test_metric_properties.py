"""What must hold of every metric, whatever the answers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardlab.intervals import bootstrap_interval
from rewardlab.metrics import CORRELATIONS, METRICS, score_predictions


@dataclass(frozen=True)
class Space:
    labels: tuple[str, ...] = ("no", "yes", "maybe")
    numeric_range: tuple[float, float] | None = None


LABELS, NUMBERS = Space(), Space((), (0.0, 5.0))
OF_ROWS = ("token_f1", "parity")
"""Metrics that need more of a row than its gold label: candidates, or a group."""
CLASSIFIED = [name for name in METRICS if name not in (*CORRELATIONS, *OF_ROWS)]

label_rows = st.lists(
    st.tuples(st.sampled_from(LABELS.labels), st.none() | st.sampled_from(LABELS.labels)), min_size=1, max_size=30
)
number_rows = st.lists(
    st.tuples(st.integers(0, 50).map(lambda tenth: tenth / 10), st.none() | st.integers(0, 50).map(lambda n: n / 10)),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize("metric", CLASSIFIED)
@settings(max_examples=60)
@given(rows=label_rows)
def test_label_metrics_are_bounded_and_ignore_order(metric: str, rows: list[tuple[str, str | None]]) -> None:
    gold, answers = [row[0] for row in rows], [row[1] for row in rows]
    value = score_predictions(metric, gold, answers, LABELS)
    assert -1 - 1e-9 <= value <= 1 + 1e-9
    assert value == pytest.approx(score_predictions(metric, gold[::-1], answers[::-1], LABELS))


@pytest.mark.parametrize("metric", CORRELATIONS)
@settings(max_examples=60)
@given(rows=number_rows)
def test_correlations_are_bounded_and_symmetric(metric: str, rows: list[tuple[float, float | None]]) -> None:
    gold, answers = [row[0] for row in rows], [2.5 if row[1] is None else row[1] for row in rows]
    value = score_predictions(metric, gold, [row[1] for row in rows], NUMBERS)
    assert -1 - 1e-9 <= value <= 1 + 1e-9
    assert value == pytest.approx(score_predictions(metric, answers, gold, NUMBERS), abs=1e-9)


@pytest.mark.parametrize("metric", CORRELATIONS)
@settings(max_examples=60)
@given(rows=number_rows)
def test_correlations_turn_with_the_scale(metric: str, rows: list[tuple[float, float | None]]) -> None:
    gold, answers = [row[0] for row in rows], [row[1] for row in rows]
    turned = [None if answer is None else 5.0 - answer for answer in answers]
    value = score_predictions(metric, gold, answers, NUMBERS)
    assert score_predictions(metric, gold, turned, NUMBERS) == pytest.approx(-value, abs=1e-9)


@settings(max_examples=60)
@given(rows=label_rows, place=st.integers(0, 29))
def test_mending_one_answer_never_lowers_accuracy(rows: list[tuple[str, str | None]], place: int) -> None:
    gold, answers = [row[0] for row in rows], [row[1] for row in rows]
    mended = list(answers)
    mended[place % len(rows)] = gold[place % len(rows)]
    before = score_predictions("accuracy", gold, answers, LABELS)
    assert score_predictions("accuracy", gold, mended, LABELS) >= before


@settings(max_examples=30)
@given(rows=label_rows, seed=st.integers(0, 99))
def test_intervals_hold_their_value_and_repeat(rows: list[tuple[str, str | None]], seed: int) -> None:
    gold, answers = [row[0] for row in rows], [row[1] for row in rows]
    found = bootstrap_interval("accuracy", gold, answers, LABELS, resamples=200, seed=seed)
    assert found.low <= found.value <= found.high
    assert found == bootstrap_interval("accuracy", gold, answers, LABELS, resamples=200, seed=seed)
