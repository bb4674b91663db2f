"""Whether an endpoint withheld an answer because of what a text says, in whichever words it says so.

Endpoints say it in four places: the reason why an answer ended, an error's status and body, a body of status 200
without an answer, and a line of a batch. All are read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_FINISHED = frozenset(
    {
        *("content_filter", "content_filtered", "contentfilter", "guardrail_intervened", "moderation", "refusal"),
        *("safety", "image_safety", "recitation", "blocklist", "prohibited_content", "spii", "sensitive", "risk"),
        *("error_toxic", "violation", "input_moderation", "output_moderation", "data_inspection_failed", "censored"),
        *("blocked", "flagged", "blacklist", "guardrail", "guardrails", "model_armor", "policy_violation", "unsafe"),
    }
)
"""Why an answer ended, in the words of OpenAI, Azure, Anthropic (``refusal``: its classifiers stopped the answer),
Google, Mistral, Cohere, Zhipu, Bedrock, DashScope and GigaChat (``blacklist``); small letters."""
_SAID = re.compile(
    r"content[ _-]{0,2}(?:filter|polic|manage|moderat|exists risk|risk|safety|violat|block(?:ed|ing)|audit|inspect)"
    r"|data[ _]?inspection|moderation(?!-)|censor|inappropriate content|block[ _]?reason|high[ _-]risk"
    r"|safety[ _](?:system|setting|filter|polic|guard|check|reason|rating)|usage[ _](?:polic|guideline)"
    r"|(?:block|filter|reject|finish)[^.\n]{0,30}\bsafety\b(?!_)"
    r"|sensitive[ _]?(?:content|word|information|data|text)|new[ _]sensitive|guardrail|responsible[ _]?ai"
    r"|(?:was|been|input|prompt|text) flagged|flagged (?:as|by|for)|content [^.\n]{0,60}blocked"
    r"|(?:harmful|prohibited|unsafe|disallowed|objectionable)[ _](?:content|text|input|prompt)|toxic(?!-)"
    r"|violat[^.\n]{0,60}(?:polic|guideline|terms)|policy[ _]violation|\bnsfw\b|\bhate[ _]speech"
    r"|by (?:the )?(?:llama[ _-]?guard|model[ _]armor)"
    r"|敏感|违规|违反|不当内容|内容安全|内容审核|审核不通过|风险|不合规|不安全|不良信息|涉黄|涉政|色情",
    re.IGNORECASE,
)
"""Azure ("ResponsibleAIPolicyViolation"), DeepSeek ("Content Exists Risk"), DashScope ("data_inspection_failed"),
Gemini ("blockReason"), OpenAI ("flagged as potentially violating our usage policy"), OpenRouter ("requires
moderation"), xAI, Zhipu, MiniMax ("input new_sensitive"), Ark, Spark, StepFun, Bedrock's guardrails and others."""
_OF_THE_REQUEST = re.compile(
    r"(?:unknown|unrecogni[sz]ed|unexpected|unsupported|invalid|extra)[ _]"
    r"(?:request )?(?:field|param(?:eter)?|argument|property|propertie|key|input|value)s?\b|extra_forbidden"
    r"|not permitted|not supported|not a chat model|model\b[^.\n]{0,80}(?:does not exist|not found)",
    re.IGNORECASE,
)
"""An error about a field of the request, which may be called ``content_filter`` too, or about a model's name."""
_OF_THE_ACCOUNT = re.compile(
    r"\b(?:account|organi[sz]ation|subscription|workspace|project|user|ip|(?:api )?key)\b"
    r"(?: (?:has|have|is|was|been|may|be|temporarily|permanently)\b){0,4}"
    r" (?:flagged|blocked|suspended|restricted|disabled|banned|violat)"
    r"|\byou have been blocked|no endpoints (?:found|available)|账号|账户|帐号|帐户",
    re.IGNORECASE,
)
"""An error about who asks, or about a router's settings: every other request would be refused alike."""
_STATUSES_OF_OTHER_ERRORS = frozenset({401, 402, 404, 408, 409, 413, 429, *range(500, 600)})
_LONGEST_SAID = 4000
"""Characters of a refusal that are looked at."""

_ECHOED = frozenset({"input", "inputs", "messages", "prompt", "request", "body", "flagged_input", "failed_generation"})
_NOT_ABOUT_IT = frozenset({"id", "model", "object", "created", "usage", "choices", "system_fingerprint", "provider"})
"""Parts of a body that never say why there is no answer."""


def is_withheld(finish: object) -> bool:
    """True for a finish reason that says so, alone or as a part.

    >>> is_withheld("SAFETY"), is_withheld("content_filter: PROHIBITED_CONTENT"), is_withheld("stop")
    (True, True, False)
    """
    words = re.split(r"[^a-z_]+", str(finish).lower().replace("-", "_"))
    return any(word.removeprefix("finish_reason_") in _FINISHED for word in words)


def says_withheld(said: object) -> bool:
    """True for an error, as a text or a JSON value, that is about what a text says.

    >>> says_withheld({"message": "Content Exists Risk"}), says_withheld("Unknown parameter: 'moderation'")
    (True, False)
    """
    text = " ".join(_texts(said))[:_LONGEST_SAID]
    is_another = _OF_THE_REQUEST.search(text) or _OF_THE_ACCOUNT.search(text)
    return _SAID.search(text) is not None and is_another is None


def _texts(value: object) -> Iterator[str]:
    """Names and texts of a JSON value; parts of the request that an error repeats say nothing about the error."""
    match value:
        case str():
            yield value
        case Mapping():
            for name, each in value.items():
                if name not in _ECHOED:
                    yield str(name)
                    yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)


def withheld_body(body: object) -> str:
    """Why a body without an answer has none, where that is moderation; "" elsewhere.

    Gemini says ``promptFeedback.blockReason``, MiniMax a ``base_resp``, OpenRouter an ``error`` with status 200.
    """
    if not isinstance(body, Mapping) or _states_another_error(body.get("error")):
        return ""
    about = {name: value for name, value in body.items() if name not in _NOT_ABOUT_IT and value}
    return str(about)[:300] if says_withheld(about) else ""


def _states_another_error(error: object) -> bool:
    """True where an error names the status of a bad key, an unknown model, a rate limit or a broken server."""
    code = error.get("code") if isinstance(error, Mapping) else None
    return str(code) in {str(status) for status in _STATUSES_OF_OTHER_ERRORS}
