"""The tokenizer of the tiny model: one token a word of the sandbox, bytes for everything else.

A token carries the space in front of it, so decoding joins tokens and gives exactly the encoded text back.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rewardlab.sandbox import words
from rewardlab.sandbox.oracle import REFUSAL
from rewardlab.sandbox.rationales import MOST_DETAIL, write_rationale
from rewardlab.tasks.task import ANSWER_MARK, OPENINGS, Task, tasks
from rewardlab.types import ANSWER_FORMATS

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>", "<user>", "<assistant>")
CHAT_TEMPLATE = (
    "<bos>{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<assistant>{{ message['content'] }}<eos>"
    "{% else %}<user>{{ message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
_PIECE = r"\n\n| ?</?Judgement>| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s"
_SAMPLE_ROWS = 2000


def build_tokenizer(task_names: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """The tokenizer whose vocabulary holds all that the given sandbox tasks can say."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_backend(sorted(vocabulary(task_names))),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        padding_side="left",
    )


def vocabulary(task_names: tuple[str, ...]) -> set[str]:
    """All pieces of the language: with a space in front and without one."""
    texts = [*_word_list(), REFUSAL, ANSWER_MARK, *OPENINGS.values(), " </Judgement>", " ".join(string.digits)]
    for name in task_names:
        texts += _task_texts(tasks.get(name))
    pieces = {piece for text in texts for piece in re.findall(_PIECE, text)}
    return (
        pieces
        | {piece.removeprefix(" ") for piece in pieces}
        | {f" {piece.strip()}" for piece in pieces if piece.strip()}
    )


def _word_list() -> Iterator[str]:
    for name, value in vars(words).items():
        if name.isupper():
            yield from re.findall(r"[A-Za-z]+", str(value))


def _task_texts(task: Task) -> Iterator[str]:
    yield from (task.templates[format] for format in ANSWER_FORMATS)
    assert task.generate is not None  # sandbox tasks are generated
    for example in task.generate("train", _SAMPLE_ROWS, 0):
        label = random.Random(example.id).choice(task.labels or (example.label or 0.0,))
        yield from example.fields.values()
        yield from (write_rationale(example, label, detail) for detail in range(MOST_DETAIL + 1))


def _backend(pieces: list[str]) -> Tokenizer:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    singles = [character for character in string.printable if character not in pieces]
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *singles, *pieces]
    model = models.BPE({name: i for i, name in enumerate(names)}, [], byte_fallback=True, ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return tokenizer
