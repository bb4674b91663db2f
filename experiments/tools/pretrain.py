"""Pretrains the tiny model on what speakers of the sandbox say: ``python -m experiments.tools.pretrain --out DIR``.

The text comes from the train split alone. The shipped weights were made with the defaults: ten minutes on two busy
cores. Easy sentences come first: shown all at once, the model stays at chance on polarity for thousands of steps.
Letters in comments: B sequences of a batch, T tokens.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.tools.speakers import speak
from experiments.tools.tokenizer import build_tokenizer
from rewardlab.sandbox import SANDBOX_TASKS
from rewardlab.tasks.task import OPENINGS, prompt_of, tasks
from rewardlab.types import Example

logger = logging.getLogger(__name__)


class Lesson(NamedTuple):
    """A stretch of the training: until which share of it, which kinds of text (None: all), which tasks how often."""

    until: float
    structures: frozenset[str] | None
    shares: Mapping[str, float]


_UNDISPUTED = frozenset({"plain", "agreement", "majority", "mixed", "exact"})
LESSONS = (
    Lesson(0.15, _UNDISPUTED, dict(zip(SANDBOX_TASKS, (0.5, 0.2, 0.3), strict=True))),
    Lesson(0.35, _UNDISPUTED | {"negation"}, dict(zip(SANDBOX_TASKS, (0.5, 0.2, 0.3), strict=True))),
    Lesson(1.0, None, dict(zip(SANDBOX_TASKS, (0.4, 0.3, 0.3), strict=True))),
)
SHOTS_EVERY = 12
"""In the last lesson, one batch in so many shows solved examples in front of each question."""
PROMPT_WEIGHT = 0.1
"""Weight of a prompt token in the loss: most of a prompt cannot be predicted."""


class Said(NamedTuple):
    """A sequence of the training text: what is given, and what the speaker says to it."""

    head: str
    answer: str


Pools = Mapping[str, Sequence[Example]]
"""Task -> rows that are asked about."""


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """Size of the model and length of its training.

    Attributes:
        layers, width, heads: Of the Llama; the feed-forward width is three times ``width``.
        steps, batch: Optimiser steps, sequences a step.
        peak_rate, warmup: Learning rate after ``warmup`` steps; it falls to a tenth along a cosine.
        rows: Different rows of each task; each is answered by a new speaker whenever it comes up.
        seed: Of the weights, the rows and the speakers.
    """

    layers: int = 4
    width: int = 160
    heads: int = 5
    steps: int = 1800
    batch: int = 64
    peak_rate: float = 3e-3
    warmup: int = 100
    rows: int = 40000
    seed: int = 1


def pretrain(config: PretrainConfig) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train the tiny model from nothing."""
    torch.manual_seed(config.seed)
    tokenizer = build_tokenizer(SANDBOX_TASKS)
    model = build_model(config, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.peak_rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config))
    for step, batch in enumerate(islice(_batches(config, tokenizer), config.steps)):
        loss = _loss(model, *batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            logger.info("step %d loss %.3f", step, loss.item())
    return model.eval(), tokenizer


def build_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained Llama."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.width,
            intermediate_size=3 * config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            initializer_range=0.04,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights, config and tokenizer as ``from_pretrained`` reads them."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _rate(step: int, config: PretrainConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - config.warmup) / max(1, config.steps - config.warmup)))


def _batches(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Tensor, Tensor]]:
    """(token ids, loss weights) of each step, both of shape (B, T)."""
    rng = random.Random(config.seed)
    rows = {name: _rows(name, config) for name in SANDBOX_TASKS}
    begin = 0
    for lesson in LESSONS:
        end = round(lesson.until * config.steps)
        pools = {name: [row for row in rows[name] if _belongs(row, lesson)] for name in rows}
        for step in range(begin, end):
            with_shots = lesson.structures is None and step % SHOTS_EVERY == 0
            texts = _solved_examples if with_shots else _questions
            yield _encode(texts(pools, lesson.shares, config.batch, rng), tokenizer)
        begin = end


def _rows(name: str, config: PretrainConfig) -> list[Example]:
    generate = tasks.get(name).generate
    assert generate is not None  # sandbox tasks are generated
    return generate("train", config.rows, 1_000_000 + config.seed)


def _belongs(row: Example, lesson: Lesson) -> bool:
    return lesson.structures is None or row.evidence["structure"] in lesson.structures


def _questions(pools: Pools, shares: Mapping[str, float], n: int, rng: random.Random) -> list[Said]:
    """``n`` prompts, each answered by some speaker."""
    names = rng.choices(list(shares), list(shares.values()), k=n)
    return [_said(*speak(rng.choice(pools[name]), rng)) for name in names]


def _solved_examples(pools: Pools, shares: Mapping[str, float], n: int, rng: random.Random) -> list[Said]:
    """A quarter of ``n`` prompts, each behind one to five solved examples of its task and format."""
    texts = []
    for name in rng.choices(list(shares), list(shares.values()), k=n // 4):
        spoken = [speak(rng.choice(pools[name]), rng) for _ in range(rng.randint(2, 6))]
        example, response = spoken[-1]
        shots = [shot for shot in spoken[:-1] if shot[0].format == example.format]
        shown = [f"{prompt_of(row)}\n\n{OPENINGS[row.format]}{text}\n\n" for row, text in shots]
        texts.append(_said(example, response, "".join(shown)))
    return texts


def _said(example: Example, response: str, shown: str = "") -> Said:
    head = f"<bos><user>{shown}{prompt_of(example)}<assistant>{OPENINGS[example.format]}"
    return Said(head, f"{response}<eos>")


def _encode(texts: Sequence[Said], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    prompts = tokenizer([text.head for text in texts], add_special_tokens=False)["input_ids"]
    answers = tokenizer([text.answer for text in texts], add_special_tokens=False)["input_ids"]
    length = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.full((len(texts), length), int(tokenizer.pad_token_id))
    weights = torch.zeros(len(texts), length)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        weights[row, :end] = 1.0
        weights[row, : len(prompt)] = PROMPT_WEIGHT
    return ids, weights


def _loss(model: LlamaForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross entropy of the next token, nats. Shapes (B, T)."""
    logits = model(input_ids=ids[:, :-1]).logits
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights[:, 1:].flatten()).sum() / weights[:, 1:].sum()


def main() -> None:
    """Read the command line, train, save."""
    default = PretrainConfig()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, config and tokenizer")
    parser.add_argument("--steps", type=int, default=default.steps, help="optimiser steps of the whole schedule")
    parser.add_argument("--seed", type=int, default=default.seed, help="seed of weights and text")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = PretrainConfig(steps=arguments.steps, seed=arguments.seed)
    save(*pretrain(config), arguments.out)


if __name__ == "__main__":
    main()
