"""Which prompts come in which step, and how the learning rate moves."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from rewardlab.config import PPOConfig
from rewardlab.errors import ConfigError
from rewardlab.training.schedule import (
    UNBOUNDED,
    batch_of,
    factor_at,
    make_optimizer,
    make_scheduler,
    micro_batch_of,
    steps_of,
    updates_of,
)
from tests.support.training import EXAMPLES


def rates(steps: int, **ppo: float) -> list[float]:
    """Learning rate of each of ``steps`` optimiser steps, and after the last one; the peak is 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer, PPOConfig(**ppo), steps)
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*found, scheduler.get_last_lr()[0]]


def test_warm_up_rises_to_the_peak_and_a_cosine_falls_to_the_final_rate() -> None:
    found = rates(10, warmup=0.2, final_lr=0.1)
    assert found[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])  # two warm-up steps, then the peak
    assert found[6] == pytest.approx(0.55)  # half of the eight remaining: 0.1 + 0.9 * 0.5
    assert found[8] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(0.75 * math.pi)))
    assert found[-1] == pytest.approx(0.1)
    assert sorted(found[2:], reverse=True) == found[2:]


def test_behind_the_end_the_rate_stays_at_its_last_value() -> None:
    """A run that ends by tokens or seconds takes its last step beyond the budget."""
    assert factor_at(1.5, 0.2, 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 0.1), (0.01, 0.1), (0.1, 0.5), (0.2, 1.0), (0.4, 0.868198), (0.6, 0.55), (1.0, 0.1)]
)
def test_the_rate_follows_the_share_that_is_over(share: float, expected: float) -> None:
    """A tenth of the peak to begin with; at 0.4 a quarter of the cosine is over: 0.1 + 0.45 * (1 + 0.707107)."""
    assert factor_at(share, 0.2, 0.1) == pytest.approx(expected, abs=1e-6)


def test_without_a_warm_up_the_share_0_is_at_the_peak() -> None:
    assert factor_at(0.0, 0.0, 0.1) == 1.0


def test_a_schedule_of_a_budget_follows_what_is_spent() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    shares = iter([0.1, 0.6])
    scheduler = make_scheduler(optimizer, PPOConfig(warmup=0.2, final_lr=0.1), 10**9, lambda: next(shares))
    assert scheduler.get_last_lr() == pytest.approx([2 * 0.5])
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([2 * 0.55])


def test_a_part_of_a_warm_up_step_is_a_step() -> None:
    """0.25 of ten is three, so four equal rises to the peak."""
    assert rates(10, warmup=0.25, final_lr=0.0)[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_steps_beyond_the_last_keep_the_final_rate() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer, PPOConfig(warmup=0.0, final_lr=0.1), 2)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.1])


def test_one_step_is_the_whole_schedule() -> None:
    assert rates(1, warmup=0.0, final_lr=0.1) == pytest.approx([1.0, 0.1])
    assert rates(1, warmup=0.9, final_lr=0.1) == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"steps": 3}, 3),
        ({"steps": 3, "max_tokens": 10}, 3),
        ({"steps": None, "batch": 4}, 3),  # nine prompts
        ({"steps": None, "max_tokens": 10}, UNBOUNDED),
        ({"steps": None, "max_seconds": 10.0}, UNBOUNDED),
    ],
)
def test_how_many_steps_there_are(settings: dict[str, object], steps: int) -> None:
    assert steps_of(PPOConfig.model_validate(settings), 9) == steps
    assert UNBOUNDED > 10**8


@pytest.mark.parametrize(
    ("processes", "batch", "minibatches", "expected"),
    [(1, 16, 4, 8), (1, 2, 4, 8), (2, 16, 2, 4), (2, 64, 2, 8), (2, 4, 4, 1), (2, 2, 1, 1), (3, 36, 2, 6)],
)
def test_every_process_gets_a_micro_batch_of_each_minibatch(
    monkeypatch: pytest.MonkeyPatch, processes: int, batch: int, minibatches: int, expected: int
) -> None:
    monkeypatch.setattr("rewardlab.processes.count", lambda: processes)
    config = PPOConfig(batch=batch, minibatches=minibatches, micro_batch=8)
    assert micro_batch_of(config) == expected


def test_fewer_prompts_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardlab.processes.count", lambda: 3)
    with pytest.raises(ConfigError, match=r"2 prompts a step .*expected at least one for each of 3 processes"):
        micro_batch_of(PPOConfig(batch=2))


