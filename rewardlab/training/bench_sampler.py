"""The sampler against ``generate`` of transformers, timed on rows that stop at evenly spread lengths."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from rewardlab.config import ModelConfig
from rewardlab.models import SamplingConfig, Trunk, row_key, sample
from rewardlab.models.names import find_model
from rewardlab.models.shapes import random_model
from rewardlab.training.bench import load_or_make, machine_of, random_rows
from rewardlab.training.clock import now


def bench_sampler(
    model: ModelConfig,
    batch: int = 16,
    prompt_len: int = 96,
    shortest: int = 4,
    longest: int = 64,
    repeats: int = 3,
    shape: str | None = None,
) -> dict[str, Any]:
    """Time the sampler against ``generate`` of transformers, in turn, on rows that stop at evenly spread lengths.

    Args:
        model: Which model, on which device, in which dtype.
        batch, prompt_len: Rows, and tokens of each prompt.
        shortest, longest: Tokens of the first and of the last response to stop.
        repeats: Timed turns of each; one more of each runs before them and is left out.
        shape: Take models of this shape with random weights instead; a name in ``models.shapes``.
    Returns:
        Median seconds of both and the response tokens per second that this is, and the median of the ratios of
        seconds, turn by turn.
    """
    trunk, plain = load_or_make(model, shape), _plain_model(model) if shape is None else random_model(shape, model)
    prompts = random_rows(batch, prompt_len, trunk)
    budgets = [round(shortest + (longest - shortest) * row / max(1, batch - 1)) for row in range(batch)]
    turns = [(_ours(trunk, prompts, budgets), _generate(plain, prompts, budgets)) for _ in range(repeats + 1)][1:]
    ours, theirs = (median(turn[side] for turn in turns) for side in (0, 1))
    return {
        **machine_of(trunk),
        "batch": batch,
        "prompt_len": prompt_len,
        "stops": [shortest, longest],
        "sampler_s": round(ours, 3),
        "generate_s": round(theirs, 3),
        "sampler_tokens_per_s": round(sum(budgets) / ours, 1),
        "generate_tokens_per_s": round(sum(budgets) / theirs, 1),
        "ratio": round(median(mine / other for mine, other in turns), 3),
        "turns": [[round(second, 3) for second in turn] for turn in turns],
    }


def _ours(trunk: Trunk, prompts: Sequence[Sequence[int]], budgets: Sequence[int]) -> float:
    keys = [row_key("bench", row) for row in range(len(prompts))]
    config = SamplingConfig(max(budgets), batch=len(prompts), is_fixed_length=True)
    start = now(trunk.device)
    drawn = sample(trunk, prompts, keys, config, None, budgets)
    seconds = now(trunk.device) - start
    assert [len(one.ids) for one in drawn] == list(budgets)
    return seconds


@torch.inference_mode()
def _generate(model: Any, prompts: Sequence[Sequence[int]], budgets: Sequence[int]) -> float:
    """Seconds of ``generate`` on the same rows, each ended by a stopping criterion at its budget."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class AtBudget(StoppingCriteria):  # type: ignore[misc]  # transformers has no types here
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            return torch.tensor(budgets, device=input_ids.device) <= input_ids.shape[1] - len(prompts[0])

    ids = torch.tensor(prompts, device=model.device)
    start = now(model.device)
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=max(budgets),
        eos_token_id=None,
        pad_token_id=0,
        stopping_criteria=StoppingCriteriaList([AtBudget()]),
    )
    return now(model.device) - start


def _plain_model(config: ModelConfig) -> Any:
    """The model as transformers loads it, with nothing of ours around it."""
    from transformers import AutoModelForCausalLM

    from rewardlab.models.names import resolve_device, resolve_dtype

    location = find_model(config.name).location
    model = AutoModelForCausalLM.from_pretrained(location, dtype=getattr(torch, resolve_dtype(config)))
    return model.to(resolve_device(config.device)).eval()
