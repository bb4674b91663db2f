"""Responses to one prompt that read it once: its keys and values are recorded with their gradients and shared.

A prompt of P tokens with G responses of R tokens costs P + G R tokens in place of G (P + R), forward and backward: the
gradient of a shared key is the sum over the responses that looked at it. Masks and positions are those that the model
has for generation with a cache. U distinct prompts, B responses, P prompt columns (left-padded), R response columns
(right-padded), H width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from rewardlab.models.trunk import Trunk

logger = logging.getLogger(__name__)

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1}
"""How far states behind a shared prompt may be from plain ones, relative to the largest, by trunk dtype."""
PROBE_PROMPT, PROBE_RESPONSE = 6, 3
"""Tokens that the check reads."""


class PromptLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types here
    """Keys and values (U, heads, P, width) of the prompts in one layer.

    Nothing depends on how often a layer was run, so that it may run again in the backward pass.
    """

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Record keys and values of whole prompts."""
        self.is_initialized = True
        self.keys, self.values = key_states, value_states
        return key_states, value_states


class PromptWindowLayer(DynamicSlidingWindowLayer):  # type: ignore[misc]  # as above
    """The same in a layer that looks at the latest tokens alone, whose last ones are recorded."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Record keys and values of whole prompts."""
        self.is_initialized = True
        self.cumulative_length = key_states.shape[-2]
        self.keys, self.values = (states[:, :, -self.sliding_window + 1 :] for states in (key_states, value_states))
        return key_states, value_states


class ResponseLayer(DynamicLayer):  # type: ignore[misc]  # as above
    """What responses see of their prompts; their own keys and values are not recorded.

    Args:
        prompts: What was recorded of the prompts.
        rows: Which prompt each response belongs to. Shape (B,).
    """

    def __init__(self, prompts: PromptLayer, rows: Tensor) -> None:
        super().__init__()
        self.is_initialized = True
        self.keys, self.values, self._rows = prompts.keys, prompts.values, rows

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of each response behind those of its prompt."""
        return _behind(self.keys, key_states, self._rows), _behind(self.values, value_states, self._rows)


class ResponseWindowLayer(DynamicSlidingWindowLayer):  # type: ignore[misc]  # as above
    """The same in a layer that looks at the latest tokens alone."""

    def __init__(self, prompts: PromptWindowLayer, rows: Tensor) -> None:
        super().__init__(prompts.sliding_window)
        self.is_initialized, self.cumulative_length = True, prompts.cumulative_length
        self.keys, self.values, self._rows = prompts.keys, prompts.values, rows

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of each response behind those of its prompt."""
        return _behind(self.keys, key_states, self._rows), _behind(self.values, value_states, self._rows)


def response_states(
    trunk: Trunk, ids: Tensor, keep: Tensor, width: int, owners: Sequence[int], role: str | None
) -> Tensor:
    """States that predict the response tokens, each distinct prompt read once.

    Args:
        trunk: One for which :func:`can_share` is true.
        ids: Prompts and responses. Shape (B, P + R).
        keep: True at real tokens. Shape (B, P + R).
        width: P.
        owners: For each row the first row with the same prompt.
        role: Whose adapter is active; None is the bare trunk.
    Returns:
        Shape (B, R, H), trunk dtype. Those of positions that are not kept hold arbitrary numbers.
    """
    firsts = list(dict.fromkeys(owners))
    place = {first: number for number, first in enumerate(firsts)}
    rows = torch.tensor([place[owner] for owner in owners], device=ids.device)
    prompts, responses = (DynamicCache(config=trunk.model.config) for _ in range(2))
    prompts.layers = [
        PromptWindowLayer(layer.sliding_window) if layer.is_sliding else PromptLayer() for layer in prompts.layers
    ]
    with trunk.running(role, len(ids)):
        own = keep[firsts, :width]
        read = trunk.backbone(
            ids[firsts, :width],
            attention_mask=own.long(),
            past_key_values=prompts,
            use_cache=False,
            **trunk.positions(own),
        )
        first = read.last_hidden_state[:, -1:].index_select(0, rows)
        if ids.shape[1] == width + 1:
            return cast(Tensor, first)
        responses.layers = [
            (ResponseWindowLayer if layer.is_sliding else ResponseLayer)(layer, rows) for layer in prompts.layers
        ]
        seen = keep[:, :-1]  # the last token predicts nothing
        positions = {name: tensor[:, width:] for name, tensor in trunk.positions(seen).items()}
        read = trunk.backbone(
            ids[:, width:-1], attention_mask=seen.long(), past_key_values=responses, use_cache=False, **positions
        )
    return torch.cat([first, read.last_hidden_state], 1)


def shares_prompts(trunk: Trunk) -> bool:
    """What :func:`can_share` says, asked once for each trunk."""
    if trunk.shares_prompts is None:
        trunk.shares_prompts = can_share(trunk)
    return trunk.shares_prompts


@torch.no_grad()
def can_share(trunk: Trunk) -> bool:
    """Whether the model gives responses behind a shared prompt the states that it gives whole rows.

    Its cache must consist of keys and values (no recurrent state, as Falcon-H1 has), and a few tokens are read both
    ways, with padding on both sides.
    """
    cached = DynamicCache(config=trunk.model.config).layers
    if not cached or any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cached):
        return False
    ids, keep = _probe(trunk)
    before = trunk.rows_read
    plain = trunk.hidden(ids, keep, None)[:, PROBE_PROMPT - 1 : -1]
    try:
        shared = response_states(trunk, ids, keep, PROBE_PROMPT, [0, 0, 2, 2], None)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        if _is_own(error):
            raise
        logger.info("prompts are read once for each response: %s", " ".join(str(error).split())[:200])
        return False
    finally:
        trunk.rows_read = before
    kept = keep[:, PROBE_PROMPT:]
    gap = float((shared - plain)[kept].abs().max() / plain[kept].abs().max())
    return gap <= TOLERANCE.get(trunk.dtype, TOLERANCE[torch.bfloat16])


def _is_own(error: BaseException) -> bool:
    """True where this file raised it: a fault of ours, not a model that cannot read a shared prompt."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_code.co_filename == __file__


def _probe(trunk: Trunk) -> tuple[Tensor, Tensor]:
    """Two prompts, one with padding in front, two responses to each, some with padding behind."""
    columns, vocabulary = PROBE_PROMPT + PROBE_RESPONSE, trunk.model.get_input_embeddings().num_embeddings
    ids = torch.arange(4 * columns, device=trunk.device).mul(vocabulary).div(4 * columns, rounding_mode="floor")
    ids = ids.view(4, columns)
    ids[1, :PROBE_PROMPT], ids[3, :PROBE_PROMPT] = ids[0, :PROBE_PROMPT], ids[2, :PROBE_PROMPT]
    keep = torch.ones_like(ids, dtype=torch.bool)
    keep[2:, :2] = False
    keep[1, -1], keep[2, -2:] = False, False
    return ids, keep


def _behind(prompts: Tensor, new: Tensor, rows: Tensor) -> Tensor:
    return torch.cat([prompts.index_select(0, rows), new], -2)
