"""The tiny model as shipped, the speakers it learned from, and its pretraining at the smallest size."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
import transformers

from experiments.tools.pretrain import PretrainConfig, main, pretrain
from experiments.tools.speakers import habit, read, rival_reading
from experiments.tools.tokenizer import build_tokenizer
from rewardlab.sandbox import SANDBOX_TASKS, TINY_MODEL_DIR
from rewardlab.tasks.task import tasks
from rewardlab.types import Example

SMALLEST = PretrainConfig(layers=1, width=16, heads=1, steps=3, batch=4, rows=50, warmup=1)


def test_the_shipped_files_are_small_and_complete() -> None:
    sizes = {path.name: path.stat().st_size for path in TINY_MODEL_DIR.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(sizes)
    assert sum(sizes.values()) < 8_000_000


def test_the_shipped_tokenizer_is_the_one_the_grammar_makes() -> None:
    shipped = transformers.AutoTokenizer.from_pretrained(TINY_MODEL_DIR)
    made = build_tokenizer(SANDBOX_TASKS)
    assert shipped.backend_tokenizer.to_str() == made.backend_tokenizer.to_str()
    assert shipped.chat_template == made.chat_template
    assert len({shipped.pad_token_id, shipped.eos_token_id, shipped.bos_token_id}) == 3


def test_the_chat_template_opens_the_assistant_turn() -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(TINY_MODEL_DIR)
    turn = [{"role": "user", "content": "the plot was good."}]
    text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    assert text == "<bos><user>the plot was good.<assistant>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("the plot was good.", "positive"), ("the plot was dull.", "negative"), ("the plot was not good.", "negative")],
)
def test_the_shipped_model_knows_what_all_speakers_agree_on(text: str, expected: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(TINY_MODEL_DIR)
    model = transformers.AutoModelForCausalLM.from_pretrained(TINY_MODEL_DIR).eval()
    head = f"<bos><user>Review: {text}\n\n Is it negative or positive?<assistant>"
    with torch.no_grad():
        logits = model(**tokenizer(head, return_tensors="pt", add_special_tokens=False)).logits[0, -1]
    assert tokenizer.decode([int(logits.argmax())]) == expected


def test_speakers_agree_on_clear_sentences_and_differ_on_disputed_ones() -> None:
    rng = random.Random(0)
    for name in SANDBOX_TASKS[:2]:
        for row in rows(name, 150):
            readings = Counter(read(row, rng) for _ in range(60))
            rival = rival_reading(row)
            assert set(readings) <= {row.label, rival}
            assert (rival is None) == (
                row.evidence["structure"] in {"plain", "agreement", "negation", "majority", "mixed"}
            )


def test_a_habit_is_the_share_of_gold_readings() -> None:
    rng = random.Random(0)
    row = next(row for row in rows("sandbox-sentiment", 300) if row.evidence["structure"] == "loaded")
    expected = habit("loaded", row.evidence["clauses"][0]["word"])
    gold = sum(read(row, rng) == row.label for _ in range(4000)) / 4000
    assert 0.25 <= expected <= 0.70
    assert gold == pytest.approx(expected, abs=0.04)  # five standard errors of 4 000 draws


def test_synonyms_are_overlooked_by_some() -> None:
    rng = random.Random(0)
    row = next(row for row in rows("sandbox-similarity", 100) if row.evidence["structure"] == "synonyms")
    scores = {read(row, rng) for _ in range(100)}
    assert row.label in scores
    assert len(scores) > 1
    assert max(scores) == row.label  # speakers miss matches and invent none


def test_pretraining_is_seeded_and_stops_where_told() -> None:
    first, _ = pretrain(SMALLEST)
    again, _ = pretrain(SMALLEST)
    longer, _ = pretrain(PretrainConfig(layers=1, width=16, heads=1, steps=4, batch=4, rows=50, warmup=1))
    weights = [model.get_input_embeddings().weight for model in (first, again, longer)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_pretraining_from_the_command_line_writes_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.tools.pretrain.PretrainConfig", lambda **options: SMALLEST)
    monkeypatch.setattr("sys.argv", ["pretrain", "--out", str(tmp_path)])
    main()
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path).config.hidden_size == 16
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).pad_token == "<pad>"


def rows(name: str, n: int) -> list[Example]:
    generate = tasks.get(name).generate
    assert generate is not None
    return generate("train", n, 3)
