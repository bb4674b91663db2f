"""What answers cost: prices, estimates before asking, and the ledger that keeps a run within its budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from rewardlab.annotate.shipped import shipped
from rewardlab.errors import AnnotationError, ConfigError
from rewardlab.reading import parse_toml, told
from rewardlab.section import Section

MILLION = 1_000_000
BYTES_PER_TOKEN = 3
"""Fewer than in English (about 4), so that estimates lie on the high side."""
MESSAGE_TOKENS = 8
"""What a chat format adds around one message, rounded up."""

_TOKENS = ("prompt_tokens", "response_tokens")
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class Price(Section):
    """What one model costs, USD per million tokens."""

    prompt: float = Field(ge=0, description="USD per million prompt tokens")
    response: float = Field(ge=0, description="USD per million response tokens")
    batch: float = Field(1.0, ge=0, le=1, description="share of the price in batch mode")

    def cost_usd(self, prompt_tokens: int, response_tokens: int, *, is_batch: bool = False) -> float:
        """Price of one answer, USD.

        >>> Price(prompt=2.0, response=8.0, batch=0.5).cost_usd(1000, 500, is_batch=True)
        0.003
        """
        share = self.batch if is_batch else 1.0
        return share * (prompt_tokens * self.prompt + response_tokens * self.response) / MILLION


class BudgetError(AnnotationError):
    """The next request might cost more than what is left of the budget."""


class Purse:
    """What one command spends: all its annotators together, and what was paid before for what it builds on.

    Attributes:
        counted: Keys of the requests that are accounted for; a question of two stages is paid once.
    """

    def __init__(self) -> None:
        self.counted: set[str] = set()
        self._ledgers: list[Spending] = []
        self._before: dict[str, float] = {}

    @property
    def committed_usd(self) -> float:
        """All that is spent, may have been charged, or is under way."""
        return sum(self._before.values()) + sum(ledger.committed_usd for ledger in self._ledgers)

    def take(self, ledger: Spending) -> None:
        """Pay for one more annotator."""
        self._ledgers.append(ledger)

    def remember(self, stage: str, spent: Mapping[str, Any] | None) -> None:
        """Count a stage that an earlier command finished.

        Args:
            stage: Its fingerprint; a stage counts once.
            spent: What its annotator said of it (:meth:`Spending.to_json`); empty where it was free.
        """
        known = [(spent or {}).get(name) for name in ("cost_usd", "earlier_usd", "at_risk_usd")]
        self._before[stage] = sum(usd for usd in known if isinstance(usd, int | float))


@dataclass(slots=True)
class Spending:
    """What one annotator has spent, and what it may still spend.

    Before each request its highest possible cost is set aside; afterwards it is settled with what the endpoint
    counted, or by an estimate where it counted nothing. A request whose answer was lost on the way may have been
    charged and stays set aside.

    Attributes:
        price: None when it is unknown; costs are then unknown too.
        budget_usd: Most that may be spent by the whole command, with what earlier ones paid for the answers used here.
        purse: What that is compared with.
        earlier_usd: What earlier runs paid for the questions of this one.
        cost_usd: Charged in this run.
        at_risk_usd: Set aside for lost answers, those of earlier runs included.
        reserved_usd: Set aside for requests under way.
        under_way: How many those are.
        requests: HTTP requests sent in this run.
        prompt_tokens, response_tokens: Charged in this run.
    """

    price: Price | None
    budget_usd: float | None = None
    purse: Purse = field(default_factory=Purse)
    earlier_usd: float = 0.0
    cost_usd: float = 0.0
    at_risk_usd: float = 0.0
    reserved_usd: float = 0.0
    under_way: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0

    def __post_init__(self) -> None:
        self.purse.take(self)

    @property
    def committed_usd(self) -> float:
        """All that is spent, may have been charged, or is under way."""
        return self.earlier_usd + self.cost_usd + self.at_risk_usd + self.reserved_usd

    def cost_of(self, record: Mapping[str, Any]) -> float:
        """Cost of a journal record, USD; 0 when the price or its tokens are unknown."""
        if self.price is None:
            return 0.0
        return self.price.cost_usd(*booked_tokens(record), is_batch=bool(record.get("batch")))

    def add_earlier(self, record: Mapping[str, Any]) -> None:
        """Count what an earlier run paid, or may have paid, for one of the questions of this one."""
        if record.get("is_certain", True):
            self.earlier_usd += self.cost_of(record)
        else:
            self.at_risk_usd += self.cost_of(record)

    def has_room(self, worst_usd: float) -> bool:
        """True when so much more cannot break the budget."""
        return self.budget_usd is None or self.purse.committed_usd + worst_usd <= self.budget_usd

    def check(self, worst_usd: float) -> None:
        """Raise BudgetError when so much more might break the budget."""
        if not self.has_room(worst_usd):
            lost = f" (${self.at_risk_usd:.4f} of it for answers that were lost)" if self.at_risk_usd else ""
            raise BudgetError(
                f"annotate.budget_usd = {self.budget_usd}: ${self.purse.committed_usd:.4f} are spent or set "
                f"aside{lost}, and what comes next may cost ${worst_usd:.4f}"
            )

    def reserve(self, worst_usd: float) -> None:
        """Set the highest possible cost of one request aside; raises BudgetError when that is too much."""
        self.check(worst_usd)
        self.reserved_usd += worst_usd
        self.under_way += 1
        self.requests += 1

    def settle(self, reserved_usd: float, prompt_tokens: int, response_tokens: int) -> None:
        """An answer came, with the endpoint's token counts."""
        self._release(reserved_usd)
        self.add(prompt_tokens, response_tokens)

    def add(self, prompt_tokens: int, response_tokens: int, *, is_batch: bool = False) -> None:
        """Count what was charged."""
        self.prompt_tokens += prompt_tokens
        self.response_tokens += response_tokens
        if self.price is not None:
            self.cost_usd += self.price.cost_usd(prompt_tokens, response_tokens, is_batch=is_batch)

    def give_up(self, reserved_usd: float, *, may_be_charged: bool) -> None:
        """No answer came."""
        self._release(reserved_usd)
        self.at_risk_usd += reserved_usd if may_be_charged else 0.0

    def _release(self, reserved_usd: float) -> None:
        self.under_way -= 1
        self.reserved_usd = self.reserved_usd - reserved_usd if self.under_way else 0.0

    def __str__(self) -> str:
        tokens = f"{self.prompt_tokens + self.response_tokens} tokens"
        return f"{tokens}, ${self.earlier_usd + self.cost_usd:.4f}" if self.price else tokens

    def to_json(self) -> dict[str, Any]:
        """For manifests; costs are None where the price is unknown."""
        has_price = self.price is not None
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "response_tokens": self.response_tokens,
            "cost_usd": round(self.cost_usd, 8) if has_price else None,
            "earlier_usd": round(self.earlier_usd, 8) if has_price else None,
            "at_risk_usd": round(self.at_risk_usd, 8) if has_price else None,
            "budget_usd": self.budget_usd,
            "price": self.price.model_dump() if self.price else None,
        }


