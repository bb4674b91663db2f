"""Rewards asked by TRL's own trainers, without a model: their method ``_calculate_rewards`` on a bare object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

TRAINERS = ("grpo", "rloo")


def calculated_rewards(
    kind: str,
    functions: Sequence[Callable[..., Any]],
    rows: Sequence[Mapping[str, Any]],
    completions: Sequence[Any],
) -> tuple[list[str], list[list[float]]]:
    """What a trainer makes of rewards: their names in its logs, and a row of numbers per completion, nan for None.

    Args:
        kind: ``grpo`` or ``rloo``.
        functions: Its ``reward_funcs``.
        rows: Of the data set, one per completion; ``prompt`` and other columns.
        completions: Texts or lists of messages.
    """
    torch = pytest.importorskip("torch", reason="TRL needs torch")
    from trl.trainer import grpo_trainer, rloo_trainer
    from trl.trainer.utils import get_callable_name

    module = {"grpo": grpo_trainer, "rloo": rloo_trainer}[kind]
    names = [get_callable_name(function) for function in functions]
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device=torch.device("cpu"), is_main_process=False),
        args=SimpleNamespace(report_to=[]),
        reward_funcs=list(functions),
        reward_func_names=names,
        reward_processing_classes=[None] * len(names),
        state=SimpleNamespace(global_step=0),
        environments=None,
        _log_completion_extra=lambda column, values: None,
        _log_metric=lambda name, value: None,
    )
    method = {"grpo": grpo_trainer.GRPOTrainer, "rloo": rloo_trainer.RLOOTrainer}[kind]._calculate_rewards
    method = getattr(method, "__wrapped__", method)
    prompts = [row["prompt"] for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "gather", lambda tensor: tensor)
        return names, method(trainer, list(rows), prompts, list(completions), [[1]] * len(prompts)).tolist()
