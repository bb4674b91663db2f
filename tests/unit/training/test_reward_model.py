"""Bradley-Terry reward models on a tiny random model: learning, the scored position, parity with the role path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import rewardlab
from rewardlab.config import RMConfig, RunConfig
from rewardlab.disk import read_json, read_jsonl, write_json
from rewardlab.errors import DataError, ModelError, TrainingError
from rewardlab.models import load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.models.scoring import load_scorers, score_rows
from rewardlab.training.memory import Longest
from rewardlab.training.reward_model import PairModel, _columns, check_stored, train_reward_model
from rewardlab.training.rm_evaluation import EncodedPair, PairEncoder, evaluate, store_sft_scores
from rewardlab.training.sft import train_sft
from tests.support.models import tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.support.reward_models import (
    HELD_OUT,
    PAIRS,
    SAMPLES,
    TEXTS,
    make_config,
    make_pair,
    open_folder,
    trunk_with_role,
)
from tests.support.trl_trainers import calculated_rewards
from tests.unit.training.test_sft import layer_runs


def test_learns_a_separable_preference(film_llama: Path, tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "run")
    result = train_reward_model(
        folder, make_config(film_llama), "label", None, PAIRS, {"held_out_label": HELD_OUT}, SAMPLES
    )
    rows = list(read_jsonl(folder.path / "metrics.jsonl"))
    # a zero head scores everything 0: the loss is ln 2 whatever the pairs are
    assert rows[0]["rm/loss"] == pytest.approx(0.693147, abs=1e-6)
    assert result["loss"]["last"] < 0.1
    held_out = result["accuracy"]["held_out_label"]["mr"]
    assert held_out["value"] > 0.9
    assert held_out["n"] == 20
    assert held_out["low"] <= held_out["value"] <= held_out["high"]
    assert held_out["label_only"] == 1.0
    # 8 examples, each with one wrong answer against two right ones
    assert result["accuracy"]["policy_sampled"]["mr"]["n"] == 16
    assert result["accuracy"]["policy_sampled"]["mr"]["value"] > 0.9
    assert result["pairs"] == 32
    assert result["steps"] == 16
    assert result["dropped"] == 0


def test_an_untrained_model_is_at_chance(film_llama: Path) -> None:
    """A new head says 0 everywhere: every pair is a tie, and ties count one half."""
    config = make_config(film_llama)
    trunk = load_trunk(config.model)
    trunk.roles.add("rm", config.lora, head=ScalarHead(trunk.width))
    measured = evaluate(trunk, "rm", PairEncoder(trunk.codec, config.model), PAIRS, {"held_out_label": HELD_OUT}, [])
    assert measured["held_out_label"]["mr"]["value"] == 0.5
    assert measured["policy_sampled"] == {}


def test_flipped_pairs_teach_the_opposite(film_llama: Path, tmp_path: Path) -> None:
    flipped = [make_pair(number, flipped=True) for number in range(32)]
    result = train_reward_model(
        open_folder(tmp_path / "run"),
        make_config(film_llama),
        "ranked",
        None,
        flipped,
        {"held_out_label": HELD_OUT},
        SAMPLES,
    )
    assert result["accuracy"]["held_out_label"]["mr"]["value"] < 0.1


@pytest.mark.parametrize("padding", ["<pad>", "<eos>"])
@pytest.mark.parametrize("build", [tiny_llama, tiny_gpt2])
def test_trainer_and_role_path_score_the_last_token(build: object, padding: str, tmp_path: Path) -> None:
    """Both read the hidden state of the end token, found by the mask: with padding equal to it, too (row 7)."""
    model = build(tmp_path / "model", tiny_tokenizer(TEXTS, pad=padding, chat=build is tiny_llama))  # type: ignore[operator]
    trunk = trunk_with_role(model)
    encoded = PairEncoder(trunk.codec, make_config(model).model)(PAIRS[:3]).pairs
    assert len({len(item.chosen) for item in encoded}) > 1, "rows of one length would not need padding"
    rows = [item.chosen for item in encoded] + [item.rejected for item in encoded]
    by_hand = []
    with torch.inference_mode(), trunk.roles.using("rm"):
        for row in rows:
            assert row[-1] == trunk.codec.eos_id
            state = trunk.backbone(torch.tensor([row])).last_hidden_state[0, len(row) - 1]
            head = trunk.roles["rm"].head
            by_hand.append(float(state @ head.out.weight[0] + head.out.bias[0]))
    from trl.trainer.reward_trainer import DataCollatorForPreference

    batch = DataCollatorForPreference(pad_token_id=trunk.codec.pad_id)([_columns(item) for item in encoded])
    trained = PairModel(trunk, "rm").eval()(**batch).logits.squeeze(-1).tolist()
    assert trained == pytest.approx(by_hand, abs=1e-4)
    assert score_rows(trunk, "rm", rows, batch=4) == pytest.approx(by_hand, abs=1e-4)
    assert max(by_hand) - min(by_hand) > 0.01


@pytest.fixture(scope="module")
def trained(film_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: ``sft``, and on it the reward model ``rm``; beside it the base model ``base``."""
    root = tmp_path_factory.mktemp("trained")
    shutil.copytree(film_llama, root / "base")
    config = make_config(root / "base", sft={"lr": 1e-2, "epochs": 5, "batch": 8})
    sft, folder = open_folder(root / "runs" / "sft"), open_folder(root / "runs" / "rm")
    train_sft(sft, config, [sample.example for sample in SAMPLES], None)
    folder.finish(train_reward_model(folder, config, "label", sft.path / "adapter", PAIRS, {}, SAMPLES))
    return root


