"""How far confidence and being right agree: expected calibration error, Brier score, and risk against coverage.

All are written over resampling counts, as ``metrics.py`` is: ``counts[b, i]`` says how often resample b drew answer i,
and a row of ones gives the plain value. Letters: n answers, B resamples. ``confidence`` is each answer's probability
of being right, 0 to 1, and ``right`` whether it is, 0 to 1 (one half for a tie). Both of shape (n,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rewardlab.metrics import Floats

BINS = 10
"""Bins of equal width, from 0 to 1; a confidence of 1 is in the last one."""

TIED = 9
"""Decimals to which confidences must agree to be equally sure: sigma of a margin is rounded in its last digits."""
COVERAGES = (0.5, 0.8)
"""Shares of the answers, the surest ones, whose accuracy evaluations store."""

Calibration = Callable[[Floats, Floats, Floats], Floats]
"""(confidence, right, counts of shape (B, n)) -> values of shape (B,)."""


def overconfidence(confidence: Floats, right: Floats, counts: Floats) -> Floats:
    """Mean confidence less the share of right answers; 0 is calibrated on the whole, -1 to 1."""
    return np.asarray(counts @ (confidence - right) / counts.sum(axis=1), dtype=np.float64)


def brier(confidence: Floats, right: Floats, counts: Floats) -> Floats:
    """Mean squared distance of confidence and right; 0 is perfect, 0.25 is to say 50 % of everything.

    Source:
        Brier 1950, of one event.
    """
    return np.asarray(counts @ (confidence - right) ** 2 / counts.sum(axis=1), dtype=np.float64)


def expected_calibration_error(confidence: Floats, right: Floats, counts: Floats) -> Floats:
    """Distance of mean confidence and share of right answers within each of ten bins, weighted by its answers.

    Source:
        Naeini et al. 2015; Guo et al. 2017, eq. 3.
    """
    place = np.minimum((confidence * BINS + 1e-9).astype(np.intp), BINS - 1)
    gaps = counts @ ((confidence - right)[:, None] * (place[:, None] == np.arange(BINS)))
    return np.asarray(np.abs(gaps).sum(axis=1) / counts.sum(axis=1), dtype=np.float64)


def risk_coverage_area(confidence: Floats, right: Floats, counts: Floats) -> Floats:
    """AURC: share of wrong answers among the k surest ones, mean over k from 1 to all; 0 is perfect.

    Answers that are equally sure are taken in random order, and the mean over these orders counts.

    Source:
        Geifman & El-Yaniv 2017; Ding et al. 2020.
    """
    from scipy.special import digamma

    levels, place = np.unique(-confidence.round(TIED), return_inverse=True)
    of_level = (place[:, None] == np.arange(len(levels))).astype(np.float64)
    size, wrong = counts @ of_level, counts @ (of_level * (1 - right)[:, None])
    before, wrong_before = size.cumsum(axis=1) - size, wrong.cumsum(axis=1) - wrong
    share = np.divide(wrong, size, out=np.zeros_like(wrong), where=size > 0)
    # sum over j = 1..size of (wrong_before + share j) / (before + j), by harmonic numbers
    steps = digamma(before + size + 1) - digamma(before + 1)
    area = (share * size + (wrong_before - share * before) * steps).sum(axis=1)
    return np.asarray(area / counts.sum(axis=1), dtype=np.float64)


def accuracy_at(coverage: float, confidence: Floats, right: Floats) -> float:
    """Share of right answers among the surest ones, as many as make up ``coverage`` of all, at least one.

    Equally sure answers at the border count with their mean.

    >>> accuracy_at(0.5, np.array([0.9, 0.6, 0.6, 0.2]), np.array([1.0, 1.0, 0.0, 0.0]))
    0.75
    """
    number = max(1, round(coverage * len(confidence)))
    border = np.sort(confidence)[::-1][number - 1]
    above, at = confidence > border, confidence == border
    return float((right[above].sum() + right[at].mean() * (number - above.sum())) / number)


CALIBRATIONS: Mapping[str, Calibration] = {
    "overconfidence": overconfidence,
    "ece": expected_calibration_error,
    "brier": brier,
    "aurc": risk_coverage_area,
}