def estimated(record: Mapping[str, Any], prompt_tokens: int, response_tokens: int) -> dict[str, Any]:
    """The record, with ``estimated`` tokens where the endpoint counted none.

    >>> estimated({"prompt_tokens": 7, "response_tokens": None}, 9, 160)["estimated"]
    {'response_tokens': 160}
    """
    told = {"prompt_tokens": prompt_tokens, "response_tokens": response_tokens}
    missing = {name: tokens for name, tokens in told.items() if record.get(name) is None}
    return {**record, "estimated": missing} if missing else dict(record)


def booked_tokens(record: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of prompt and response that a record is charged for: counted, else estimated, else 0."""
    filled = {**(record.get("estimated") or {}), **{name: record[name] for name in _TOKENS if record.get(name)}}
    prompt, response = (int(filled.get(name, 0)) for name in _TOKENS)
    return prompt, response


def new_spending(model: str, budget_usd: float | None, file: Path | None, purse: Purse | None = None) -> Spending:
    """An empty ledger.

    Args:
        model: Whose price counts.
        budget_usd: Most that the command may spend; None is no limit.
        file: The user's prices.
        purse: The command's; None is one of its own.
    Raises:
        ConfigError: A budget without a known price, or a price file that cannot be read.
    """
    price = price_of(model, file)
    if price is None and budget_usd is not None:
        raise ConfigError(
            f"annotate.budget_usd: the price of {model!r} is unknown; give --prices FILE with "
            f'["{model}"] prompt = ..., response = ... (USD per million tokens)'
        )
    return Spending(price, budget_usd, purse or Purse())


def price_of(model: str, file: Path | None = None) -> Price | None:
    """The price of a model by the user's file or else by list; None when neither has it."""
    prices = _read(shipped("prices.toml")) | (_read(file) if file else {})
    return prices.get(model) or prices.get(_DATE.sub("", model)) or prices.get("*")


def estimate_tokens(text: str) -> int:
    """Tokens of one message, rather too many than too few; no tokenizer of a hosted model is at hand.

    >>> estimate_tokens("word " * 6)  # 30 bytes
    18
    """
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN) + MESSAGE_TOKENS


def _read(file: Path) -> dict[str, Price]:
    try:
        values = parse_toml(file.read_text(encoding="utf-8-sig"))
        return TypeAdapter(dict[str, Price]).validate_python(values)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); give a TOML file of prices") from error
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg'].lower()}" for item in error.errors())
        found = told(problems, error.error_count())
        raise ConfigError(f'{file}: {found}; expected ["MODEL"] prompt = ..., response = ..., batch = ...') from error
    except ValueError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
