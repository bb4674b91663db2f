"""A policy on the shared trunk against TRL's DPOTrainer with two whole models: the same pairs, the same loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewardlab.functional.preference import PreferenceLoss, pair_losses
from rewardlab.training.pair_rows import chunks_of
from tests.support.bandit import WORDS
from tests.support.preference import preference_trainer, word_pair
from tests.support.training import EXAMPLES


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT 0.21 under transformers 5.23
@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_the_loss_of_a_trained_policy_equals_trls(tmp_path: Path, loss: PreferenceLoss) -> None:
    """Theirs is the base model with our adapter merged, beside the base model as its reference."""
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    pairs = [
        word_pair(example, " ".join(WORDS[: 1 + number % 4]), " ".join(WORDS[3 : 4 + number % 3]))
        for number, example in enumerate(EXAMPLES)
    ]
    ours = preference_trainer(tmp_path, pairs, {"model.max_new_tokens": 8}, steps=3, beta=0.3, loss=loss)
    ours.train()
    (chunk,) = chunks_of(ours.trunk, ours.rows, range(8), 8)
    with torch.no_grad():
        both = chunk.together(ours.actor.policy(chunk).logprobs, ours.reference.of(chunk))
    assert float(both.margin.mean()) > 0.1
    expected = pair_losses(loss, both, beta=0.3).mean()

    base, adapter = str(tmp_path / "model"), str(tmp_path / "run" / "adapter")
    policy = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()

    class Quiet(DPOTrainer):  # type: ignore[misc]  # trl is untyped here
        """Sends nothing to its makers."""

        def _send_telemetry(self) -> None:
            return

    theirs = Quiet(
        model=policy,
        ref_model=AutoModelForCausalLM.from_pretrained(base),
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"),
            beta=0.3,
            loss_type=[loss],
            use_cpu=True,
            bf16=False,
            report_to="none",
            activation_checkpointing=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": "good", "chosen": "yes", "rejected": "no"}]),
        processing_class=ours.trunk.codec.tokenizer,
    )
    rows = [
        {"prompt_ids": [*row.prompt], "chosen_ids": [*row.chosen], "rejected_ids": [*row.rejected]} for row in ours.rows
    ]
    with torch.no_grad():
        found = theirs.compute_loss(theirs.model, theirs.data_collator(rows))
    assert float(found) == pytest.approx(float(expected), abs=1e-4)
    logged = theirs._metrics["eval"]
    assert logged["rewards/margins"][-1] == pytest.approx(0.3 * float(both.margin.mean()), abs=1e-4)
    assert logged["logps/chosen"][-1] == pytest.approx(float(both.chosen.mean()), abs=1e-4)
