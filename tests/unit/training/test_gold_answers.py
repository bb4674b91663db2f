"""The SFT loss within the steps of a method that samples: its size, its gradient, its rows, its cost, its use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewardlab.config_loading import load_config
from rewardlab.disk import read_jsonl
from rewardlab.errors import TrainingError
from rewardlab.models.trunk import load_trunk
from rewardlab.pipeline.pipeline import Pipeline
from rewardlab.tasks.task import tasks
from rewardlab.training.actor import POLICY
from rewardlab.training.gold_answers import GoldAnswers
from rewardlab.training.sft import encode_rows
from tests.support.models import tiny_llama
from tests.support.training import EXAMPLES, ppo_config, ppo_trainer


def gold_answers(folder: Path, coef: float, **ppo: float) -> GoldAnswers:
    model = folder / "model"
    if not model.exists():
        tiny_llama(model)
    config = ppo_config(model, sft_coef=coef, **ppo)
    trunk = load_trunk(config.model)
    torch.manual_seed(0)
    trunk.roles.add(POLICY, config.lora)
    return GoldAnswers(trunk, EXAMPLES, None, config, config.ppo)


def gradients(gold: GoldAnswers) -> torch.Tensor:
    parts = [p.grad for p in gold._trunk.roles.parameters(POLICY) if p.grad is not None]
    return torch.cat([part.flatten() for part in parts])


def test_the_loss_is_the_mean_over_tokens_of_gold_answers_worked_out_one_by_one(tmp_path: Path) -> None:
    gold = gold_answers(tmp_path, 1.0, batch=8, micro_batch=3)
    trunk, total, tokens = gold._trunk, 0.0, 0
    for row in EXAMPLES:
        prompt = trunk.codec.prompt_ids(row)
        response = trunk.codec.response_ids(tasks.get("sst2").response(str(row.label), "label"))
        with torch.no_grad():
            hidden = trunk.hidden(
                torch.tensor([prompt + response]), torch.ones(1, len(prompt + response)).bool(), POLICY
            )
            logits = trunk.head(hidden)[0, len(prompt) - 1 : -1]
        total -= float(torch.log_softmax(logits.float(), -1)[range(len(response)), response].sum())
        tokens += len(response)
    loss, read = gold.backward(0)
    assert loss == pytest.approx(total / tokens, rel=1e-5)
    assert read == len(EXAMPLES)


def test_the_coefficient_scales_the_gradient_and_not_the_logged_loss(tmp_path: Path) -> None:
    one, third = (gold_answers(tmp_path, coef, batch=8) for coef in (1.0, 0.3))
    assert one.backward(0)[0] == pytest.approx(third.backward(0)[0])
    assert torch.allclose(gradients(third), 0.3 * gradients(one), atol=1e-7)
    assert gradients(one).abs().sum() > 0


def test_micro_batches_change_nothing(tmp_path: Path) -> None:
    whole, parts = (gold_answers(tmp_path, 1.0, batch=8, micro_batch=size) for size in (8, 3))
    assert whole.backward(2)[0] == pytest.approx(parts.backward(2)[0], rel=1e-5)
    assert torch.allclose(gradients(whole), gradients(parts), atol=1e-6)


def test_each_update_reads_as_many_rows_as_a_minibatch_has_responses(tmp_path: Path) -> None:
    gold = gold_answers(tmp_path, 1.0, batch=8, minibatches=2, micro_batch=4)
    assert [gold.backward(update)[1] for update in range(4)] == [4] * 4


def test_a_policy_that_is_paid_nothing_learns_gold_answers(tmp_path: Path) -> None:
    """Every response has the same score, so that only the gold answers pull: their likelihood rises."""
    losses = {}
    for coef in (0.0, 1.0):
        trainer = ppo_trainer(tmp_path / str(coef), lambda *_: 0.0, sft_coef=coef, steps=12, kl_coef=0.0)
        trainer.train()
        rows = list(read_jsonl(tmp_path / str(coef) / "run" / "metrics.jsonl"))
        losses[coef] = [row.get("policy/sft_loss") for row in rows]
    assert losses[0.0] == [None] * 12
    assert losses[1.0][-1] < losses[1.0][0] - 1.0


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole = ppo_trainer(tmp_path / "whole", lambda *_: 0.0, sft_coef=0.5, steps=4)
    whole.train()
    cut = ppo_trainer(tmp_path / "cut", lambda *_: 0.0, sft_coef=0.5, steps=4)
    for step in range(2):
        cut.step(step)
    cut.store(2)
    again = ppo_trainer(tmp_path / "cut", lambda *_: 0.0, sft_coef=0.5, steps=4)
    again.train()
    theirs, ours = whole.trunk.roles.state(POLICY), again.trunk.roles.state(POLICY)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_no_row_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    tiny_llama(tmp_path / "model")
    config = ppo_config(tmp_path / "model", sft_coef=0.5)
    with pytest.raises(TrainingError, match=r"sft_coef = 0.5 needs labelled rows .* none of 0"):
        GoldAnswers(load_trunk(config.model), [], None, config, config.ppo)


@pytest.mark.parametrize("method", ["ppo", "grpo", "rloo", "reinforce"])
def test_the_stage_reads_labelled_rows_and_their_rationales(method: str, tmp_path: Path) -> None:
    small = {f"data.{part}": 8 for part in ("labelled", "prompts", "validation", "test")}
    plain, mixed = (
        Pipeline(load_config({**small, "ppo.sft_coef": coef}), tmp_path).train(method) for coef in (0.0, 0.1)
    )
    assert "annotate" not in plain.inputs
    assert "annotate" in mixed.inputs
    assert plain.fingerprint != mixed.fingerprint
    bare = Pipeline(load_config({**small, "ppo.sft_coef": 0.1, "format": "label"}), tmp_path).train(method)
    assert "annotate" not in bare.inputs


def test_it_learns_the_words_that_sft_does_and_its_passes_are_counted(tmp_path: Path) -> None:
    gold_answers(tmp_path, 1.0)
    config = ppo_config(tmp_path / "model", sft_coef=1.0, batch=8)
    words = {"sst2": {"negative": "No"}}
    config = config.model_copy(update={"sft": config.sft.model_copy(update={"words": words})})
    trunk = load_trunk(config.model)
    trunk.roles.add(POLICY, config.lora)
    gold = GoldAnswers(trunk, EXAMPLES, None, config, config.ppo)
    learned = encode_rows(trunk.codec, EXAMPLES, None, config.new_tokens, words).rows
    assert [prompt + response for prompt, response in gold.rows] == [row["input_ids"] for row in learned]
    plain = encode_rows(trunk.codec, EXAMPLES, None, config.new_tokens).rows
    assert learned != plain
    before = trunk.rows_read
    _, read = gold.backward(0)
    assert trunk.rows_read - before == read == 8


def test_other_words_are_another_run_where_the_loss_is_mixed_in_alone() -> None:
    def identity(**settings: object) -> str:
        given = {"task": "sandbox-sentiment", "format": "label", "init": "base", "data.labelled": 8, "data.prompts": 8}
        given |= {"data.validation": 8, "data.test": 8, **{k.replace("__", "."): v for k, v in settings.items()}}
        return Pipeline(load_config(given), Path("runs")).train("ppo").fingerprint

    words = {"sandbox-sentiment": {"negative": "No"}}
    assert identity(sft__words=words) == identity()
    assert identity(ppo__sft_coef=0.1, sft__words=words) != identity(ppo__sft_coef=0.1)