def check_scores(folder: Path) -> None:
    """Load everything again and compare with the scores that training stored."""
    stored = read_json(folder / "sft_scores.json")
    loaded = load_scorers({"label": folder})
    examples = [sample.example for sample in SAMPLES] * 2
    responses = [sample.responses[0] for sample in SAMPLES] + [sample.responses[1] for sample in SAMPLES]
    assert loaded.scorers["label"](examples, responses) == pytest.approx(stored["scores"], abs=1e-4)
    assert loaded.sft_scores["label"] == stored["scores"]


def test_stored_model_scores_as_the_trained_one_from_a_fresh_trunk(trained: Path) -> None:
    """Reward model on a merged SFT adapter."""
    check_scores(trained / "runs" / "rm")
    result, config = read_json(trained / "runs" / "rm" / "result.json"), make_config(trained / "base")
    assert result["trunk"] == load_trunk(config.model, trained / "runs" / "sft" / "adapter").sha256()
    assert result["trunk"] != load_trunk(config.model).sha256()


def test_trl_gets_its_scores_capped_at_a_stored_quantile(trained: Path) -> None:
    """The first responses hold the label, the second another: stored scores tell what each gets, the middle the cap."""
    stored = read_json(trained / "runs" / "rm" / "sft_scores.json")["scores"]
    folder = str(trained / "runs" / "rm")
    function = rewardlab.as_trl_reward("min(label, lam)", "mr", rm={"label": folder}, lam="q50")
    rows = [{"prompt": "p", "label": None, **sample.example.fields} for sample in SAMPLES] * 2
    responses = [sample.responses[number] for number in (0, 1) for sample in SAMPLES]
    _, table = calculated_rewards("grpo", [function], rows, responses)
    low, high = sorted(stored)[len(stored) // 2 - 1 : len(stored) // 2 + 1]
    cap = (low + high) / 2
    assert [row[0] for row in table] == pytest.approx([min(score, cap) for score in stored], abs=1e-4)
    assert min(stored) < cap < max(stored)


def test_a_folder_of_runs_can_be_moved(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "elsewhere")
    shutil.move(trained / "runs", trained / "gone")
    try:
        check_scores(tmp_path / "elsewhere" / "rm")
        shutil.rmtree(tmp_path / "elsewhere" / "sft")
        with pytest.raises(ModelError, match=r"rm: its SFT adapter is not at .*sft/adapter; move the folders of a run"):
            load_scorers({"label": tmp_path / "elsewhere" / "rm"})
    finally:
        shutil.move(trained / "gone", trained / "runs")


def test_a_trunk_that_changed_since_is_refused(trained: Path, film_llama: Path, tmp_path: Path) -> None:
    """Other base weights under the same name score something else without a word."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    result = read_json(tmp_path / "runs" / "rm" / "result.json")
    other = tiny_llama(tmp_path / "other", tiny_tokenizer(TEXTS), seed=1)
    write_json(tmp_path / "runs" / "rm" / "result.json", result | {"model": result["model"] | {"name": str(other)}})
    with pytest.raises(ModelError, match=rf"rm: the reward model was trained on trunk {result['trunk']}, found "):
        load_scorers({"label": tmp_path / "runs" / "rm"})


def test_a_trunk_of_the_same_files_may_be_rounded_differently(trained: Path, tmp_path: Path) -> None:
    """Another processor may merge an adapter into other last bits; the files decide then."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    result = read_json(tmp_path / "runs" / "rm" / "result.json")
    write_json(tmp_path / "runs" / "rm" / "result.json", result | {"trunk": "0" * 16})
    check_scores(tmp_path / "runs" / "rm")


def test_a_stored_adapter_that_scores_otherwise_is_refused(film_llama: Path, tmp_path: Path) -> None:
    trunk = trunk_with_role(film_llama)
    trunk.roles.save("rm", tmp_path / "adapter")
    encoded = PairEncoder(trunk.codec, make_config(film_llama).model)(PAIRS[:2]).pairs
    check_stored(trunk, PairModel(trunk, "rm"), encoded, tmp_path / "adapter")
    other = trunk_with_role(film_llama)
    other.roles["rm"].head.out.weight.data.mul_(2)
    with pytest.raises(TrainingError, match="off the trained one"):
        check_stored(other, PairModel(other, "rm"), encoded, tmp_path / "adapter")


def test_same_seed_gives_the_same_scores(film_llama: Path, tmp_path: Path) -> None:
    config = make_config(film_llama, rm={"lr": 1e-2, "epochs": 1, "batch": 8, "max_pairs": 24, "sft_samples": 16})
    stored = []
    for name in ("first", "second"):
        folder = open_folder(tmp_path / name)
        result = train_reward_model(folder, config, "label", None, PAIRS, {}, SAMPLES)
        assert result["pairs"] == 24
        stored.append(read_json(folder.path / "sft_scores.json"))
    assert stored[0] == stored[1]


def test_every_kind_takes_as_many_steps_whatever_it_has(film_llama: Path, tmp_path: Path) -> None:
    """24 pairs an epoch in batches of 8, two epochs: six steps, with 32 pairs as with 10."""
    section = {"lr": 1e-2, "epochs": 2, "batch": 8, "max_pairs": 24, "sft_samples": 16}
    found = []
    for kind, pairs in (("label", PAIRS[:10]), ("ranked", PAIRS)):
        folder = open_folder(tmp_path / kind)
        found.append(train_reward_model(folder, make_config(film_llama, rm=section), kind, None, pairs, {}, SAMPLES))  # type: ignore[arg-type]
    assert [result["steps"] for result in found] == [6, 6]
    assert [result["pairs"] for result in found] == [10, 24]
    assert [result["pairs_in_epoch"] for result in found] == [24, 24]


def test_budgets_are_equal_by_default_and_published_ones_are_a_preset() -> None:
    equal = RMConfig(lr=1e-3, epochs=2, max_pairs=2000)
    assert equal.for_kind("label", 500) == equal.for_kind("ranked", 500) == equal.model_copy(update={"max_pairs": 500})
    assert equal.for_kind("label", 5000).max_pairs == 2000
    assert RMConfig().for_kind("ranked", 500).max_pairs == 500
    published = RMConfig(preset="rllr")
    # RLLR table 3
    label, ranked = (published.for_kind(kind, 500) for kind in ("label", "ranked"))
    assert (label.epochs, ranked.epochs, ranked.lr) == (1, 10, 2e-4)
    assert 1e-4 <= label.lr <= 1e-3
    assert label.max_pairs is ranked.max_pairs is None


def test_one_batch_of_sixteen_equals_four_micro_batches(film_llama: Path, tmp_path: Path) -> None:
    losses = []
    for micro in (16, 4):
        folder = open_folder(tmp_path / str(micro))
        section = {"lr": 1e-2, "epochs": 2, "batch": 16, "micro_batch": micro, "sft_samples": 16}
        train_reward_model(folder, make_config(film_llama, rm=section), "label", None, PAIRS, {}, SAMPLES)
        losses.append([row["rm/loss"] for row in read_jsonl(folder.path / "metrics.jsonl")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_adapter_and_head_move_by_their_rate(film_llama: Path, tmp_path: Path) -> None:
    """Both start at 0; an update moves a weight by its rate at most, or a little more (pitfall 27 of docs/ppo.md)."""
    folder = open_folder(tmp_path / "run")
    section = {"lr": 1e-4, "epochs": 5, "batch": 16, "sft_samples": 16}
    train_reward_model(folder, make_config(film_llama, rm=section), "label", None, PAIRS, {}, SAMPLES)
    rates = sum(row["rm/lr"] for row in read_jsonl(folder.path / "metrics.jsonl"))
    adapter = load_file(folder.path / "adapter" / "adapter_model.safetensors")
    largest = max(float(tensor.abs().max()) for name, tensor in adapter.items() if "lora_B" in name)
    head = float(load_file(folder.path / "adapter" / "head.safetensors")["weight"].abs().max())
    assert 0.1 * rates < largest < 10 * rates
    assert 0.1 * rates < head < 10 * rates


def test_a_bfloat16_trunk_has_float32_adapters(film_llama: Path, tmp_path: Path) -> None:
    config = make_config(film_llama)
    config = config.model_copy(update={"model": config.model.model_copy(update={"dtype": "bfloat16"})})
    folder = open_folder(tmp_path / "run")
    result = train_reward_model(folder, config, "label", None, PAIRS, {"held_out_label": HELD_OUT}, SAMPLES)
    assert result["accuracy"]["held_out_label"]["mr"]["value"] > 0.9
    state = load_file(folder.path / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_no_samples_and_no_pairs_are_errors(film_llama: Path, tmp_path: Path) -> None:
    trunk = trunk_with_role(film_llama)
    with pytest.raises(DataError, match="no SFT samples"):
        store_sft_scores(tmp_path, trunk, "rm", [], limit=4)
    with pytest.raises(DataError, match="no label pair is left to train on: there are none"):
        train_reward_model(open_folder(tmp_path / "run"), make_config(film_llama), "label", None, [], {}, SAMPLES)


def test_a_role_without_head_is_no_reward_model(film_llama: Path) -> None:
    config = make_config(film_llama)
    trunk = load_trunk(config.model)
    trunk.roles.add("plain", config.lora)
    with pytest.raises(TrainingError, match="no scalar head"):
        PairModel(trunk, "plain")


def test_encoded_rows_reach_trl_unchanged() -> None:
    item = EncodedPair(PAIRS[0], [1, 2, 9], [1, 3, 4, 9])
    assert _columns(item) == {"chosen_ids": [1, 2, 9], "rejected_ids": [1, 3, 4, 9]}


def test_recomputed_activations_and_another_micro_batch_change_no_number(
    film_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the scores' mean nothing is said: their loss does not see a constant, and AdamW enlarges its rounding."""
    seen: list[Longest] = []

    def room(kind: str, config: RunConfig, trunk: object, longest: Longest) -> int:
        seen.append(longest)
        return 2

    runs, metrics = layer_runs(monkeypatch), []
    counts = [0]
    for changes in ({}, {"gradient_checkpointing": True}, {"micro_batch": 0}):
        if "micro_batch" in changes:
            monkeypatch.setattr("rewardlab.training.reward_model.training_batch", room)
        config = make_config(film_llama)
        config = config.model_copy(update={"rm": config.rm.model_copy(update=changes)})
        folder = open_folder(tmp_path / str(len(metrics)))
        train_reward_model(folder, config, "label", None, PAIRS, {}, SAMPLES)
        rows = list(read_jsonl(folder.path / "metrics.jsonl"))[:4]
        metrics.append([{key: value for key, value in row.items() if key != "rm/score"} for row in rows])
        counts.append(runs[0])
    for changed in metrics[1:]:
        assert changed == [pytest.approx(row, rel=1e-3, abs=1e-4) for row in metrics[0]]
    assert counts[2] - counts[1] == 2 * counts[1] > 0
    codec = load_trunk(config.model).codec
    pairs = PairEncoder(codec, config.model)(PAIRS).pairs
    assert seen == [Longest(max(max(len(pair.chosen), len(pair.rejected)) for pair in pairs), 0)]
