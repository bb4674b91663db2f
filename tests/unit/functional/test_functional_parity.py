"""``functional`` against the papers' formulas as loops over floats, and against numbers recorded from TRL 1.12.0.

TRL's lines were run on stored inputs (``recorded/record_trl.py``); it is no dependency. Where it means something else
than we do, the test says so: it counts one value more than there are tokens, and puts the score of a padded response
there.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rewardlab.functional.gae import gae
from rewardlab.functional.kl import entropy, kl_k1, kl_k2, kl_k3, token_logprobs
from rewardlab.functional.masking import masked_mean, masked_variance, whiten
from rewardlab.functional.ppo import explained_variance, policy_loss, value_loss
from rewardlab.functional.preference import preference_loss
from tests.support import slow

RECORDED = Path(__file__).parents[1] / "recorded" / "trl_1_12_0.json"
FLOAT32 = 1e-7
"""Where TRL goes through float32: its variance's correction, its clip shares."""
SEEDS = range(3)
LENGTHS = (7, 1, 4, 6)
KEEP = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
LOGITS = 2 * torch.randn(4, 7, 11, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def numbers(seed: int, count: int) -> list[Tensor]:
    """``count`` tables (4, 7) of normal numbers, whose padding is far from what is kept."""
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.randn(KEEP.shape, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [torch.where(KEEP, table, table + 50 * (place + 1)) for place, table in enumerate(tables)]


def kept(table: Tensor) -> list[float]:
    """All kept numbers, row after row."""
    flat: list[float] = table[KEEP].tolist()
    return flat


def near(found: Tensor, expected: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found.double(), torch.as_tensor(expected, dtype=torch.float64), atol=tolerance, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
class TestSlowLoops:
    def test_whitening(self, seed: int) -> None:
        (values,) = numbers(seed, 1)
        for shift in (True, False):
            found = whiten(values, KEEP, shift=shift, epsilon=0.0)
            near(found[KEEP], slow.whitened(kept(values), shift=shift))
            assert not found[~KEEP].any()

    @pytest.mark.parametrize(("gamma", "trace"), [(1.0, 0.95), (0.9, 0.5), (0.5, 0.0), (0.8, 1.0)])
    def test_gae(self, seed: int, gamma: float, trace: float) -> None:
        rewards, values = numbers(seed, 2)
        found = gae(rewards, values, KEEP, gamma=gamma, trace=trace)
        for row, length in enumerate(LENGTHS):
            mine = values[row, :length].tolist()
            expected = slow.advantages(rewards[row, :length].tolist(), mine, gamma, trace)
            near(found.advantages[row, :length], expected)
            near(found.returns[row, :length], [a + v for a, v in zip(expected, mine, strict=True)])
        assert not found.advantages[~KEEP].any()
        assert not found.returns[~KEEP].any()

    def test_kl_estimators(self, seed: int) -> None:
        policy, reference = numbers(seed, 2)
        pairs = zip(kept(policy), kept(reference), strict=True)
        expected = torch.tensor([slow.kl_estimates(*pair) for pair in pairs], dtype=torch.float64)
        for column, estimator in enumerate((kl_k1, kl_k2, kl_k3)):
            near(estimator(policy, reference)[KEEP], expected[:, column])

    def test_policy_loss_and_its_gradient(self, seed: int) -> None:
        new, old, advantages = numbers(seed, 3)
        new = (old + 0.3 * new).requires_grad_()
        outcome = policy_loss(new, old, advantages, KEEP, clip=0.2, count=5)

        def objective(logprobs: list[float]) -> float:
            return -sum(slow.clipped_objective(logprobs, kept(old), kept(advantages), 0.2)) / 5

        point = kept(new.detach())
        near(outcome.loss.detach(), objective(point))
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        assert new.grad is not None
        near(new.grad[KEEP], [slow.slope(objective, point, place) for place in range(len(point))], 1e-7)
        assert not new.grad[~KEEP].any()

    def test_value_loss_and_its_gradient(self, seed: int) -> None:
        new, old, returns = numbers(seed, 3)
        new.requires_grad_()
        outcome = value_loss(new, old, returns, KEEP, clip=0.4, count=5)

        def error(values: list[float]) -> float:
            return sum(slow.clipped_errors(values, kept(old), kept(returns), 0.4)) / 5

        point = kept(new.detach())
        near(outcome.loss.detach(), error(point))
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        assert new.grad is not None
        near(new.grad[KEEP], [slow.slope(error, point, place) for place in range(len(point))], 1e-7)
        assert not new.grad[~KEEP].any()

    def test_explained_variance(self, seed: int) -> None:
        values, returns = numbers(seed, 2)
        expected = slow.explained_variance(kept(values), kept(returns))
        assert explained_variance(values, returns, KEEP) == pytest.approx(expected, abs=1e-9)

    def test_preference_loss(self, seed: int) -> None:
        chosen, rejected = (torch.tensor(kept(table)) for table in numbers(seed, 2))
        near(preference_loss(chosen, rejected), slow.preference_loss(chosen.tolist(), rejected.tolist()), 1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_token_logprobs_equal_the_slow_softmax(temperature: float) -> None:
    tokens = torch.arange(28).view(4, 7) % 11
    rows = [slow.log_softmax(line.tolist(), temperature) for line in LOGITS.view(-1, 11)]
    expected = torch.tensor([row[token] for row, token in zip(rows, tokens.flatten().tolist(), strict=True)])
    near(token_logprobs(LOGITS, tokens, temperature).flatten(), expected, 2e-6)


def test_entropy_equals_the_slow_sum() -> None:
    near(entropy(LOGITS).flatten(), [slow.entropy(line.tolist()) for line in LOGITS.view(-1, 11)], 2e-6)


# -- TRL 1.12.0 -------------------------------------------------------------------------------------------------------


@cache
def recorded() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert stored["trl"] == "1.12.0"
    return stored


def given(name: str) -> Tensor:
    """A stored input."""
    table = recorded()["inputs"][name]
    return torch.tensor(table, dtype=torch.float64 if isinstance(table[0][0], float) else None)


def theirs(name: str) -> Tensor:
    """What TRL made of the inputs."""
    return torch.tensor(recorded()["found"][name], dtype=torch.float64)


def setting(name: str) -> float:
    return float(recorded()["settings"][name])


class TestTRL:
    @property
    def keep(self) -> Tensor:
        return ~given("padding_mask")

    @property
    def keep_values(self) -> Tensor:
        """One token more than the response, where it is padded."""
        return ~given("padding_mask_p1")

    def test_masked_statistics(self) -> None:
        near(masked_mean(given("values"), self.keep), theirs("masked_mean"))
        near(masked_variance(given("values"), self.keep), theirs("masked_var"), FLOAT32)

    def test_whitening_where_tokens_are_kept(self) -> None:
        near(whiten(given("values"), self.keep)[self.keep], theirs("masked_whiten")[self.keep], FLOAT32)
        unshifted = whiten(given("values"), self.keep, shift=False)
        near(unshifted[self.keep], theirs("masked_whiten_unshifted")[self.keep], FLOAT32)

    def test_logprobs_and_entropy(self) -> None:
        near(token_logprobs(given("logits"), given("responses")), theirs("selective_log_softmax"), 2e-6)
        near(entropy(given("logits")), theirs("entropy_from_logits"), 2e-6)
        near(entropy(given("logits")), theirs("entropy"), 2e-6)

    def test_kl_estimators(self) -> None:
        policy, reference = theirs("selective_log_softmax"), given("ref_logprobs")
        near(kl_k1(policy, reference) * self.keep, theirs("k1"))
        near(kl_k3(policy, reference) * self.keep, theirs("k3"))
        drift = kl_k2(theirs("new_logprobs"), theirs("selective_log_softmax"))
        near(torch.where(self.keep, drift, 0.0).mean(), theirs("approxkl"))  # its mean counts padding, as zeros

    def test_advantages_and_returns(self) -> None:
        values = given("values") * self.keep_values
        found = gae(theirs("rewards"), values, self.keep_values, gamma=setting("gamma"), trace=setting("lam"))
        near(found.advantages[self.keep_values], theirs("advantages")[self.keep_values])
        near(found.returns[self.keep_values], theirs("returns")[self.keep_values])

    def test_policy_loss_its_gradient_and_clip_share(self) -> None:
        new = theirs("new_logprobs").requires_grad_()
        old = torch.where(self.keep, theirs("selective_log_softmax"), 1.0)
        tokens = self.keep.sum()
        outcome = policy_loss(new, old, theirs("advantages"), self.keep, clip=setting("cliprange"), count=tokens)
        near(outcome.loss.detach(), theirs("pg_loss"))
        near(outcome.ratio, theirs("ratio"))
        near(outcome.clipped / tokens, theirs("pg_clipfrac"), FLOAT32)
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        assert new.grad is not None
        near(new.grad, theirs("new_logprobs_grad"))

    def test_value_loss_its_gradient_and_clip_share(self) -> None:
        new, keep = theirs("vpred").requires_grad_(), self.keep_values
        clip, tokens = setting("cliprange_value"), self.keep_values.sum()
        outcome = value_loss(new, given("values") * keep, theirs("returns"), keep, clip=clip, count=tokens)
        near(outcome.loss.detach(), theirs("vf_loss"))
        near(outcome.clipped / tokens, theirs("vf_clipfrac"), FLOAT32)
        (setting("vf_coef") * outcome.loss).backward()  # type: ignore[no-untyped-call]
        assert new.grad is not None
        near(new.grad, theirs("vpred_grad"))

    def test_the_score_of_a_whole_response_stands_on_its_last_token(self) -> None:
        """Theirs stands one column behind a padded response; ours is on the last token of every one."""
        without = -setting("kl_coef") * theirs("k1")
        places = (theirs("rewards") - without).abs() > 1e-9
        assert places.sum(-1).tolist() == [1] * 4
        lengths = self.keep.sum(-1).tolist()
        assert places.int().argmax(-1).tolist() == [5 if length == 6 else length for length in lengths]
