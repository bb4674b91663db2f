"""One response from a server's completions endpoint: what is asked, and how the answer is read.

Prompts go as token ids, responses come back as token ids with a log-probability each; no text is tokenised again.
A response ends where it would end here: the ids are cut at the first token that ends one by the rule of
``models.sampler``, whatever the server made of stop strings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rewardlab.models.codec import Codec
from rewardlab.models.sampler import STOP_TAIL_TOKENS, Sample, SamplingConfig, hits_stop

TOKEN_ID = "token_id:"
"""In front of an id where the server names tokens by their ids (``return_tokens_as_token_ids``)."""
WHOLE_SOFTMAX: Mapping[str, float] = {
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Sent with every request: a server takes what is left out from the model's own generation config."""


class BadCompletion(Exception):
    """The server answered with something that cannot be trained on; the message says what."""


def completion_request(
    model: str, prompt: Sequence[int], key: int, config: SamplingConfig, ends: Collection[int]
) -> dict[str, Any]:
    """The body of a request for one response.

    Args:
        model: Name of the adapter in the server.
        prompt: Token ids.
        key: The row's key (``models.sampler.row_key``), of which the server's seed is made.
        config: Budget, temperature, stop strings.
        ends: Tokens that end a response.
    """
    stop = [text for text in config.stop if text.strip()]  # in front of a response white space does not end it here
    return {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        **WHOLE_SOFTMAX,
        "seed": key % 2**31,
        "stop_token_ids": sorted(ends),
        **({"stop": stop} if stop else {}),
        "logprobs": 1,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }


def read_completion(
    text: str, prompt: Sequence[int], config: SamplingConfig, codec: Codec, ends: Collection[int], vocabulary: int
) -> Sample:
    """The response in an answer's body.

    Args:
        text: The body.
        prompt: Token ids that were sent.
        config: As it was asked for.
        codec: Decodes the response.
        ends: Tokens that end a response.
        vocabulary: Tokens that the model here has.
    Raises:
        BadCompletion: Ids or log-probabilities are missing or of another number, the prompt was changed, or the
            response ends where none ends here.
    """
    choice = _choice(text)
    read = choice.get("prompt_token_ids")
    if read is not None and list(read) != list(prompt):
        raise BadCompletion(f"it read a prompt of {len(read)} tokens that is not the one sent, of {len(prompt)}")
    logprobs = _logprobs(choice)
    ids = _ids(choice)
    if len(logprobs) != len(ids):
        raise BadCompletion(f"it sent {len(ids)} tokens and {len(logprobs)} log-probabilities")
    if wrong := [token for token in ids if not 0 <= token < vocabulary]:
        raise BadCompletion(f"it sent token {wrong[0]}, and the model here has {vocabulary}: it serves another model")
    length = _length(ids, config, codec, ends)
    if length is None and len(ids) < config.max_new_tokens:
        last, reason = ids[-1] if ids else "none", choice.get("finish_reason")
        raise BadCompletion(
            f"it ended a response after {len(ids)} of {config.max_new_tokens} tokens (finish_reason {reason!r}) with "
            f"token {last}, which ends none here"
        )
    kept = ids[: config.max_new_tokens if length is None else length]
    words = codec.decode(kept[:-1] if kept[-1] in ends else kept)
    return Sample(tuple(kept), words, length is not None, drawn=tuple(logprobs[: len(kept)]))


def _length(ids: Sequence[int], config: SamplingConfig, codec: Codec, ends: Collection[int]) -> int | None:
    """Tokens up to the first one that ends the response, within the budget; None where none does."""
    for length in range(1, min(len(ids), config.max_new_tokens) + 1):
        tail = ids[max(0, length - STOP_TAIL_TOKENS) : length]
        if ids[length - 1] in ends or hits_stop(codec, tail, config.stop):
            return length
    return None


def _choice(text: str) -> Mapping[str, Any]:
    try:
        choice = json.loads(text)["choices"][0]
    except (ValueError, RecursionError, KeyError, IndexError, TypeError) as error:
        raise BadCompletion(f"its answer is no completion: {text[:80]!r}") from error
    if not isinstance(choice, dict):
        raise BadCompletion(f"its answer is no completion: {text[:80]!r}")
    return choice


def _ids(choice: Mapping[str, Any]) -> list[int]:
    """The response's token ids: a field of their own, or else the names of the tokens."""
    found = choice.get("token_ids")
    if found is None:
        names = [str(name) for name in (choice["logprobs"].get("tokens") or ())]
        found = [name.removeprefix(TOKEN_ID) for name in names if name.startswith(TOKEN_ID)]
        if len(found) < len(names) or not names:
            raise BadCompletion(
                "it sent no token ids; it has to know return_token_ids or return_tokens_as_token_ids, as vLLM does"
            )
    try:
        return [int(token) for token in found]
    except (TypeError, ValueError) as error:
        raise BadCompletion(f"its token ids are no numbers: {str(found)[:80]}") from error


def _logprobs(choice: Mapping[str, Any]) -> list[float]:
    """A log-probability for each token, nats."""
    table = choice.get("logprobs")
    found = table.get("token_logprobs") if isinstance(table, dict) else None
    if not isinstance(found, list):
        raise BadCompletion("it sent no log-probabilities of the tokens it drew")
    if wrong := [each for each in found if not isinstance(each, int | float) or not math.isfinite(each)]:
        raise BadCompletion(f"it sent {wrong[0]!r} as the log-probability of a token that it drew")
    return [float(each) for each in found]
