"""Our own sampler: left padding, one prefill of the distinct prompts, key-value cache; finished rows leave the batch.

Randomness is counter-based: one uniform number per (row key, position) goes through the inverse of the cumulative
distribution, so neither batch order nor grouping nor a resume changes what is drawn. B rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rewardlab.functional.kl import entropy, token_logprobs
from rewardlab.models.codec import Codec
from rewardlab.models.decoding import Decoder, decoder_of
from rewardlab.models.trunk import Prefill, Trunk

STOP_TAIL_TOKENS = 12
"""How many of the latest tokens are decoded to look for a stop string."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the sampler saw of one response while it was drawn, R tokens.

    Attributes:
        logprobs: Log-probability of each token at the sampling temperature. Shape (R,), nats.
        entropies: Entropy of the distribution each token was drawn from. Shape (R,), nats.
        states: Hidden state that predicted each token. Shape (R, H).
    """

    logprobs: Tensor
    entropies: Tensor
    states: Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """One generated response.

    Attributes:
        ids: Response tokens, the end token included when it was drawn.
        text: Decoded, without the end token.
        is_finished: True when the response ended by itself (end token or stop string), False when it was cut.
        measured: Log-probabilities and states, when the sampler was asked to keep them.
        drawn: Log-probability of each token, nats, as a server computed it that drew them; None when they were drawn
            here.
    """

    ids: tuple[int, ...]
    text: str
    is_finished: bool
    measured: Measured | None = field(default=None, compare=False, repr=False)
    drawn: tuple[float, ...] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How responses are drawn.

    Attributes:
        max_new_tokens: Budget, tokens.
        temperature: Divides the logits; 0 is greedy decoding.
        stop: Texts after which a response is complete.
        batch: Rows generated together; rows are grouped by prompt length.
        is_fixed_length: Draw the whole budget, whatever ends a response; for measurements of speed.
        is_measured: Keep log-probabilities, entropies and hidden states of every sample.
        is_fixed: Decode in buffers of fixed size; None does so on CUDA, where the work can be recorded as a graph.
    """

    max_new_tokens: int
    temperature: float = 1.0
    stop: tuple[str, ...] = ()
    batch: int = 64
    is_fixed_length: bool = False
    is_measured: bool = False
    is_fixed: bool | None = None


def row_key(*parts: object) -> int:
    """A 64-bit key from whatever identifies a row: seed, step, task, example, sample number."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def budget_of(least: int | None, most: int, *key: object) -> int:
    """A response budget between ``least`` and ``most``, both included, tokens; without a least it is the most.

    Args:
        least, most: Its range.
        key: What identifies the draw, as in :func:`row_key`.
    """
    return most if least is None else least + row_key("budget", *key) % (most - least + 1)


def uniforms(keys: Tensor, position: int) -> Tensor:
    """One uniform number in [0, 1) per key at a position; the same whatever else is in the batch.

    Args:
        keys: Row keys. Shape (B,), int64.
        position: Index of the response token.
    Returns:
        Shape (B,), float64.
    Source:
        Finaliser of SplitMix64 (Steele et al. 2014), on wrapping 64-bit integers.
    """
    step = ((position + 1) * 0x9E3779B97F4A7C15 + 2**63) % 2**64 - 2**63  # wrapped to a signed 64-bit integer
    mixed = keys + step
    mixed = (mixed ^ _shift_right(mixed, 30)) * -4658895280553007687
    mixed = (mixed ^ _shift_right(mixed, 27)) * -7723592293110705685
    mixed = mixed ^ _shift_right(mixed, 31)
    return _shift_right(mixed, 11).double() / 2.0**53


def draw(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """Tokens (B,) drawn from logits (B, V) by inverting the cumulative distribution; greedy at temperature 0."""
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = torch.softmax(logits / temperature, -1).double().cumsum(-1)
    threshold = uniform.to(logits.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


@torch.inference_mode()
def sample(
    trunk: Trunk,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[int],
    config: SamplingConfig,
    role: str | None,
    budgets: Sequence[int] | None = None,
    report: Callable[[int], None] | None = None,
) -> list[Sample]:
    """Generate one response per prompt under ``role``.

    Args:
        trunk: The model.
        prompts: Token ids of each prompt.
        keys: One :func:`row_key` per prompt.
        config: Budget, temperature, stop strings, batch.
        role: Whose adapter draws; None is the bare trunk.
        budgets: Tokens that each response may have; default ``config.max_new_tokens`` for all.
        report: Told after each batch how many responses are drawn.
    Returns:
        As many samples as prompts, in their order.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    done: dict[int, Sample] = {}
    with trunk.roles.using(role):
        for start in range(0, len(order), config.batch):
            rows = order[start : start + config.batch]
            batch = _Decoding(trunk, [prompts[row] for row in rows], [keys[row] for row in rows], config)
            if budgets is not None:
                batch.budgets = [budgets[row] for row in rows]
            done.update(zip(rows, batch.run(), strict=True))
            if report is not None:
                report(len(done))
    return [done[row] for row in range(len(prompts))]


