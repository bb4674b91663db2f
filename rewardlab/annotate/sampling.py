"""The sampling settings of a chat request, of which there are two kinds.

Models that reason before they answer refuse ``max_tokens`` and every temperature but their own, and count what they
think in ``max_completion_tokens``. Other servers accept ``max_tokens`` alone. No request tells which kind it is: the
model's name decides, ``annotate.reasoning`` overrules it, and an endpoint's refusal is answered with the key to set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rewardlab.config import AnnotateConfig

_REASONING = re.compile(r"(?:^|[/:])(?:o\d|gpt-[5-9])")
"""OpenAI's names, as they are, behind a router's prefix (openai/o3) or that of a tuned model (ft:o4-mini:...)."""
_REFUSED = re.compile(
    r"unsupported|not support|unrecognized|unknown|unexpected|extra_forbidden|extra (?:inputs|fields)|not permitted",
    re.IGNORECASE,
)
_PLAIN_FIELD = re.compile(r"\b(?:max_tokens|temperature)\b")
_REASONING_FIELD = "max_completion_tokens"
_ADVICE = {
    answer: f'set annotate.reasoning = "{answer}" (--set annotate.reasoning={answer}): {reason}'
    for answer, reason in {
        "yes": "this model takes max_completion_tokens, no temperature",
        "no": "this endpoint takes max_tokens",
    }.items()
}


def is_reasoning(config: AnnotateConfig, model: str) -> bool:
    """True when the model is asked as one that reasons before it answers.

    >>> is_reasoning(AnnotateConfig(), "o4-mini"), is_reasoning(AnnotateConfig(), "gpt-4o-mini")
    (True, False)
    """
    return config.reasoning == "yes" or (config.reasoning == "auto" and bool(_REASONING.search(model)))


def longest_response(config: AnnotateConfig, model: str, answer_tokens: int) -> int:
    """The most tokens a response may have and be charged for: the answer and, before it, the reasoning."""
    return answer_tokens + (config.reasoning_tokens if is_reasoning(config, model) else 0)


def sampling_settings(config: AnnotateConfig, model: str, answer_tokens: int) -> dict[str, float]:
    """The part of a request's body that bounds and samples the response.

    >>> sampling_settings(AnnotateConfig(reasoning_tokens=2000), "o4-mini", 160)
    {'max_completion_tokens': 2160}
    >>> sampling_settings(AnnotateConfig(temperature=0.7), "gpt-4o-mini", 160)
    {'temperature': 0.7, 'max_tokens': 160}
    """
    longest = longest_response(config, model, answer_tokens)
    if is_reasoning(config, model):
        return {_REASONING_FIELD: longest}
    return {"temperature": config.temperature, "max_tokens": longest}


def advice(refusal: str, sent: Mapping[str, Any]) -> str:
    """Which key to set when an endpoint does not take the settings that were sent; "" for every other refusal.

    >>> advice("422: [max_completion_tokens] Extra inputs are not permitted", {"max_completion_tokens": 160})
    'set annotate.reasoning = "no" (--set annotate.reasoning=no): this endpoint takes max_tokens'
    """
    if not _REFUSED.search(refusal):
        return ""
    if _REASONING_FIELD in sent:
        return _ADVICE["no"] if _REASONING_FIELD in refusal else ""
    return _ADVICE["yes"] if _PLAIN_FIELD.search(refusal) else ""
