"""Conversations as the field writes them: lists of messages, and transcripts in one text, both as turns.

=================================================== =======================================================
``{"role": ..., "content": ...}``                   content may be a list of text parts
``{"from": "human", "value": ...}``                 ShareGPT; ``gpt``, ``bot``, ``model`` ... are assistants
``\\n\\nHuman: hi\\n\\nAssistant: hello``               Anthropic HH; ``User:``, ``System:`` too
``<|im_start|>user``  ``<|user|>``  ``[INST]``      ChatML, Zephyr, Llama 2 and 3, Gemma
``### Instruction:``  ``USER: ... ASSISTANT: ...``  Alpaca, Vicuna
=================================================== =======================================================

A text is a transcript when it begins with the mark of a turn. What cannot be read raises ValueError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROLES = ("system", "user", "assistant", "tool")
_ROLE_OF = {
    **{role: role for role in ROLES},
    **dict.fromkeys(("human", "prompter", "instruction", "input", "customer", "[inst]"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model", "ai", "response", "output", "chatbot", "[/inst]"), "assistant"),
    **dict.fromkeys(("developer", "<<sys>>"), "system"),
    **dict.fromkeys(("function", "observation", "ipython", "function_response"), "tool"),
}
_NAMES = "Human|User|Prompter|Assistant|AI|Bot|Chatbot|System"
_MARKS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rf"^[ \t]{{0,3}}(?P<role>{_NAMES}):[ \t]?",
        r"<\|im_start\|>\s{0,3}(?P<role>system|user|assistant|tool|developer)[ \t]?\n?",
        r"<\|start_header_id\|>\s{0,3}(?P<role>system|user|assistant|ipython)\s{0,3}<\|end_header_id\|>",
        r"<start_of_turn>\s{0,3}(?P<role>user|model|system)[ \t]?\n?",
        r"<\|(?P<role>system|user|assistant|prompter)\|>",
        r"(?P<role>\[/?INST\])",
        r"^#{2,4} (?P<role>Instruction|Human|User|Input|Response|Assistant|System|Output):?",
        r"(?:^|(?<=\s)|(?<=</s>))(?P<role>USER|ASSISTANT|SYSTEM|HUMAN):",
    )
)
_LEADING = re.compile(r"(?:\s|<s>|<bos>|<\|begin_of_text\|>){0,20}")
_TOKENS = re.compile(r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|<\|endoftext\|>|</?s>|<bos>|<eos>")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation: who speaks (one of :data:`ROLES`), and what."""

    role: str
    text: str


def shown(value: object) -> str:
    """The beginning of a value, for a message."""
    return json.dumps(value, default=str, ensure_ascii=False)[:60]


def as_turns(value: object) -> list[Turn] | None:
    """A list of messages, one message, or a transcript as turns; None for a text that is none.

    Raises:
        ValueError: It is neither text nor messages.
    """
    if isinstance(value, str):
        return transcript(value)
    if isinstance(value, Mapping):
        if not _has_text(value):
            raise ValueError(f"found {shown(value)}")
        return [_turn(value)]
    if not isinstance(value, list) or not value:
        raise ValueError(f"found {shown(value)}")
    return [_turn(message) for message in value]


def transcript(text: str) -> list[Turn] | None:
    """The turns of a transcript; None for a text that does not begin with the mark of a turn.

    An assistant's turn without words at the end only opens the answer: it is left out.

    >>> transcript("Human: hi Assistant: no mark")
    [Turn(role='user', text='hi Assistant: no mark')]
    """
    begin = _LEADING.match(text)
    start = begin.end() if begin else 0
    pattern = next((mark for mark in _MARKS if mark.match(text, start)), None)
    if pattern is None:
        return None
    marks = list(pattern.finditer(text, start))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    turns = [
        Turn(_ROLE_OF[mark["role"].lower()], _TOKENS.sub("", text[mark.end() : end]).strip())
        for mark, end in zip(marks, ends, strict=True)
    ]
    while turns and turns[-1].role == "assistant" and not turns[-1].text:
        turns.pop()
    return turns or None


def written_out(turns: list[Turn]) -> str:
    """Turns as one text: the words alone of a single one, a system message in front of a single request."""
    roles = [turn.role for turn in turns]
    if roles in (["user"], ["assistant"]):
        return turns[0].text
    if roles == ["system", "user"]:
        return f"{turns[0].text}\n\n{turns[1].text}"
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


def _has_text(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("content", message.get("value")), str | list)


def _turn(message: object) -> Turn:
    """Role and text of a message; its content may be a list of text parts."""
    role = message.get("role", message.get("from")) if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(role, str) or role.lower() not in _ROLE_OF:
        raise ValueError(f"no message: {shown(message)}")
    content = message.get("content", message.get("value"))
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
        content = "".join(parts) if len(parts) == len(content) else None
    if not isinstance(content, str):
        raise ValueError(f"a message of {role} without text")
    return Turn(_ROLE_OF[role.lower()], content)
