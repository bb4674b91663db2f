"""``Codec``: text to token ids and back, the same way in SFT, reward models, PPO and evaluation.

A sequence is ``prompt_ids + response_ids``; the response ends with the end-of-sequence token unless its budget
cut it. Masks are always carried beside the ids, never guessed from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rewardlab.config import ModelConfig
from rewardlab.errors import DataError, ModelError
from rewardlab.models.chat import ChatTemplate, check_unused, template_of
from rewardlab.tasks.task import OPENINGS, prompt_of
from rewardlab.types import AnswerFormat, Example

PLAIN_SEPARATOR = "\n\n"
"""Between prompt and response for models without a chat template."""


class Codec:
    """Encodes prompts and responses for one tokenizer.

    Args:
        tokenizer: A transformers tokenizer.
        config: Longest prompt, to which the longest text field of an example is cut; what the chat template is given.
    Raises:
        ModelError: The tokenizer has no end token, or its chat template leaves prompts in a thought.
    """

    def __init__(self, tokenizer: Any, config: ModelConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.max_prompt_tokens = config.max_prompt_tokens
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-sequence token; a model without one cannot end a response")
        self.eos_id: int = tokenizer.eos_token_id
        self.pad_id: int = self._distinct_pad()
        if self.chat is None:
            check_unused(config)
        else:
            self.chat.check()

    @property
    def chat(self) -> ChatTemplate | None:
        """The tokenizer's chat template, when it has one."""
        return template_of(self.tokenizer, self.config)

    def prompt_ids(self, example: Example) -> list[int]:
        """Token ids of the example's prompt, its text cut where it is too long; errors as in :meth:`fitted`."""
        return self._own_ids(self.fitted(example))

    def fitted(self, example: Example) -> Example:
        """The example with its longest text cut so far that its prompt has at most ``max_prompt_tokens``.

        Raises:
            DataError: The instruction alone is longer than that.
        """
        while (length := len(self._own_ids(example))) > self.max_prompt_tokens:
            example = self._shortened(example, length - self.max_prompt_tokens)
        return example

    def text_prompt_ids(self, prompt: str, format: AnswerFormat) -> list[int]:
        """Token ids of a prompt given as plain text, followed by the opening of its answer format."""
        if chat := self.chat:
            return self._encode(chat.prompt(prompt) + OPENINGS[format])
        ids = self._encode(prompt + PLAIN_SEPARATOR + OPENINGS[format])
        begin = self.tokenizer.bos_token_id
        return ids if begin is None else [begin, *ids]

    def response_ids(self, text: str, *, end: bool = True) -> list[int]:
        """Token ids of a response, with the end-of-sequence token unless ``end`` is False."""
        ids = self._encode(text)
        return [*ids, self.eos_id] if end else ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of response ids; special tokens are left out, spaces are kept as they are."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _own_ids(self, example: Example) -> list[int]:
        return self.text_prompt_ids(prompt_of(example), example.format)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _shortened(self, example: Example, excess: int) -> Example:
        """The example with ``excess`` tokens cut from the end of its longest field."""
        name = max(example.fields, key=lambda field: len(example.fields[field]))
        ids = self._encode(example.fields[name])
        if len(ids) <= excess:
            raise DataError(
                f"task {example.task}, row {example.id}: the instruction alone is longer than "
                f"{self.max_prompt_tokens} tokens; raise model.max_prompt_tokens"
            )
        kept = self.decode(ids[: len(ids) - excess])
        if len(kept) >= len(example.fields[name]):
            kept = example.fields[name][: max(0, len(example.fields[name]) - excess)]
        return replace(example, fields={**example.fields, name: kept})

    def _distinct_pad(self) -> int:
        """A padding id that is not the end token, so that nothing can mistake one for the other."""
        candidates = [self.tokenizer.pad_token_id, self.tokenizer.unk_token_id, *self.tokenizer.all_special_ids, 0, 1]
        return next(int(token) for token in candidates if token is not None and token != self.eos_id)
