"""``ProbeModel``: a model with a real PPO trainer on it, whose adapters can be set back or moved away from the start.

Checks use the trainer's own sampler, rollout and update, so what they find holds for training. B rows of a chunk,
R response columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab.config import RunConfig
from rewardlab.models.sampler import Sample, SamplingConfig, row_key, sample
from rewardlab.models.trunk import Trunk
from rewardlab.rewards.ledger import Ledger
from rewardlab.sandbox.tasks import SENTIMENT
from rewardlab.tasks.task import with_format
from rewardlab.training.actor import POLICY, VALUE, Chunk
from rewardlab.training.fitting import sampling_batch
from rewardlab.training.ppo import PPOTrainer
from rewardlab.training.progress import Silent
from rewardlab.training.rollout import Rollout, roll_out
from rewardlab.types import Example, Score

ROWS, TOKENS = 4, 12
"""Prompts, and the longest response to each."""
DRAWS = 6
"""Responses per prompt for the law of the draws."""
STEP = 0.05
"""Standard deviation of what :meth:`ProbeModel.disturb` adds; with B of that size the policy is another, and sane."""
LARGEST_DRIFT: Mapping[torch.dtype, float] = {torch.float32: 2e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""Nats by which padding may change a log-probability, by trunk dtype: its rounding, over all layers."""


class Letters:
    """A reward that differs between responses: the share of letters in the first half of the alphabet."""

    name = "letters"
    needs_gold = False

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """As many scores as responses, in [0, 1], spread by the response's length."""
        return [Score(sum("a" <= c.lower() <= "m" for c in text) / (1 + len(text))) for text in responses]


class LastMetrics(Silent):
    """Remembers the metrics of the last step."""

    def __init__(self) -> None:
        self.metrics: Mapping[str, float] = {}

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep them."""
        self.metrics = dict(metrics)


class ProbeModel:
    """A model under examination.

    Args:
        trunk: The model, without roles ``policy`` and ``value``; gets them here.
        config: Its configuration; task, sizes and steps are replaced by small ones, the critic's kind is kept.
        folder: For adapters that are stored and loaded.
        draws: Responses per prompt for the law of the draws.
    """

    def __init__(self, trunk: Trunk, config: RunConfig, folder: Path, *, draws: int = DRAWS) -> None:
        self.trunk, self.config, self.folder, self.draws = trunk, _small(config), folder, draws
        assert SENTIMENT.generate is not None
        self.examples = with_format(SENTIMENT.generate("test", ROWS, 0), config.format)
        self.recorder = LastMetrics()
        ledger = Ledger(_forget)
        self.trainer = PPOTrainer(trunk, Letters(), self.examples, self.config, self.recorder, ledger, folder)
        self._fresh = [tensor.detach().clone() for tensor in self.trained()]
        self._loaded = 0

    @property
    def drift_limit(self) -> float:
        """Nats by which padding may change a log-probability."""
        return LARGEST_DRIFT.get(self.trunk.dtype, 0.5)

    @property
    def prompts(self) -> list[list[int]]:
        """Token ids of the prompts."""
        return [self.trunk.codec.prompt_ids(example) for example in self.examples]

    def tensors(self, name: str) -> list[nn.Parameter]:
        """What the optimiser of ``policy`` or ``value`` moves."""
        return [p for group in self.trainer.learner.optimizers[name].param_groups for p in group["params"]]

    def trained(self) -> list[nn.Parameter]:
        """Every tensor that PPO trains."""
        return [*self.tensors(POLICY), *self.tensors(VALUE)]

    def heal(self) -> None:
        """Set every trained tensor back to its start, where the policy is the reference."""
        with torch.no_grad():
            for tensor, fresh in zip(self.trained(), self._fresh, strict=True):
                tensor.copy_(fresh)

    def disturb(self) -> None:
        """Move whatever starts at zero, so that policy and critic differ from their start as after training."""
        self.heal()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in self.trained():
                if not tensor.any():
                    tensor.add_(STEP * torch.randn(tensor.shape, generator=generator).to(tensor.device))

    def rollout(self, micro_batch: int = 2) -> Rollout:
        """Responses of the policy as training draws and measures them."""
        return roll_out(self.trainer.actor, self.examples, self.trainer.sampling, micro_batch, ("doctor",))

    def sampled(self, role: str | None, temperature: float, copies: int = 1) -> list[Sample]:
        """Responses under ``role`` from our sampler, ``copies`` per prompt, row after row."""
        config = SamplingConfig(TOKENS, temperature, (), sampling_batch(self.config, self.trunk))
        prompts = [prompt for prompt in self.prompts for _ in range(copies)]
        keys = [row_key("doctor", row) for row in range(len(prompts))]
        return sample(self.trunk, prompts, keys, config, role)

    @torch.no_grad()
    def logprobs_alone(self, ids: Sequence[int], role: str | None, temperature: float = 1.0) -> Tensor:
        """Log-probabilities (T, V) after each token of one row, by the model's own forward, without any padding."""
        with self.trunk.roles.using(role):
            logits: Tensor = self.trunk.model(torch.tensor([list(ids)], device=self.trunk.device)).logits[0]
        return torch.log_softmax(logits.double() / temperature, -1)

    def gradients(self, micro_batch: int) -> dict[str, list[Tensor]]:
        """Gradients by optimiser in a whole PPO step from the disturbed state; zeros where there is none."""
        self.disturb()
        self.trainer.micro_batch = micro_batch
        with self._watched() as seen:
            self.trainer.step(1)
        return seen

    def loaded(self, source: Path) -> str:
        """Load a stored adapter as a new frozen role; returns its name."""
        self._loaded += 1
        name = f"doctor-{self._loaded}"
        self.trunk.roles.load(name, source)
        return name

    def policy_logprobs(self, chunk: Chunk, role: str | None = POLICY) -> Tensor:
        """Log-probabilities (B, R) as the update computes them, detached."""
        return self.trainer.actor.policy(chunk, role=role).logprobs.detach()

    @contextmanager
    def _watched(self) -> Iterator[dict[str, list[Tensor]]]:
        """Collects the gradients that each optimiser is about to use."""
        seen: dict[str, list[Tensor]] = {}

        def watch(name: str) -> Any:
            def look(*_: object) -> None:
                seen[name] = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.tensors(name)]

            return self.trainer.learner.optimizers[name].register_step_pre_hook(look)

        handles = [watch(name) for name in self.trainer.learner.optimizers]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()


def _small(config: RunConfig) -> RunConfig:
    """The user's model, critic and temperature with one short, plain step."""
    ppo = {
        "steps": 1,
        "batch": ROWS,
        "micro_batch": 2,
        "minibatches": 1,
        "ppo_epochs": 1,
        "lr": 1e-3,
        "value_lr": 1e-3,
        "warmup": 0.0,
        "final_lr": 1.0,  # checks take more steps than one, and a rate of 0 would move nothing
        "value_init": "zero",
        "least_new_tokens": None,
        "max_grad_norm": 1e9,  # a clipped gradient would hide a wrong scale
        "normalise_scores": False,  # a running scale would make two equal steps differ
        "score_clip": None,
    }
    return config.model_copy(
        update={
            "ppo": config.ppo.model_copy(update=ppo),
            "model": config.model.model_copy(update={"max_new_tokens": TOKENS}),
        }
    )


def _forget(name: str, row: Mapping[str, Any]) -> None:
    """A ledger that is not kept."""
