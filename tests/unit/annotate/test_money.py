"""Prices, estimates and the ledger that keeps a run within its budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.annotate.money import BudgetError, Price, Spending, estimate_tokens, new_spending, price_of
from rewardlab.errors import ConfigError

PRICE = Price(prompt=10, response=100, batch=0.5)


def test_a_price_by_hand() -> None:
    # 3 million prompt tokens at 10 USD and half a million response tokens at 100 USD
    assert PRICE.cost_usd(3_000_000, 500_000) == pytest.approx(80)
    assert PRICE.cost_usd(3_000_000, 500_000, is_batch=True) == pytest.approx(40)


def test_listed_models_have_a_price_and_dated_names_share_it() -> None:
    listed = price_of("gpt-4o-mini")
    assert listed is not None
    assert listed.prompt < listed.response
    assert price_of("gpt-4o-mini-2024-07-18") == listed
    assert price_of("gpt-4o-minimal") is None


def test_the_users_file_adds_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('["gpt-4o"]\nprompt = 1\nresponse = 2\n["*"]\nprompt = 0\nresponse = 0\n')
    assert price_of("gpt-4o", file) == Price(prompt=1, response=2)
    assert price_of("my-own", file) == Price(prompt=0, response=0)
    assert price_of("gpt-4o-mini", file) == price_of("gpt-4o-mini")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[m]\nprompt = -1\nresponse = 1", "m.prompt: input should be greater than or equal to 0"),
        ("[m]\nprompt = 1", "m.response: field required"),
        ("[m\n", "not valid TOML"),
    ],
)
def test_a_bad_price_file_is_named_with_its_problem(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"prices\.toml: ") as caught:
        price_of("m", file)
    assert said in str(caught.value)


def test_a_price_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        price_of("m", tmp_path / "absent.toml")


def test_a_budget_without_a_price_is_refused() -> None:
    with pytest.raises(ConfigError, match="the price of 'mine' is unknown"):
        new_spending("mine", 1.0, None)
    assert new_spending("mine", None, None).price is None


def test_the_ledger_step_by_step() -> None:
    ledger = Spending(PRICE, budget_usd=1.0, earlier_usd=0.3)
    ledger.reserve(0.4)
    assert not ledger.has_room(0.4)  # 0.3 + 0.4 + 0.4 > 1
    with pytest.raises(BudgetError):
        ledger.reserve(0.4)
    ledger.settle(0.4, 1000, 900)  # 0.01 + 0.09
    assert ledger.cost_usd == pytest.approx(0.1)
    ledger.reserve(0.4)
    ledger.give_up(0.4, may_be_charged=True)
    assert ledger.committed_usd == pytest.approx(0.8)  # 0.3 + 0.1 + 0.4 that may have been charged
    ledger.reserve(0.2)
    ledger.give_up(0.2, may_be_charged=False)
    assert ledger.committed_usd == pytest.approx(0.8)
    assert (ledger.requests, ledger.under_way, ledger.prompt_tokens, ledger.response_tokens) == (3, 0, 1000, 900)


def test_costs_without_a_price_are_unknown_and_not_zero() -> None:
    ledger = Spending(None)
    ledger.reserve(0.0)
    ledger.settle(0.0, 10, 20)
    found = ledger.to_json()
    assert (found["prompt_tokens"], found["cost_usd"], found["earlier_usd"]) == (10, None, None)
    assert "$" not in str(ledger)


@pytest.mark.parametrize(
    "text", ["A plain English sentence of the usual kind, with a comma.", "Это русский текст.", "漢字"]
)
def test_estimates_lie_on_the_high_side(text: str) -> None:
    # tokenizers of hosted models need at most one token for a word's piece of three bytes
    assert estimate_tokens(text) >= len(text.encode()) / 3
