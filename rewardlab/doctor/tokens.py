"""Checks of the tokenizer: how a response ends, what pads, and whether the chat template says the same."""

from __future__ import annotations

from rewardlab.doctor.probe import ProbeModel
from rewardlab.doctor.verdict import Finding, judged
from rewardlab.models.chat import without_thoughts
from rewardlab.models.sampler import declared_ends, end_ids

TEXTS = ("The film is dull, so the review is negative.\n\n The answer is: negative", " Yes </Judgement>", "4.25")
"""Responses of every answer format."""


def end_token(probe: ProbeModel) -> Finding:
    """Encoded responses end with the token at which the model itself stops, and it has a row for it."""
    trunk = probe.trunk
    last, ends = trunk.codec.response_ids(TEXTS[0])[-1], end_ids(trunk)
    declared = declared_ends(trunk)
    is_fine = last < _rows(probe) and (last in declared or not declared)
    return judged(is_fine, f"responses end with {_named(probe, last)}; generation stops at {sorted(ends)}")


def padding_token(probe: ProbeModel) -> Finding:
    """Padding is never the token that ends a response (pitfall 7 of docs/ppo.md), and the model has a row for it."""
    codec = probe.trunk.codec
    is_fine = codec.pad_id != codec.eos_id and 0 <= codec.pad_id < _rows(probe)
    own = codec.tokenizer.pad_token_id
    note = "" if own == codec.pad_id else f", in place of the tokenizer's {own}"
    return judged(is_fine, f"pads with {_named(probe, codec.pad_id)}{note}")


def chat_template(probe: ProbeModel) -> Finding:
    """The assistant's turn ends with a token that stops the sampler, and begins where our prompts end."""
    codec = probe.trunk.codec
    chat = codec.chat
    if chat is None:
        return Finding("skipped", "no chat template; prompt and response are joined by an empty line")
    question, answer = "Is it good?", "Yes it is"
    start, _, behind = chat.conversation(question, answer).rpartition(answer)
    follows = codec.tokenizer(behind, add_special_tokens=False).input_ids[:1]
    if without_thoughts(start) != without_thoughts(chat.prompt(question)):
        return judged(False, "a rendered conversation does not begin as the prompt with a generation prompt does")
    said = _named(probe, follows[0]) if follows else "nothing"
    return judged(bool(follows) and follows[0] in end_ids(probe.trunk), f"behind the assistant's turn stands {said}")


def one_beginning(probe: ProbeModel) -> Finding:
    """A prompt begins with at most one beginning-of-sequence token."""
    begin = probe.trunk.codec.tokenizer.bos_token_id
    if begin is None:
        return Finding("skipped", "the tokenizer has no beginning-of-sequence token")
    heads = [prompt[:2].count(begin) for prompt in probe.prompts]
    return judged(max(heads) <= 1, f"{max(heads)} of the first two tokens of a prompt are {_named(probe, begin)}")


def round_trip(probe: ProbeModel) -> Finding:
    """Text survives encoding and decoding, so parsers read what was written."""
    codec = probe.trunk.codec
    changed = [text for text in TEXTS if codec.decode(codec.response_ids(text)).strip() != text.strip()]
    return judged(not changed, f"changed: {changed[0]!r}" if changed else f"{len(TEXTS)} responses come back unchanged")


def _rows(probe: ProbeModel) -> int:
    return int(probe.trunk.model.get_input_embeddings().num_embeddings)


def _named(probe: ProbeModel, token: int) -> str:
    return f"{probe.trunk.codec.tokenizer.convert_ids_to_tokens(token)!r} ({token})"