@pytest.mark.parametrize(
    ("steps", "micro_batch", "expected"),
    [(3, 4, 12), (3, 3, 18), (3, 1, 24), (0, 4, 1)],  # two, three, and four minibatches; two passes over each
)
def test_how_often_the_optimiser_steps(steps: int, micro_batch: int, expected: int) -> None:
    assert updates_of(PPOConfig(batch=8, minibatches=4, ppo_epochs=2), steps, micro_batch) == expected


def test_a_run_of_one_update() -> None:
    assert updates_of(PPOConfig(batch=8, minibatches=1, ppo_epochs=1), 1, 8) == 1


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert rates(4, warmup=0.0, final_lr=0.0) == pytest.approx([1.0, 0.853553, 0.5, 0.146447, 0.0], abs=1e-6)


def test_every_pass_takes_each_prompt_once_in_another_order() -> None:
    taken = [example.id for step in range(6) for example in batch_of(EXAMPLES, step, 4, seed=0)]
    passes = [taken[start : start + 8] for start in (0, 8, 16)]
    for one in passes:
        assert Counter(one) == Counter(example.id for example in EXAMPLES)
    assert len({tuple(one) for one in passes}) == 3


def test_a_batch_that_spans_two_passes_leaves_none_out() -> None:
    taken = [example.id for step in range(8) for example in batch_of(EXAMPLES, step, 3, seed=0)]
    assert set(Counter(taken).values()) == {3}  # 24 places for 8 prompts


def test_the_order_depends_on_the_seed_and_step_alone() -> None:
    def ids(step: int, seed: int) -> list[str]:
        return [example.id for example in batch_of(EXAMPLES, step, 8, seed)]

    first = ids(0, 0)
    assert ids(5, 0) != first
    assert ids(0, 1) != first
    assert ids(0, 0) == first


OPTIMISERS = ("adamw", "adafactor")


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_do_not_decay_weights(name: str) -> None:
    parameter = torch.nn.Parameter(torch.full((2, 2), 5.0))
    optimizer = make_optimizer([parameter], PPOConfig(optimizer=name), 0.1)
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(parameter.data, torch.full((2, 2), 5.0))


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("start", [0.0, 1e-4, 5.0])
@pytest.mark.parametrize("shape", [(3,), (3, 4)])
def test_a_step_is_as_long_as_the_rate_whatever_the_weights_and_the_gradient(
    name: str, start: float, shape: tuple[int, ...]
) -> None:
    """Equal gradients in each step: both optimisers divide them by their own size, so each step is the rate."""
    parameter = torch.nn.Parameter(torch.full(shape, start, dtype=torch.float64))
    optimizer = make_optimizer([parameter], PPOConfig(optimizer=name), 0.25)
    for steps, gradient in ((1, 7.0), (2, 7.0), (3, 7.0)):
        parameter.grad = torch.full(shape, gradient, dtype=torch.float64)
        optimizer.step()
        torch.testing.assert_close(parameter.data, torch.full(shape, start - 0.25 * steps, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adamw", [[0.5, 0.5], [0.5, 0.5]]),  # each gradient by its own size
        # mean squares: rows 25 and 1, columns 1 and 25, all 13, so v = [[25, 625], [1, 25]] / 13
        ("adafactor", None),
    ],
)
def test_the_optimiser_is_the_one_that_is_named(name: str, expected: list[list[float]] | None) -> None:
    """Gradients of 1 and 7: Adam divides each by itself, Adafactor by what rows and columns have in common."""
    parameter = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    optimizer = make_optimizer([parameter], PPOConfig(optimizer=name), 0.5)
    parameter.grad = torch.tensor([[1.0, 7.0], [1.0, 1.0]], dtype=torch.float64)
    optimizer.step()
    moved = -parameter.data
    if expected is not None:
        torch.testing.assert_close(moved, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)
        return
    update = parameter.grad / (torch.tensor([[25.0, 625.0], [1.0, 25.0]], dtype=torch.float64) / 13).sqrt()
    update /= update.square().mean().sqrt().clamp(min=1.0)  # its clip at a root mean square of 1
    torch.testing.assert_close(moved, 0.5 * update, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_schedule_moves_the_length_of_each_step(name: str) -> None:
    """Two updates of warm-up (a third and two thirds of the rate), the peak, then a cosine over the other eight."""
    parameter = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    config = PPOConfig(optimizer=name, warmup=0.2, final_lr=0.1)
    optimizer = make_optimizer([parameter], config, 0.3)
    scheduler = make_scheduler(optimizer, config, 10)
    moved = []
    for _ in range(7):
        before = float(parameter.data[0, 0])
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()
        moved.append(before - float(parameter.data[0, 0]))
    assert moved[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert moved[6] == pytest.approx(0.3 * 0.55)
