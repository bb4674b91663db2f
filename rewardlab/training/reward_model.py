"""Bradley-Terry reward models: a LoRA adapter and a linear head on the SFT trunk, with TRL's RewardTrainer.

The trainer sees the very token rows that scoring sees (``prompt + response + end``), and its model reads them through
the trunk's own role path, so a score in training, evaluation and PPO is one number. How good a trained model is
stands in ``rm_evaluation.py``.
"""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.errors import TrainingError
from rewardlab.models import Trunk, load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.models.names import resolve_dtype, trunk_identity
from rewardlab.models.scoring import score_rows
from rewardlab.runs import ADAPTER, CHECKPOINTS, RunFolder, relative_path
from rewardlab.training.fitting import training_batch
from rewardlab.training.memory import Longest
from rewardlab.training.progress import FolderRecorder, Recorder, Several, Silent
from rewardlab.training.rm_evaluation import (
    EncodedPair,
    EncodedPairs,
    PairEncoder,
    SampledAnswer,
    evaluate,
    store_scores,
    store_sft_scores,
)
from rewardlab.training.trl_run import (
    Outcome,
    Plan,
    check_trainable,
    plan_steps,
    remove_dropout,
    shared_result,
)
from rewardlab.types import Example, Pair, PairKind

logger = logging.getLogger(__name__)

ROLE = "rm"
METRICS: Mapping[str, str] = {
    "loss": "rm/loss",
    "accuracy": "rm/accuracy",
    "margin": "rm/margin",
    "mean_reward": "rm/score",
    "learning_rate": "rm/lr",
    "grad_norm": "rm/grad_norm",
}
"""TRL's name -> ours."""
GLOSSARY: Mapping[str, str] = {
    "rm/loss": "Bradley-Terry loss, nats a pair; ln 2 = 0.693 when the scorer cannot tell the two apart",
    "rm/accuracy": "share of the step's pairs whose chosen response scores higher",
    "rm/margin": "chosen minus rejected score, mean over the step's pairs; logits",
    "rm/score": "raw score, mean over the step's responses; logits",
    "rm/lr": "learning rate of the step",
    "rm/grad_norm": "norm of the gradient before clipping",
}


def train_reward_model(
    folder: RunFolder,
    config: RunConfig,
    kind: PairKind,
    sft_adapter: Path | None,
    pairs: Sequence[Pair],
    held_out: Mapping[str, Sequence[Pair]],
    samples: Sequence[SampledAnswer],
    progress: Recorder | None = None,
    *,
    examples: Iterable[Example] = (),
) -> dict[str, Any]:
    """Train a reward model, store it in ``folder/adapter``, score SFT samples, measure it on pairs it has not seen.

    Goes on where a run was interrupted. Of several processes all train and the main one does the rest.

    Args:
        folder: An opened run folder; metrics go to its ``metrics.jsonl``, raw scores to ``sft_scores.json``.
        config: Model, LoRA and rm sections, seed.
        kind: Kind of the training pairs.
        sft_adapter: Adapter to merge into the trunk first; None starts from the base model.
        pairs: Training pairs; ``rm.max_pairs`` of them are drawn by seed when there are more. Where there are fewer,
            they are passed over more often, so that all kinds take as many steps.
        held_out: Name -> pairs of examples that are not in ``pairs``.
        samples: Answers sampled from the SFT model.
        progress: A further recorder, such as a progress bar.
        examples: The rows that the pairs were made from; theirs is the text that is cut in a long prompt.
    Returns:
        kind, model, sft_adapter, trunk_files (what scoring needs to load it again), pairs, pairs_in_epoch, shortened,
        dropped, accuracy (set -> task -> value, low, high, n, label_only, length_only), sft_scores (mean, sd), steps,
        loss, seconds, tokens, trunk.
    Raises:
        DataError: No pair could be used.
        TrainingError: The loss became infinite or not a number, or the stored model scores differently.
    """
    trunk = load_trunk(config.model, sft_adapter)
    encode = PairEncoder(trunk.codec, config.model, examples)
    encoded = encode(_drawn(pairs, config))
    encoded.report(f"{kind} reward model", f"{kind} pair", config)
    longest = Longest(max(len(row) for item in encoded.pairs for row in (item.chosen, item.rejected)), 0)
    micro = training_batch("rm", config, trunk, longest)
    config = config.model_copy(update={"rm": config.rm.model_copy(update={"micro_batch": micro})})
    trunk.is_checkpointed = config.rm.gradient_checkpointing
    plan = plan_steps(config.rm, _pairs_in_epoch(config, encoded))
    recorder = Several(FolderRecorder(folder), progress or Silent())
    stage, checkpoints = f"{kind} reward model", folder.path / CHECKPOINTS
    model, outcome = _fit(trunk, config, encoded.pairs, plan, stage, recorder, checkpoints)
    trunk.roles.save(ROLE, folder.path / ADAPTER)
    shared = shared_result(trunk, outcome)
    if not processes.is_main():
        return shared
    trunk = _whole(trunk, model, config, sft_adapter, encoded.pairs, folder.path / ADAPTER)
    return {
        "kind": kind,
        **_needed_to_load(folder, config, sft_adapter),
        **_counted(config, encoded),
        "accuracy": evaluate(trunk, ROLE, encode, [item.pair for item in encoded.pairs], held_out, samples),
        "sft_scores": _calibrated(folder.path, trunk, samples, encoded.pairs, config.rm.sft_samples),
        **shared,
    }