class _Decoding:
    """The state of one batch while it is decoded."""

    def __init__(
        self, trunk: Trunk, prompts: Sequence[Sequence[int]], keys: Sequence[int], config: SamplingConfig
    ) -> None:
        self.trunk, self.config = trunk, config
        self.ids: list[list[int]] = [[] for _ in prompts]
        self.budgets = [config.max_new_tokens] * len(prompts)
        self.finished = [False] * len(prompts)
        self.rows = list(range(len(prompts)))
        self.keys = torch.tensor(keys, dtype=torch.int64)
        self.prompt, self.keep = left_pad(prompts, trunk.codec.pad_id, trunk.device)
        first: dict[tuple[int, ...], int] = {}
        self.owners = [first.setdefault(tuple(prompt), row) for row, prompt in enumerate(prompts)]  # of equal prompts
        self.seen: list[_Position] = []
        self.ends = frozenset[int]() if config.is_fixed_length else end_ids(trunk)

    def run(self) -> list[Sample]:
        budget = max(self.budgets)
        state = self._read_prompts(budget)
        decoder = decoder_of(self.trunk, self.keep, state, budget, is_fixed=self.config.is_fixed)
        last = state.last
        for position in range(budget):
            logits = self.trunk.logits(last)
            tokens = draw(logits, self.config.temperature, uniforms(self.keys, position))
            if self.config.is_measured:
                self.seen.append(_Position.of(self.rows, logits, tokens, last, self.config.temperature))
            self._take(tokens.tolist())
            if all(map(self._is_done, self.rows)):
                break
            last = decoder.read(self._compact(tokens, decoder))
        measured = self._measured()
        return [self._sample(row, measured[row]) for row in range(len(self.ids))]

    def _read_prompts(self, budget: int) -> Prefill:
        """Read each distinct prompt once; rows that share a prompt share what was read."""
        firsts = list(dict.fromkeys(self.owners))
        if len(firsts) == len(self.owners):
            return self.trunk.prefill(self.prompt, self.keep, budget)
        place = {first: number for number, first in enumerate(firsts)}
        rows = torch.tensor([place[owner] for owner in self.owners], device=self.prompt.device)
        return self.trunk.prefill(self.prompt[firsts], self.keep[firsts], budget).rows(rows)

    def _take(self, tokens: list[int]) -> None:
        for row, token in zip(self.rows, tokens, strict=True):
            if not self._is_done(row):
                self.ids[row].append(token)
                self.finished[row] = token in self.ends or self._hits_stop(row)

    def _is_done(self, row: int) -> bool:
        return self.finished[row] or len(self.ids[row]) >= self.budgets[row]

    def _hits_stop(self, row: int) -> bool:
        return not self.config.is_fixed_length and hits_stop(self.trunk.codec, self.ids[row], self.config.stop)

    def _compact(self, tokens: Tensor, decoder: Decoder) -> Tensor:
        """Let rows that are done leave the batch when enough of them have piled up; tokens of those that stay."""
        alive = [index for index, row in enumerate(self.rows) if not self._is_done(row)]
        left = max(self.budgets[self.rows[index]] - len(self.ids[self.rows[index]]) for index in alive)
        if not decoder.should_select(len(alive), len(self.rows), left):
            return tokens
        index = torch.tensor(alive)
        self.rows = [self.rows[i] for i in alive]
        self.keys = self.keys[index]
        index = index.to(tokens.device)
        decoder.select(index)
        return tokens[index]

    def _sample(self, row: int, measured: Measured | None) -> Sample:
        ids = self.ids[row]
        text = self.trunk.codec.decode(ids[:-1] if ids and ids[-1] in self.ends else ids)
        return Sample(tuple(ids), text, self.finished[row], measured)

    def _measured(self) -> Sequence[Measured | None]:
        """What was seen of each row; positions that it stayed in the batch after its end are left out."""
        if not self.seen:
            return [None] * len(self.ids)
        seen = ((one.logprobs, one.entropies, one.states) for one in self.seen)
        columns = [torch.cat(column) for column in zip(*seen, strict=True)]
        places: list[list[int]] = [[] for _ in self.ids]
        for place, row in enumerate(row for one in self.seen for row in one.rows):
            places[row].append(place)
        own = (torch.tensor(at[: len(ids)], device=columns[0].device) for at, ids in zip(places, self.ids, strict=True))
        return [Measured(*(column[at] for column in columns)) for at in own]


@dataclass(frozen=True, slots=True)
class _Position:
    """What was seen at one position of a batch; its rows, and one number or state each."""

    rows: Sequence[int]
    logprobs: Tensor
    entropies: Tensor
    states: Tensor

    @classmethod
    def of(cls, rows: Sequence[int], logits: Tensor, tokens: Tensor, states: Tensor, temperature: float) -> _Position:
        """Measure the tokens (B,) drawn from logits (B, V)."""
        return cls(rows, token_logprobs(logits, tokens, temperature), entropy(logits / temperature), states)


def hits_stop(codec: Codec, ids: Sequence[int], stop: Sequence[str]) -> bool:
    """Whether the latest tokens of a response hold a text that ends it; white space in front of it ends nothing."""
    if not stop:
        return False
    tail = codec.decode(ids[-STOP_TAIL_TOKENS:])
    return bool(tail.strip()) and any(text in tail.lstrip() for text in stop)


def left_pad(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of ids to (ids, keep), both (B, longest), padded in front."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows], device=device)
    keep = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], device=device)
    return ids, keep


def right_pad(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of ids to (ids, keep), both (B, longest), padded behind."""
    width = max(map(len, rows))
    ids = torch.tensor([list(row) + [pad_id] * (width - len(row)) for row in rows], device=device)
    keep = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows], device=device)
    return ids, keep


def end_ids(trunk: Trunk) -> frozenset[int]:
    """Every token that ends a response: the tokenizer's and those of the generation config."""
    return declared_ends(trunk) | {trunk.codec.eos_id}


def declared_ends(trunk: Trunk) -> frozenset[int]:
    """Tokens that end a response by the model's generation config; a chat model may list several."""
    listed = getattr(trunk.model.generation_config, "eos_token_id", None)
    return frozenset(int(token) for token in (listed if isinstance(listed, list) else [listed]) if token is not None)


def _shift_right(values: Tensor, bits: int) -> Tensor:
    """Logical (unsigned) right shift of int64."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
