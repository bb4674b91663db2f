"""Which prompts come in which step, and how the learning rate moves."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from rewardlab.config import PPOConfig
from rewardlab.training.schedule import batch_of, factor_at, make_optimizer, make_scheduler
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
