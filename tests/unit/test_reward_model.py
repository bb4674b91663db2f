"""Bradley-Terry reward models on a tiny random model: learning, the scored position, parity with the role path."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rewardlab.config import RMConfig, RunConfig
from rewardlab.errors import DataError, ModelError, TrainingError
from rewardlab.models import Trunk, load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.models.scoring import load_scorers, score_rows
from rewardlab.runs import RunFolder, read_json, read_jsonl, write_json
from rewardlab.tasks.task import prompt_of
from rewardlab.training.reward_model import PairModel, _columns, _log_fit, check_stored, train_reward_model
from rewardlab.training.rm_evaluation import (
    EncodedPair,
    PairEncoder,
    SampledAnswer,
    evaluate,
    pair_accuracy,
    policy_pairs,
    score_quantiles,
    store_sft_scores,
)
from rewardlab.training.sft import train_sft
from rewardlab.types import Example, Pair
from tests.support.models import tiny_gpt2, tiny_llama, tiny_tokenizer

MARK = "\n\n The answer is: "
PRAISE, BLAME = ("good", "fine", "great"), ("bad", "dull", "poor")


def make_pair(number: int, *, flipped: bool = False) -> Pair:
    """The praising response is preferred to the blaming one, whatever the prompt."""
    example = Example("mr", f"row-{number}", {"text": f"the film {number}"}, "positive")
    chosen = f"it is {PRAISE[number % 3]}" + " and so" * (number % 2) + MARK + "positive"
    rejected = f"it is {BLAME[number % 3]}" + MARK + "negative"
    pair = Pair(
        task="mr",
        id=example.id,
        kind="label",
        format="rationale",
        prompt=prompt_of(example),
        chosen=chosen,
        rejected=rejected,
        chosen_label="positive",
        rejected_label="negative",
        gold_label="positive",
        annotator="test",
        model="test",
    )
    return replace(pair, chosen=rejected, rejected=chosen) if flipped else pair


PAIRS = [make_pair(number) for number in range(32)]
HELD_OUT = [make_pair(number) for number in range(100, 120)]
SAMPLES = [
    SampledAnswer(
        Example("mr", f"sampled-{number}", {"text": f"the film {number}"}, "positive"),
        (f"it is good{MARK}positive", f"it is bad{MARK}negative", f"it is fine{MARK}positive"),
    )
    for number in range(8)
]
TEXTS = [f"{pair.prompt} {pair.chosen} {pair.rejected}" for pair in PAIRS]


def make_config(model: Path, **sections: object) -> RunConfig:
    base = {
        "model": {"name": str(model), "device": "cpu", "dtype": "float32", "max_prompt_tokens": 64},
        "rm": {"lr": 1e-2, "epochs": 8, "batch": 16, "micro_batch": 16, "sft_samples": 16},
        "lora": {"rank": 4, "alpha": 8},
    }
    return RunConfig.model_validate(base | sections)


def open_folder(path: Path) -> RunFolder:
    folder = RunFolder(path, "rm", {})
    folder.open()
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama", tiny_tokenizer(TEXTS))


def trunk_with_role(model: Path) -> Trunk:
    """A trunk whose role ``rm`` has a random, non-zero adapter and head."""
    config = make_config(model)
    trunk = load_trunk(config.model)
    torch.manual_seed(3)
    trunk.roles.add("rm", config.lora, head=ScalarHead(trunk.width))
    for parameter in trunk.roles.parameters("rm"):
        parameter.data.normal_(std=0.3)
    return trunk


def test_learns_a_separable_preference(llama: Path, tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "run")
    result = train_reward_model(folder, make_config(llama), "label", None, PAIRS, {"held_out_label": HELD_OUT}, SAMPLES)
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


def test_an_untrained_model_is_at_chance(llama: Path) -> None:
    """A new head says 0 everywhere: every pair is a tie, and ties count one half."""
    config = make_config(llama)
    trunk = load_trunk(config.model)
    trunk.roles.add("rm", config.lora, head=ScalarHead(trunk.width))
    measured = evaluate(trunk, "rm", PairEncoder(trunk.codec, config.model), PAIRS, {"held_out_label": HELD_OUT}, [])
    assert measured["held_out_label"]["mr"]["value"] == 0.5
    assert measured["policy_sampled"] == {}


def test_flipped_pairs_teach_the_opposite(llama: Path, tmp_path: Path) -> None:
    flipped = [make_pair(number, flipped=True) for number in range(32)]
    result = train_reward_model(
        open_folder(tmp_path / "run"),
        make_config(llama),
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
def trained(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: ``sft``, and on it the reward model ``rm``; beside it the base model ``base``."""
    root = tmp_path_factory.mktemp("trained")
    shutil.copytree(llama, root / "base")
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