def _whole(
    trunk: Trunk,
    model: PairModel,
    config: RunConfig,
    sft_adapter: Path | None,
    pairs: Sequence[EncodedPair],
    adapter: Path,
) -> Trunk:
    """The trunk to measure with: the trained one where one process holds all of it, else one loaded with ``adapter``.

    The main process measures alone, and cannot without the others' pieces.
    """
    if not processes.is_sharded():
        check_stored(trunk, model, pairs[:4], adapter)
        return trunk
    loaded = load_trunk(config.model, sft_adapter)
    loaded.roles.load(ROLE, adapter)
    return loaded


def _needed_to_load(folder: RunFolder, config: RunConfig, sft_adapter: Path | None) -> dict[str, Any]:
    """What scoring needs of the trunk to load the stored model again."""
    return {
        "model": config.model.model_dump(mode="json") | {"dtype": resolve_dtype(config.model)},
        "sft_adapter": relative_path(sft_adapter, folder.path) if sft_adapter else None,
        "trunk_files": trunk_identity(config.model, sft_adapter),
    }


def _counted(config: RunConfig, encoded: EncodedPairs) -> dict[str, int]:
    """How many pairs were trained on, in an epoch, with their text cut, and left out."""
    return {
        "pairs": len(encoded.pairs),
        "pairs_in_epoch": _pairs_in_epoch(config, encoded),
        "shortened": encoded.shortened,
        "dropped": encoded.dropped,
    }


def _calibrated(
    folder: Path, trunk: Trunk, samples: Sequence[SampledAnswer], pairs: Sequence[EncodedPair], limit: int
) -> dict[str, float]:
    """Store the scores that calibrated lambdas are read from; pairs of no task have no samples but themselves."""
    if samples:
        return store_sft_scores(folder, trunk, ROLE, samples, limit)
    logger.warning("pairs of no task: quantiles and z-scores are those of the pairs' own responses, not of SFT samples")
    rows = [row for item in pairs for row in (item.chosen, item.rejected)]
    return store_scores(folder, trunk, ROLE, rows[:limit])


class PairModel(nn.Module):
    """One role of a trunk with its head, in the shape that TRL's RewardTrainer calls.

    Unlike transformers' classification models, it finds the last token by the attention mask: they look for the last
    id that is not the padding id, which reads a token too early when padding equals end of sequence.
    """

    def __init__(self, trunk: Trunk, role: str) -> None:
        super().__init__()
        head = trunk.roles[role].head
        if head is None:
            raise TrainingError(f"role {role!r} has no scalar head; a reward model needs one")
        self.base = trunk.model
        self.head = head
        self.config = copy.deepcopy(trunk.model.config)
        self.config.num_labels = 1
        self._trunk = trunk
        self._role = role

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool = False) -> SequenceClassifierOutput:
        """Raw scores of right-padded rows (B, T) as ``logits`` (B, 1); ``use_cache`` is there for TRL and unused."""
        keep = attention_mask.bool()
        states = self._trunk.hidden(input_ids, keep, self._role)
        last = states[torch.arange(len(keep), device=keep.device), keep.sum(-1) - 1]
        return SequenceClassifierOutput(logits=self.head(last)[:, None].clone())  # FSDP warns of views

    def add_model_tags(self, tags: Sequence[str]) -> None:
        """TRL labels models for the hub; nothing is published here."""


def check_stored(trunk: Trunk, model: PairModel, pairs: Sequence[EncodedPair], adapter: Path) -> None:
    """Raise TrainingError unless the stored adapter, loaded as a role of ``trunk``, scores as the trained model."""
    from trl.trainer.reward_trainer import DataCollatorForPreference

    collator = DataCollatorForPreference(pad_token_id=trunk.codec.pad_id)
    batch = {name: ids.to(trunk.device) for name, ids in collator([_columns(pair) for pair in pairs]).items()}
    with torch.inference_mode():
        trained = model.eval()(**batch).logits.squeeze(-1).tolist()
    name = "rm-stored"
    trunk.roles.load(name, adapter)
    stored = score_rows(trunk, name, [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])
    tolerance = 1e-4 if trunk.dtype == torch.float32 else 5e-2
    worst = max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(trained, stored, strict=True))
    if worst > tolerance:
        raise TrainingError(f"{adapter}: the stored reward model scores {worst:.3g} off the trained one")


def _pairs_in_epoch(config: RunConfig, encoded: EncodedPairs) -> int:
    return config.rm.max_pairs or len(encoded.pairs)


def _drawn(pairs: Sequence[Pair], config: RunConfig) -> Sequence[Pair]:
    limit = config.rm.max_pairs
    if limit is None or len(pairs) <= limit:
        return pairs
    return random.Random(f"pairs {config.seed}").sample(list(pairs), limit)


def _columns(pair: EncodedPair) -> dict[str, list[int]]:
    """The columns that TRL takes as they are: nothing is tokenised, ended or filtered again."""
    return {"chosen_ids": pair.chosen, "rejected_ids": pair.rejected}


def _fit(
    trunk: Trunk,
    config: RunConfig,
    pairs: Sequence[EncodedPair],
    plan: Plan,
    stage: str,
    recorder: Recorder,
    folder: Path,
) -> tuple[PairModel, Outcome]:
    from rewardlab.training.reward_trainer import run_reward_trainer

    torch.manual_seed(config.seed)
    trunk.roles.add(ROLE, config.lora, head=ScalarHead(trunk.width))
    remove_dropout(trunk.model)
    model = PairModel(trunk, ROLE)
    check_trainable(model, trunk.roles.parameters(ROLE))
    rows = [_columns(pair) for pair in pairs]
    outcome = run_reward_trainer(trunk, ROLE, model, rows, config, plan, stage, recorder, METRICS, folder)
    model.eval()
    return model, outcome
