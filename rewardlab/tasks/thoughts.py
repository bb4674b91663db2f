"""Thoughts that a model writes before its answer, cut before anything is read: in tasks, in the filter, in annotators.

======================================================= =====================================================
``<think>…</think>``  ``<Thinking time="3">``            any case, spaces, attributes, HTML escapes, full width
``<reasoning>`` ``<thought>`` ``<analysis>`` …           the other names in :data:`NAMES`
``<seed:think>``                                         a prefix in front of the name
``[THINK]…[/THINK]``  ``◁think▷…◁/think▷``               Magistral, Kimi
``<|begin_of_thought|>``  ``<|START_THINKING|>``         OpenThinker, Command A, and kin
``<|channel|>analysis<|message|>…``                      gpt-oss; also as ``analysis…assistantfinal…``, which is
                                                         what is left when special tokens are skipped
``<|channel>thought…<channel|>``  ``<unused94>``         Gemma, MedGemma; ``[unused16]`` Pangu; ``<|inner_prefix|>``
``<|im_start|>think…<|im_start|>answer``                 s1
``<details type="reasoning">``, a fenced ``thinking``    chat front ends
``Here is my thought process:``  ``## Thinking``         Granite, HuatuoGPT
``[BEGIN FINAL RESPONSE]``  ``Thinking...``              Apriel, Ollama's output
======================================================= =====================================================

A closing tag alone ends thoughts that began with the text (the chat template wrote the opening tag). An opening tag
alone begins thoughts that reach to the end, or to ``<answer>``. A tag in quotes or backticks is a mention.
"""

from __future__ import annotations

import re

NAMES = (
    r"think(?:ing)?(?:[_ ]process)?|thoughts?(?:[_ ]process)?|reason(?:ing)?(?:[_ ]content)?|reflection|analysis"
    r"|scratch[_ ]?pad|(?:inner|internal)[_ ](?:monologue|thoughts?)|cot|cot_budget_reflect|chain[_ ]of[_ ]thoughts?"
    r"|deliberation|思考(?:过程|過程)?|思维|推理"
)
"""Names of tags that hold thoughts."""

_LESS, _MORE = r"(?:<|＜|&lt;)", r"(?:>|＞|&gt;)"
_PARTS = ["think", "thought", "reason", "reflect", "analysis", "scratch", "monologue", "cot", "deliberat", "思", "推理"]
_PARTS += ["<|", "|>", "unused", "[begin final", "[end final"]
"""One of these is in every text with thoughts, in small letters; most texts are through with them."""
_QUOTES = tuple("\"'`“”‘’«»")
_TAG = re.compile(
    "|".join(
        [
            rf"{_LESS}\s{{0,3}}(?P<tag_end>/?)\s{{0,3}}(?:[a-z]{{1,12}}:|(?:longcat|ant|o1)_?)?"
            rf"(?P<edge>(?:begin|start|end)_(?:of_)?)?(?:{NAMES})(?:(?<=think)_\w{{1,60}})?(?:\s[^<>＜＞]{{0,200}}?)?\s{{0,3}}(?P<empty>/?){_MORE}",
            r"\[(?P<square_end>/?)\s{0,3}(?:think(?:ing)?|thoughts?)\s{0,3}\]",
            r"◁\s{0,3}(?P<kimi_end>/?)\s{0,3}think(?:ing)?\s{0,3}▷",
            rf"<[|｜](?P<bar_end>/|end[_▁ ](?:of[_▁ ])?)?(?:(?:begin|start)[_▁ ](?:of[_▁ ])?)?(?:{NAMES})"
            r"(?P<bar_after>[_▁ ]end)?(?:[_▁ ](?:start|begin))?[|｜]>",
            r"(?P<opens><\|channel\|>\s{0,3}(?:analysis|commentary)[^<>\n]{0,100}<\|message\|>"
            r"|<\|channel>\s{0,3}(?:thought|analysis)|<unused94>(?:thought)?|\[unused16\]|<\|inner_prefix\|>"
            r"|<\|im_start\|>\s{0,3}think\b|<details\s[^<>]{0,100}type=[\"']?reasoning[^<>]{0,200}>"
            r"|^```(?:think(?:ing)?|thoughts?|reasoning)[ \t]{0,9}$)",
            r"(?P<closes><channel\|>|<unused95>|\[unused17\]|<\|inner_suffix\|>)",
            r"(?P<speaks><\|channel\|>\s{0,3}final[^<>\n]{0,100}<\|message\|>|<\|im_start\|>\s{0,3}answer\b"
            r"|<\|(?:START_RESPONSE|begin_of_solution)\|>|\[begin final response\])",
            r"(?P<may_close></details>|^```[ \t]{0,9}$"
            r"|<\s{0,3}(?:final_)?(?:answer|response|output|solution|conclusion)\s{0,3}>)",
            r"(?P<token>\[end final response\]"
            r"|<\|(?:end|return|im_end|eot_id|endoftext|end_of_text|END_RESPONSE|end_of_solution|message)\|>"
            r"|<\|start\|>(?:assistant)?)",
        ]
    ),
    re.IGNORECASE | re.MULTILINE,
)
_LEAD_INS = (
    (re.compile(r"\s{0,9}analysis(?=[A-Z])"), re.compile(r"assistant\s{0,3}final")),
    (
        re.compile(r"\s{0,9}thinking\s?(?:\.{3}|…)[ \t]{0,9}\n", re.IGNORECASE),
        re.compile(r"^(?:\.{3}|…)\s?done thinking\.?", re.IGNORECASE | re.MULTILINE),
    ),
    (
        re.compile(r"\W{0,9}here(?:'s|’s| is) my (?:thought process|thinking|reasoning)\s?:", re.IGNORECASE),
        re.compile(r"here(?:'s|’s| is) my (?:final )?(?:response|answer)\s?:", re.IGNORECASE),
    ),
    (
        re.compile(r"\s{0,9}#{1,4} ?thinking[ \t:]{0,5}\n", re.IGNORECASE),
        re.compile(r"^#{1,4} ?(?:final )?(?:response|answer)[ \t:]{0,5}$", re.IGNORECASE | re.MULTILINE),
    ),
)
"""Words that open thoughts at the beginning of a text, and the words behind which the answer stands."""