def test_a_trunk_that_changed_since_is_refused(trained: Path, llama: Path, tmp_path: Path) -> None:
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


def test_a_stored_adapter_that_scores_otherwise_is_refused(llama: Path, tmp_path: Path) -> None:
    trunk = trunk_with_role(llama)
    trunk.roles.save("rm", tmp_path / "adapter")
    encoded = PairEncoder(trunk.codec, make_config(llama).model)(PAIRS[:2]).pairs
    check_stored(trunk, PairModel(trunk, "rm"), encoded, tmp_path / "adapter")
    other = trunk_with_role(llama)
    other.roles["rm"].head.out.weight.data.mul_(2)
    with pytest.raises(TrainingError, match="off the trained one"):
        check_stored(other, PairModel(other, "rm"), encoded, tmp_path / "adapter")


def test_same_seed_gives_the_same_scores(llama: Path, tmp_path: Path) -> None:
    config = make_config(llama, rm={"lr": 1e-2, "epochs": 1, "batch": 8, "max_pairs": 24, "sft_samples": 16})
    stored = []
    for name in ("first", "second"):
        folder = open_folder(tmp_path / name)
        result = train_reward_model(folder, config, "label", None, PAIRS, {}, SAMPLES)
        assert result["pairs"] == 24
        stored.append(read_json(folder.path / "sft_scores.json"))
    assert stored[0] == stored[1]


def test_every_kind_takes_as_many_steps_whatever_it_has(llama: Path, tmp_path: Path) -> None:
    """24 pairs an epoch in batches of 8, two epochs: six steps, with 32 pairs as with 10."""
    section = {"lr": 1e-2, "epochs": 2, "batch": 8, "max_pairs": 24, "sft_samples": 16}
    found = []
    for kind, pairs in (("label", PAIRS[:10]), ("ranked", PAIRS)):
        folder = open_folder(tmp_path / kind)
        found.append(train_reward_model(folder, make_config(llama, rm=section), kind, None, pairs, {}, SAMPLES))  # type: ignore[arg-type]
    assert [result["steps"] for result in found] == [6, 6]
    assert [result["pairs"] for result in found] == [10, 24]
    assert [result["pairs_in_epoch"] for result in found] == [24, 24]


def test_budgets_are_equal_by_default_and_published_ones_are_a_preset() -> None:
    equal = RMConfig(lr=1e-3, epochs=2, max_pairs=2000)
    assert equal.for_kind("label", 500) == equal.for_kind("ranked", 500) == equal.model_copy(update={"max_pairs": 500})
    assert equal.for_kind("label", 5000).max_pairs == 2000
    assert RMConfig().for_kind("ranked", 500).max_pairs == 500
    published = RMConfig(preset="rllr", max_pairs=2000)
    # RLLR table 3
    label, ranked = (published.for_kind(kind, 500) for kind in ("label", "ranked"))
    assert (label.epochs, ranked.epochs, ranked.lr) == (1, 10, 2e-4)
    assert 1e-4 <= label.lr <= 1e-3
    assert label.max_pairs is ranked.max_pairs is None


