"""The SFT loss in the steps of a method that samples (``ppo.sft_coef``): gold answers keep pulling while RL pushes.

Each optimiser step adds ``sft_coef`` times the negative log-likelihood, per token, of as many gold answers as the
minibatch has responses. They are SFT's own rows and texts (``sft.words`` too), in passes with an order of their own
for each; what a step reads is a function of (seed, optimiser step).

Source:
    Ouyang et al. 2022, eq. 2 (PPO-ptx), with the SFT rows in place of pretraining text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.errors import TrainingError
from rewardlab.models.trunk import Trunk
from rewardlab.online_config import OnlineConfig
from rewardlab.training.actor import POLICY
from rewardlab.training.answer_loss import IGNORED, answer_nll
from rewardlab.training.schedule import batch_of
from rewardlab.training.sft import encode_rows
from rewardlab.types import Example

Tokens = tuple[list[int], list[int]]
"""Prompt and response."""


class GoldAnswers:
    """Gradients of the SFT loss.

    Args:
        trunk: Carries the policy.
        examples: Labelled rows.
        rationales: (task, id) -> what stands in front of the answer; None for bare answers.
        config, section: Of the run: response budget, seed, coefficient, responses in a minibatch.
    Raises:
        TrainingError: Not one row fits.

    Attributes:
        rows: Those that fit into the budget.
    """

    def __init__(
        self,
        trunk: Trunk,
        examples: Sequence[Example],
        rationales: Mapping[tuple[str, str], str] | None,
        config: RunConfig,
        section: OnlineConfig,
    ) -> None:
        encoded = encode_rows(trunk.codec, examples, rationales, config.new_tokens, config.sft.words).rows
        self.rows: list[Tokens] = [_cut(row["input_ids"], row["labels"]) for row in encoded]
        if not self.rows:
            raise TrainingError(
                f"sft_coef = {section.sft_coef} needs labelled rows to learn from, and none of {len(examples)} has an "
                "answer that fits; raise model.max_new_tokens, or set sft_coef = 0"
            )
        self._trunk, self._coef, self._seed = trunk, section.sft_coef, config.seed
        self._batch, self._micro = math.ceil(section.batch / section.minibatches), section.micro_batch

    def backward(self, update: int) -> tuple[float, int]:
        """Accumulate the gradients of one optimiser step.

        Args:
            update: Which, from 0.
        Returns:
            This process's share of the loss before the coefficient, nats a token, and its sequences.
        """
        batch = [self.rows[place] for place in batch_of(range(len(self.rows)), update, self._batch, self._seed)]
        total = sum(len(response) for _, response in batch)
        pieces = processes.share([batch[first : first + self._micro] for first in range(0, len(batch), self._micro)])
        found = 0.0
        for piece in pieces:
            with self._trunk.running(POLICY, 0):  # a part of the step's update, no sequence more
                loss = answer_nll(self._trunk, piece) / total
            self._trunk.rows_read += len(piece)
            (self._coef * loss).backward()  # type: ignore[no-untyped-call]  # torch's
            found += float(loss.detach())
        return found, sum(map(len, pieces))


def _cut(ids: list[int], labels: list[int]) -> Tokens:
    """A row of SFT as prompt and response."""
    prompt = sum(label == IGNORED for label in labels)
    return ids[:prompt], ids[prompt:]
