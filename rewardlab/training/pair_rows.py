"""Pairs as the policy reads them: prompts padded in front, responses behind, both responses of a pair in one pass.

A prompt is read once for both where the model allows it (``models.prompts``).
Letters: P pairs of a chunk, W prompt columns, R response columns. The first P rows of a chunk hold the chosen
responses, the others the rejected ones. Log-probabilities are per token, so that those of the reference, which are
computed once, serve every loss and every metric.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rewardlab import processes
from rewardlab.disk import whole_file
from rewardlab.functional.preference import PairLogprobs
from rewardlab.models.codec import Codec
from rewardlab.models.sampler import left_pad, right_pad
from rewardlab.models.trunk import Trunk
from rewardlab.training.actor import Actor, Chunk
from rewardlab.training.rm_evaluation import EncodedPair

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PairRow:
    """Token ids of one pair; both responses end with the end token."""

    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]

    @classmethod
    def of(cls, encoded: EncodedPair, codec: Codec) -> PairRow:
        """From the rows that reward models score, the prompt and each response together."""
        prompt = len(encoded.chosen) - len(codec.response_ids(encoded.pair.chosen))
        return cls(encoded.chosen[:prompt], encoded.chosen[prompt:], encoded.rejected[prompt:])

    @property
    def tokens(self) -> int:
        """Tokens of the pair's two rows: the prompt twice, though it may be read once, and both responses."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class PairChunk(Chunk):
    """The pairs of one forward pass; ``rows`` says where they stand among all pairs, and ``ids`` has 2P rows."""

    def together(self, policy: Tensor, reference: Tensor) -> PairLogprobs:
        """Whole responses, from log-probabilities per token (2P, R) under policy and reference."""
        sums = (tensor.sum(-1).chunk(2) for tensor in (policy, reference, self.response_keep))
        (chosen, rejected), (reference_chosen, reference_rejected), tokens = sums
        return PairLogprobs(chosen, rejected, reference_chosen, reference_rejected, *tokens)


def chunks_of(trunk: Trunk, rows: Sequence[PairRow], places: Sequence[int], size: int) -> Iterator[PairChunk]:
    """The pairs at ``places`` in chunks of at most ``size``, grouped by length, so that little is padded."""
    order = sorted(places, key=lambda place: rows[place].tokens)
    for start in range(0, len(order), size):
        own = order[start : start + size]
        pairs, pad = [rows[place] for place in own], trunk.codec.pad_id
        left, left_keep = left_pad([pair.prompt for pair in pairs] * 2, pad, trunk.device)
        responses = [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]
        right, right_keep = right_pad(responses, pad, trunk.device)
        ids, keep = torch.cat([left, right], 1), torch.cat([left_keep, right_keep], 1)
        yield PairChunk(own, ids, keep, left.shape[1], owners=[*range(len(own))] * 2)


class Reference:
    """Log-probabilities of all responses under the trunk without the policy's role, per token.

    Args:
        chosen, rejected: One tensor per pair, of as many numbers as its response has tokens; nats, on the CPU.
    """

    def __init__(self, chosen: Sequence[Tensor], rejected: Sequence[Tensor]) -> None:
        self._chosen, self._rejected = chosen, rejected

    @classmethod
    def kept(cls, path: Path, actor: Actor, trunk_sha256: str, rows: Sequence[PairRow], size: int) -> Reference:
        """What an interrupted run has stored in ``path``, or else computed now and stored there.

        Args:
            path: A safetensors file.
            actor: On the trunk that is the reference.
            trunk_sha256: Hash of its weights: what another trunk made is not used.
            rows: All pairs.
            size: Pairs per forward pass.
        """
        found = cls._read(path, trunk_sha256, rows)
        if found is None:
            found = cls.computed(actor, rows, size)
            if processes.is_main():
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as part:
                    both = {"chosen": torch.cat([*found._chosen]), "rejected": torch.cat([*found._rejected])}
                    save_file(both, part, metadata={"trunk": trunk_sha256})
        return found

    def of(self, chunk: PairChunk) -> Tensor:
        """Those of a chunk. Shape (2P, R), 0 where not kept."""
        own = [*(self._chosen[place] for place in chunk.rows), *(self._rejected[place] for place in chunk.rows)]
        flat = torch.cat(own).to(chunk.ids.device)
        return flat.new_zeros(chunk.response_keep.shape).masked_scatter(chunk.response_keep, flat)

    @classmethod
    @torch.no_grad()
    def computed(cls, actor: Actor, rows: Sequence[PairRow], size: int) -> Reference:
        """By passes over ``size`` pairs each."""
        chunks = list(chunks_of(actor.trunk, rows, range(len(rows)), size))
        own = []
        for chunk in processes.share(chunks):
            logprobs = actor.policy(chunk, role=None).logprobs.cpu()
            own.append([row[keep] for row, keep in zip(logprobs, chunk.response_keep.cpu(), strict=True)])
        by_place: dict[int, tuple[Tensor, Tensor]] = {}
        for chunk, found in zip(chunks, processes.collect(own, len(chunks)), strict=True):
            half = len(chunk.rows)
            by_place |= dict(zip(chunk.rows, zip(found[:half], found[half:], strict=True), strict=True))
        return cls(*zip(*(by_place[place] for place in range(len(rows))), strict=True))

    @classmethod
    def _read(cls, path: Path, trunk_sha256: str, rows: Sequence[PairRow]) -> Reference | None:
        """What is stored, unless it is damaged or belongs to another trunk or other pairs."""
        if not path.exists():
            return None
        lengths = [len(row.chosen) for row in rows], [len(row.rejected) for row in rows]
        try:
            with safe_open(path, "pt") as file:
                is_ours = (file.metadata() or {}).get("trunk") == trunk_sha256
                stored = [file.get_tensor(name) for name in ("chosen", "rejected")]
            if is_ours:
                return cls(*(torch.split(flat, own) for flat, own in zip(stored, lengths, strict=True)))
            reason = "of another model"
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
        logger.warning("%s cannot be used (%s); the reference's log-probabilities are computed again", path, reason)
        return None