def test_one_batch_of_sixteen_equals_four_micro_batches(llama: Path, tmp_path: Path) -> None:
    losses = []
    for micro in (16, 4):
        folder = open_folder(tmp_path / str(micro))
        section = {"lr": 1e-2, "epochs": 2, "batch": 16, "micro_batch": micro, "sft_samples": 16}
        train_reward_model(folder, make_config(llama, rm=section), "label", None, PAIRS, {}, SAMPLES)
        losses.append([row["rm/loss"] for row in read_jsonl(folder.path / "metrics.jsonl")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_bfloat16_trunk_has_float32_adapters(llama: Path, tmp_path: Path) -> None:
    config = make_config(llama)
    config = config.model_copy(update={"model": config.model.model_copy(update={"dtype": "bfloat16"})})
    folder = open_folder(tmp_path / "run")
    result = train_reward_model(folder, config, "label", None, PAIRS, {"held_out_label": HELD_OUT}, SAMPLES)
    assert result["accuracy"]["held_out_label"]["mr"]["value"] > 0.9
    state = load_file(folder.path / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_pairs_over_the_budgets_are_counted(llama: Path) -> None:
    model = make_config(llama).model
    codec = load_trunk(model).codec
    prompt, chosen = len(codec.text_prompt_ids(PAIRS[0].prompt, "rationale")), len(codec.response_ids(PAIRS[0].chosen))
    fits = PairEncoder(codec, model.model_copy(update={"max_prompt_tokens": prompt}))(PAIRS[:1])
    assert (len(fits.pairs), fits.dropped) == (1, 0)
    short = PairEncoder(codec, model.model_copy(update={"max_prompt_tokens": prompt - 1}))(PAIRS[:1])
    assert (len(short.pairs), short.dropped) == (0, 1)
    # the end token is not part of the budget: an answer cut at its budget gets one when it is scored
    fits = PairEncoder(codec, model.model_copy(update={"max_new_tokens": chosen - 1}))(PAIRS[:1])
    assert (len(fits.pairs), fits.dropped) == (1, 0)
    cut = PairEncoder(codec, model.model_copy(update={"max_new_tokens": chosen - 2}))(PAIRS[:1])
    assert (len(cut.pairs), cut.dropped) == (0, 1)


def test_a_long_prompt_has_its_text_cut_as_ppo_cuts_it(llama: Path, tmp_path: Path) -> None:
    """The reward model of PPO reads ``codec.prompt_ids``; a pair of that row is trained on the same tokens."""
    config = make_config(llama)
    codec = load_trunk(config.model).codec
    example = Example("mr", "row-0", {"text": "the film is good and " * 40}, "positive")
    long = replace(PAIRS[0], prompt=prompt_of(example))
    expected = codec.prompt_ids(example)
    assert len(expected) <= 64 < len(codec.text_prompt_ids(long.prompt, "rationale"))
    encoded = PairEncoder(codec, config.model, [example])([long, PAIRS[1]])
    assert (len(encoded.pairs), encoded.dropped, encoded.shortened) == (2, 0, 1)
    assert encoded.pairs[0].chosen == expected + codec.response_ids(long.chosen)
    assert encoded.pairs[0].rejected == expected + codec.response_ids(long.rejected)
    result = train_reward_model(
        open_folder(tmp_path / "run"), config, "label", None, [long, *PAIRS], {}, SAMPLES, examples=[example]
    )
    assert (result["pairs"], result["dropped"], result["shortened"]) == (33, 0, 1)


def test_a_prompt_that_cannot_be_cut_is_dropped_and_counted(llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    example = Example("mr", "row-0", {"text": "the film 0"}, "positive")
    model = make_config(llama).model.model_copy(update={"max_prompt_tokens": 8})
    encoded = PairEncoder(load_trunk(model).codec, model, [example])(PAIRS[:1])
    assert (len(encoded.pairs), encoded.dropped, encoded.shortened) == (0, 1, 0)
    _log_fit("label", encoded)
    assert "label reward model on 0 pairs, 0 with their text cut" in caplog.text
    assert "1 dropped as too long" in caplog.text


def test_policy_pairs_follow_gold() -> None:
    right, wrong, odd = f"x{MARK}positive", f"y{MARK}negative", "no answer here"
    sample = SampledAnswer(Example("mr", "1", {"text": "a"}, "positive"), (wrong, right, odd, right, wrong))
    assert [(pair.chosen, pair.rejected) for pair in policy_pairs([sample])] == [(right, wrong)]
    unlabelled = replace(sample, example=replace(sample.example, label=None))
    assert policy_pairs([unlabelled]) == []


def test_policy_pairs_of_numbers_prefer_the_nearer() -> None:
    """Gold 3.0: 3.5 is 0.5 away, 2.5 also, 1.0 is 2 away. The tie gives no pair."""
    texts = tuple(f"r{MARK}{number}" for number in ("1.0", "3.5", "2.5"))
    fields = {"sentence1": "a", "sentence2": "b"}
    pairs = policy_pairs([SampledAnswer(Example("stsb", "1", fields, 3.0), texts)])
    assert [(pair.chosen_label, pair.rejected_label) for pair in pairs] == [(3.5, 1.0), (2.5, 1.0)]


def test_accuracy_counts_a_tie_as_half() -> None:
    measured = pair_accuracy([(2.0, 1.0), (1.0, 1.0), (0.0, 1.0), (3.0, 1.0)], ["a", "b", "c", "d"])
    # (1 + 0.5 + 0 + 1) / 4
    assert measured["value"] == pytest.approx(0.625)
    assert measured["n"] == 4


def test_sft_scores_take_every_prompt_before_second_answers(llama: Path, tmp_path: Path) -> None:
    trunk = trunk_with_role(llama)
    summary = store_sft_scores(tmp_path, trunk, "rm", SAMPLES, limit=9)
    stored = read_json(tmp_path / "sft_scores.json")
    drawn = [(sample.example, sample.responses[0]) for sample in SAMPLES] + [
        (SAMPLES[0].example, SAMPLES[0].responses[1])
    ]
    rows = [trunk.codec.prompt_ids(example) + trunk.codec.response_ids(text) for example, text in drawn]
    assert stored["scores"] == pytest.approx(score_rows(trunk, "rm", rows), abs=1e-5)
    assert stored["mean"] == summary["mean"] == pytest.approx(sum(stored["scores"]) / 9)
    assert stored["quantiles"]["q50"] == pytest.approx(sorted(stored["scores"])[4])


def test_quantiles_by_hand() -> None:
    # of 0..100, the percent itself; one score is all its quantiles
    assert score_quantiles([float(number) for number in range(101)])["q75"] == pytest.approx(75.0)
    assert score_quantiles([2.5])["q99"] == 2.5


def test_no_samples_and_no_pairs_are_errors(llama: Path, tmp_path: Path) -> None:
    trunk = trunk_with_role(llama)
    with pytest.raises(DataError, match="no SFT samples"):
        store_sft_scores(tmp_path, trunk, "rm", [], limit=4)
    with pytest.raises(DataError, match="no row left"):
        train_reward_model(open_folder(tmp_path / "run"), make_config(llama), "label", None, [], {}, SAMPLES)


def test_a_role_without_head_is_no_reward_model(llama: Path) -> None:
    config = make_config(llama)
    trunk = load_trunk(config.model)
    trunk.roles.add("plain", config.lora)
    with pytest.raises(TrainingError, match="no scalar head"):
        PairModel(trunk, "plain")


def test_encoded_rows_reach_trl_unchanged() -> None:
    item = EncodedPair(PAIRS[0], [1, 2, 9], [1, 3, 4, 9])
    assert _columns(item) == {"chosen_ids": [1, 2, 9], "rejected_ids": [1, 3, 4, 9]}
