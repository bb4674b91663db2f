"""What vLLM's server takes. No torch at import."""

from __future__ import annotations

DEFAULT_RANK = 16
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What ``vllm serve --max-lora-rank`` takes (vLLM 0.14, ``vllm.config.lora.MaxLoRARanks``)."""


def served_rank(rank: int) -> int:
    """The smallest ``--max-lora-rank`` for an adapter of a rank; the largest there is where that is too small.

    >>> served_rank(24), served_rank(32)
    (32, 32)
    """
    return next((each for each in RANKS if each >= rank), RANKS[-1])