def spoken(text: str) -> str:
    """What is said to the reader: :func:`without_thoughts`, without white space around it.

    >>> spoken("<think>Both are right.</think> Equal")
    'Equal'
    >>> spoken("so it is equal, I think</think> Equal")
    'Equal'
    """
    return without_thoughts(text).strip()


def without_thoughts(text: str) -> str:
    """The text without thoughts, in each form of the module's table; a text that has none comes back as it was.

    Thoughts that never end leave nothing behind them. Takes time linear in the text and never raises.
    """
    small = text.lower()
    if not any(part in small for part in _PARTS):
        return text
    text = _behind_lead_in(text)
    said: list[str] = []
    start, is_thinking = 0, False
    for tag in _TAG.finditer(text):
        kind = _kind(tag, is_thinking)
        if kind == "text":
            continue
        if not is_thinking:
            said.append(text[start : tag.start()])
        if kind == "closes" and not is_thinking:
            said.clear()
        if kind == "speaks":
            said.clear()
        is_thinking = kind == "opens" or (kind == "token" and is_thinking and tag[0] != "<|end|>")
        start = tag.start() if kind == "answer" else tag.end()
    if not is_thinking:
        said.append(text[start:])
    return "".join(said)


def _kind(tag: re.Match[str], is_thinking: bool) -> str:
    """What a tag does: opens, closes, speaks (all before it was thought), answer, token (dropped), or plain text."""
    if not is_thinking and _is_mention(tag):
        return "text"
    if tag["empty"]:
        return "token"
    if tag["opens"]:
        return "opens"
    if tag["may_close"]:
        if not is_thinking:
            return "text"
        return "answer" if tag[0].startswith("<") and tag[0] != "</details>" else "closes"
    for name in ("closes", "speaks", "token"):
        if tag[name]:
            return name
    ends = tag["tag_end"] or tag["square_end"] or tag["kimi_end"] or tag["bar_end"] or tag["bar_after"]
    return "closes" if ends or (tag["edge"] or "").lower().startswith("end") else "opens"


def _is_mention(tag: re.Match[str]) -> bool:
    """True for a tag in quotes of its own: one opens right in front of it, one stands right behind it."""
    before, after = tag.string[max(0, tag.start() - 2) : tag.start()], tag.string[tag.end() : tag.end() + 1]
    return before[-1:] in _QUOTES and after in _QUOTES and not before[:-1].strip()


def _behind_lead_in(text: str) -> str:
    for opens, speaks in _LEAD_INS:
        if opens.match(text):
            parts = speaks.split(text, maxsplit=1)
            return parts[1] if len(parts) > 1 else "" if "analysis" in opens.pattern else text
    return text
