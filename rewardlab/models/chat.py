"""``ChatTemplate``: a prompt as the model's chat template writes it, the same in every stage and on every day.

Templates of models that think open a thinking block unless they are told not to, and some print today's date. Here
thinking is off unless asked for, the date is a setting, and a prompt that ends inside an open block is refused
(pitfall 30 of docs/ppo.md). Templates are rendered as transformers renders them, but for the date. No torch here: a
plan shows the rendered prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, Template, TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rewardlab.config import ModelConfig
from rewardlab.errors import ModelError
from rewardlab.reading import parse_json

SWITCHES: Mapping[str, Any] = {
    "enable_thinking": False,  # Qwen3, GLM-4.5, SmolLM3, Hunyuan, EXAONE 4, Gemma 4
    "thinking": False,  # DeepSeek V3.1, Granite 3.2, Kimi K2
    "reasoning": False,  # Command A Reasoning
    "thinking_budget": 0,  # Seed-OSS
}
"""Variables by which templates turn thinking on and off, and their value for off."""
EFFORT = "reasoning_effort"
"""Variable of templates that know degrees of thinking: ``none`` where the template names it, else ``low`` (gpt-oss)."""
BLOCKS: Sequence[tuple[str, str]] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)
"""Marks that open and close a block of thoughts."""
HARMONY, FINAL = "<|start|>assistant", "<|channel|>final<|message|>"
"""End of a prompt of gpt-oss, behind which the model chooses a channel, and the channel of answers."""
OURS = frozenset({"messages", "tools", "documents", "add_generation_prompt", "strftime_now"})
"""Variables that are no user's to give."""
TRIAL = "What is it?"
"""Prompt by which a template is judged."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template with what it is given.

    Attributes:
        source: Jinja.
        tokens: Special tokens by the tokenizer's names for them.
        config: Arguments, date and suffix.
    """

    source: str
    tokens: Mapping[str, str]
    config: ModelConfig

    def prompt(self, text: str) -> str:
        """A user's turn, the beginning of the assistant's, and the suffix."""
        turn = [{"role": "user", "content": text}]
        return self._rendered(turn, add_generation_prompt=True) + self.config.chat_template_suffix

    def conversation(self, text: str, answer: str) -> str:
        """A user's turn and the assistant's."""
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
        return self._rendered(turns, add_generation_prompt=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the template is given beside the messages: thinking off, then what the user says."""
        known = _variables(self.source)
        off = {name: value for name, value in SWITCHES.items() if name in known}
        if EFFORT in known:
            off[EFFORT] = "none" if "none" in _constants(self.source) else "low"
        return {**off, **self.config.chat_template_arguments}

    def check(self) -> None:
        """Render a short prompt.

        Raises:
            ModelError: The template cannot be read, does not know an argument, or leaves the prompt in a thought.
        """
        name, known = self.config.name, _variables(self.source)
        unknown = sorted(self.config.chat_template_arguments.keys() - (known - OURS))
        if unknown:
            raise ModelError(
                f"model.chat_template_arguments: the chat template of {name!r} has no variable {unknown[0]!r}; "
                f"expected {', '.join(sorted(known - OURS - self.tokens.keys())) or 'none'}"
            )
        text = self.prompt(TRIAL)
        for begin, end in BLOCKS:
            if text.rfind(begin) > text.rfind(end):
                raise ModelError(
                    f"model {name!r}: its chat template leaves the prompt inside an open {begin} (it ends with "
                    f"{text[-30:]!r}), so answers would be thoughts; {self._advice(begin, end)}"
                )
        if text.endswith(HARMONY):
            raise ModelError(
                f"model {name!r}: its chat template leaves the channel open (the prompt ends with {text[-30:]!r}), so "
                f"answers would begin with thoughts; --set 'model.chat_template_suffix=\"{FINAL}\"'"
            )

    def _advice(self, begin: str, end: str) -> str:
        """The setting that closes a block."""
        given = self.config.chat_template_arguments
        switches = [name for name in (*SWITCHES, EFFORT) if name in given]
        if switches:
            return f"leave {', '.join(switches)} out of model.chat_template_arguments"
        closing = "\\n" + end + "\\n\\n" if begin.startswith("<") else end
        return f"the template has no switch for it, so close it: --set 'model.chat_template_suffix=\"{closing}\"'"

    def _rendered(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool) -> str:
        day = datetime.combine(self.config.chat_template_date, time())
        given = {**self.tokens, **self.arguments, "strftime_now": day.strftime}
        try:
            return _compiled(self.source).render(
                messages=messages, tools=None, documents=None, add_generation_prompt=add_generation_prompt, **given
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise ModelError(f"model {self.config.name!r}: its chat template cannot be used ({error})") from error


def without_thoughts(text: str) -> str:
    """A prompt without empty blocks of thoughts and white space at its end, in which templates are not consistent."""
    for begin, end in BLOCKS:
        text = re.sub(rf"\s*{re.escape(begin)}\s*{re.escape(end)}", "", text)
    return text.rstrip()


def template_of(tokenizer: Any, config: ModelConfig) -> ChatTemplate | None:
    """The chat template of a tokenizer of transformers; None when it has none."""
    source = tokenizer.chat_template
    if isinstance(source, Mapping):
        source = source.get("default")
    tokens = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return ChatTemplate(source, tokens, config) if source else None


def stored_template(folder: Path, config: ModelConfig) -> ChatTemplate | None:
    """The chat template in a model's folder, read without transformers; None when there is none.

    Raises:
        ModelError: The tokenizer's configuration cannot be read.
    """
    stored, path = {}, folder / "tokenizer_config.json"
    if path.exists():
        try:
            stored = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read ({error}); expected the tokenizer's configuration") from error
    own = folder / "chat_template.jinja"
    source = own.read_text(encoding="utf-8") if own.exists() else stored.get("chat_template")
    if isinstance(source, list):
        source = {one["name"]: one["template"] for one in source}.get("default")
    tokens = {name: _content(token) for name, token in stored.items() if name.endswith("_token") and token}
    return ChatTemplate(source, tokens, config) if source else None


def check_unused(config: ModelConfig) -> None:
    """Refuse settings of a chat template where there is none."""
    if config.chat_template_arguments or config.chat_template_suffix:
        raise ModelError(
            f"model {config.name!r} has no chat template; leave out model.chat_template_arguments and "
            "model.chat_template_suffix"
        )


class _Generation(Extension):
    """``{% generation %}`` marks what an assistant wrote; here it is left as it is."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

    def parse(self, parser: Any) -> Any:
        """The nodes inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@cache
def _environment() -> Environment:
    """As transformers sets it up."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _refuse
    return made


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _refuse(message: str) -> None:
    raise TemplateError(message)


@cache
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


@cache
def _variables(source: str) -> frozenset[str]:
    """Names that a template looks up in what it is given."""
    try:
        found = meta.find_undeclared_variables(_environment().parse(source))
    except TemplateError as error:
        raise ModelError(f"the chat template cannot be read: {error}") from error
    return frozenset(found) - _environment().globals.keys()


@cache
def _constants(source: str) -> frozenset[str]:
    """Texts that a template names."""
    found = _environment().parse(source).find_all(nodes.Const)
    return frozenset(one.value for one in found if isinstance(one.value, str))


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, Mapping) else token)
