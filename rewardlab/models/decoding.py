"""How a batch reads its tokens one at a time: with a cache that grows, or in buffers of fixed size.

In buffers of fixed size every token is the same work at the same addresses, so that CUDA can record it once as a graph
and repeat it without Python and without one launch per kernel. The work itself is a plain method, which runs on any
device. B rows, P prompt columns, N most new tokens, H width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from rewardlab.models.cache import FixedLayer, RoomyLayer
from rewardlab.models.trunk import Prefill, Trunk

logger = logging.getLogger(__name__)

Repeat = Callable[[], None]
Recorder = Callable[[Repeat], Repeat]
"""Records work without doing it; what it returns does it."""
WORTH_RECORDING = 16
"""Tokens that must be left for a smaller batch to be recorded anew. By arithmetic, not by measurement: of a 7B model
the token that is read plainly and the one that is recorded take about 25 ms each, copying the cache 10 ms, and a token
of half the rows 3 to 4 ms less, where a GPU reads 3 TB/s."""
_failed: set[Recorder] = set()
"""Recorders that failed in this process; they are not asked again."""


class Decoder(Protocol):
    """Reads one token per row and says what state predicts the next."""

    def should_select(self, alive: int, rows: int, left: int) -> bool:
        """Whether rows that are done should leave now: ``alive`` of ``rows`` go on, for ``left`` tokens at most."""

    def select(self, rows: Tensor) -> None:
        """Keep only some rows, by index."""

    def read(self, tokens: Tensor) -> Tensor:
        """Read tokens (B,) under the active role; returns their states (B, H)."""


class GrowingDecoder:
    """Reads with the cache of the prefill, which gets longer.

    Args:
        trunk: The model, its role active.
        keep: True at real prompt tokens. Shape (B, P).
        cache: Of the prompts.
    """

    def __init__(self, trunk: Trunk, keep: Tensor, cache: Any) -> None:
        self._trunk, self._keep, self._cache = trunk, keep, cache

    def should_select(self, alive: int, rows: int, left: int) -> bool:
        """Selecting copies the cache, which a tenth of the rows is worth."""
        return alive < 0.9 * rows

    def select(self, rows: Tensor) -> None:
        """Keep only some rows, by index."""
        self._keep = self._keep[rows]
        self._cache.batch_select_indices(rows)

    def read(self, tokens: Tensor) -> Tensor:
        """One more column of mask and cache."""
        self._keep = torch.cat([self._keep, self._keep.new_ones(len(tokens), 1)], dim=1)
        return self._trunk.extend(tokens, self._keep, self._cache)


class FixedDecoder:
    """Reads in buffers that have room for all new tokens from the start.

    Args:
        trunk: The model, its role active.
        keep: True at real prompt tokens. Shape (B, P).
        cache: Of the prompts; its layers become fixed ones.
        new_tokens: N.
        record: Records the work of a token; None does it anew for each.
    """

    _repeat: Repeat | None
    _is_warm: bool
    _tokens: Tensor
    _states: Tensor

    def __init__(self, trunk: Trunk, keep: Tensor, cache: Any, new_tokens: int, record: Recorder | None = None) -> None:
        rows, width = keep.shape
        self._trunk, self._cache, self._record = trunk, cache, record
        self._place = torch.tensor([width], device=keep.device)
        self._positions = keep.sum(1, keepdim=True)
        self._seen = torch.cat([keep, keep.new_zeros(rows, new_tokens)], dim=1)[:, None, None]
        for number, layer in enumerate(cache.layers):  # one after the other, so that two caches never lie side by side
            cache.layers[number] = FixedLayer(layer, width + new_tokens, self._place)
        self._make_room(rows)

    def should_select(self, alive: int, rows: int, left: int) -> bool:
        """Selecting copies the cache and makes a new recording: at most log2(B) + 1 times, and not for a few tokens."""
        return alive < 0.5 * rows and left >= WORTH_RECORDING

    def select(self, rows: Tensor) -> None:
        """Keep only some rows, by index."""
        self._positions, self._seen = self._positions[rows], self._seen[rows]
        self._cache.batch_select_indices(rows)
        self._make_room(len(rows))

    def read(self, tokens: Tensor) -> Tensor:
        """The first token of a batch is read plainly, which warms up kernels; the second is recorded."""
        self._tokens.copy_(tokens[:, None])
        if self._repeat is None and self._is_warm:
            self._repeat = self._recorded()
        (self._repeat or self._advance)()
        self._is_warm = True
        return self._states.clone()

    def _advance(self) -> None:
        """Read the tokens in the buffer: no shape, address or number of this depends on what was read before."""
        self._seen.index_fill_(3, self._place, True)
        states = self._trunk.read_in_place(self._tokens, self._positions, self._seen, self._cache)
        self._states.copy_(states)
        self._positions.add_(1)
        self._place.add_(1)

    def _recorded(self) -> Repeat | None:
        if self._record is None or self._record in _failed:
            return None
        try:
            return self._record(self._advance)
        except RuntimeError as error:
            logger.warning("decoding cannot be recorded and goes on without (%s)", " ".join(str(error).split())[:200])
            _failed.add(self._record)
            return None

    def _make_room(self, rows: int) -> None:
        """Buffers for this many rows; what was recorded belongs to others."""
        self._repeat, self._is_warm = None, False
        self._tokens = self._place.new_zeros(rows, 1)
        self._states = torch.zeros(rows, self._trunk.width, dtype=self._trunk.dtype, device=self._place.device)


def decoder_of(trunk: Trunk, keep: Tensor, prefill: Prefill, new_tokens: int, *, is_fixed: bool | None) -> Decoder:
    """The decoder for a batch whose prompts were read.

    Args:
        trunk: The model, its role active.
        keep: True at real prompt tokens. Shape (B, P).
        prefill: Of the prompts.
        new_tokens: Most tokens that will be read.
        is_fixed: Fixed buffers or not; None has them on CUDA alone. Models that cannot have them grow either way.
    """
    is_cuda = trunk.device.type == "cuda"
    if (is_cuda if is_fixed is None else is_fixed) and _can_be_fixed(trunk, prefill.cache):
        return FixedDecoder(trunk, keep, prefill.cache, new_tokens, cuda_graphs if is_cuda else None)
    return GrowingDecoder(trunk, keep, prefill.cache)


class CudaGraphs:
    """Records work as CUDA graphs, which share one pool of memory.

    With a pool of its own each would ask the device for memory anew. Sharing is safe: what a graph makes is copied into
    buffers outside of the pool, and the graph before is never repeated once there is another. torch gives a pool up
    with its last graph, so one is kept until there is the next.
    """

    def __init__(self) -> None:
        self._last: torch.cuda.CUDAGraph | None = None

    def __call__(self, work: Repeat) -> Repeat:
        """Record ``work``; what other threads do meanwhile, such as NCCL's, does not spoil it."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        pool = None if self._last is None else self._last.pool()
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                work()
        finally:
            torch.cuda.set_stream(stream)  # torch stays on the stream of a capture that cannot be ended
        self._last = graph
        replay: Repeat = graph.replay
        return replay


cuda_graphs = CudaGraphs()


def _can_be_fixed(trunk: Trunk, cache: Any) -> bool:
    """Positions are an argument (not so with ALiBi, which reads the mask) and not scaled by length, no window is short.

    Layers of different kinds have scalings of their own (Gemma 3).
    """
    config = trunk.model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    scalings = {each.get("rope_type") for each in (rope, *rope.values()) if isinstance(each, dict)}
    return (
        trunk.takes_positions
        and trunk.model._can_compile_fullgraph
        and trunk.model.config._attn_implementation != "eager"
        and not getattr(config, "alibi", False)
        and scalings.isdisjoint(("dynamic", "longrope"))
        and all(type(layer) is RoomyLayer for layer in cache.layers)
    )
