"""Methods of TRL's own trainers on a bare object, without a model: rewards they ask for, the losses of pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor

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


def pair_loss(
    kind: str,
    logprobs: Tensor,
    reference: Tensor,
    keep: Tensor,
    *,
    beta: float,
    smoothing: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """What DPOTrainer makes of a batch: its mean loss, and the metrics it logs.

    Args:
        kind: Its ``loss_type``.
        logprobs: Of each response token under the policy, chosen responses first. Shape (2P, R), 0 where not kept.
        reference: Sum over each response under the reference. Shape (2P,).
        keep: True at response tokens. Shape (2P, R).
        beta, smoothing: Its ``beta`` and ``label_smoothing``.
    """
    torch = pytest.importorskip("torch", reason="TRL needs torch")
    from trl import DPOTrainer

    method = getattr(DPOTrainer, "_compute_loss", None)
    if method is None:
        pytest.skip("this TRL computes the loss of pairs elsewhere")
    nothing = torch.zeros_like(logprobs)
    seen = {"entropy": nothing, "mean_logits": nothing, "is_top1": nothing.bool(), "log_sum_sq_probs": nothing}
    model = _Answering(SimpleNamespace(log_probs=logprobs, aux_loss=None, **seen))
    metrics: dict[str, list[float]] = {}
    trainer = SimpleNamespace(
        model=model,
        accelerator=SimpleNamespace(
            device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x, autocast=nullcontext
        ),
        aux_loss_enabled=False,
        ld_alpha=None,
        use_weighting=False,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=smoothing,
        _tp_size=1,
        _total_train_tokens=0,
        _metrics={"train": _Lists(metrics), "eval": _Lists(metrics)},
    )
    prompt = torch.ones(len(keep), 1, dtype=torch.long)
    whole = torch.cat([prompt, keep.long()], 1)
    chosen, rejected = reference.chunk(2)
    inputs = {"input_ids": whole, "attention_mask": whole, "completion_mask": torch.cat([0 * prompt, keep.long()], 1)}
    loss = method(trainer, model, {**inputs, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}, False)
    return loss, {name: found[-1] for name, found in metrics.items()}


class _Lists(dict[str, Any]):
    """A list for every name, kept in ``target``."""

    def __init__(self, target: dict[str, list[float]]) -> None:
        self._target = target

    def __getitem__(self, name: str) -> list[float]:
        return self._target.setdefault(name, [])

    def __setitem__(self, name: str, values: list[float]) -> None:
        self._target[name] = values


class _Answering:
    """A model in training mode that gives one answer."""

    training = True

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __call__(self, **_: Any) -> Any:
        return self._answer
