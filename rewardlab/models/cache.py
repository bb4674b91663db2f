"""Key-value caches with room, so that a new token is written and not all earlier ones copied.

B rows, G key-value heads, S cached tokens, D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

ROOM = 64
"""Tokens that a full cache grows by."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types here
    """Keys and values of one layer: views (B, G, S, D) of larger tensors."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, G, new, D); returns all of them."""
        before = self.get_seq_length()
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._stored = [key_states[:, :, :0], value_states[:, :, :0]]
        after = before + key_states.shape[-2]
        for number, new in enumerate((key_states, value_states)):
            if after > self._stored[number].shape[-2]:
                self._stored[number] = _grown(self._stored[number], before, after + ROOM)
            self._stored[number][:, :, before:after] = new
        self._look(after)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only some rows."""
        length = self.get_seq_length()
        if length:
            self._stored = [stored[indices] for stored in self._stored]
            self._look(length)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row ``repeats`` times, in a row."""
        super().batch_repeat_interleave(repeats)
        self._adopt()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows in another order."""
        super().reorder_cache(beam_idx)
        self._adopt()

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens."""
        super().crop(tokens_to_remove)
        self._adopt()

    def _adopt(self) -> None:
        """Take over keys and values that transformers made; the next update gives them room."""
        if self.is_initialized:
            self._stored = [self.keys, self.values]

    def _look(self, length: int) -> None:
        self.keys, self.values = (stored[:, :, :length] for stored in self._stored)


class FixedLayer(DynamicLayer):  # type: ignore[misc]  # as above
    """Keys and values of one layer in tensors (B, G, L, D) that stay where they are; all of them are looked at.

    Args:
        layer: What was cached so far.
        length: L, tokens that there will be room for; those to come are 0 and must be masked.
        place: Where the next token is written, shared by all layers and moved on by their owner. Shape (1,), int64.
    """

    def __init__(self, layer: DynamicLayer, length: int, place: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self._place = place
        cached = layer.get_seq_length()
        self.keys, self.values = (_grown(one, cached, length) for one in (layer.keys, layer.values))
        for one in (self.keys, self.values):
            one[:, :, cached:] = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write keys and values (B, G, 1, D) at the place; returns all of them."""
        self.keys.index_copy_(2, self._place, key_states)
        self.values.index_copy_(2, self._place, value_states)
        return self.keys, self.values


def roomy_cache(config: Any, tokens: int | None = None) -> DynamicCache:
    """An empty cache for a model of this configuration.

    A layer with a sliding window stays transformers' own, unless the window is at least as long as all that will be
    read: it then never hides a token.

    Args:
        config: Of the model.
        tokens: Most tokens of a row, padding and those to come included; None where that is not known.
    """
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if _sees_all(layer, tokens) else layer for layer in cache.layers]
    return cache


def _sees_all(layer: Any, tokens: int | None) -> bool:
    if type(layer) is DynamicSlidingWindowLayer:
        return tokens is not None and tokens <= int(layer.sliding_window)
    return type(layer) is DynamicLayer


def _grown(stored: Tensor, length: int, room: int) -> Tensor:
    larger = torch.empty(*stored.shape[:2], room, stored.shape[-1], dtype=stored.dtype, device=stored.device)
    larger[:, :, :length] = stored[:, :, :length]
    return larger
