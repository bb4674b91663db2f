"""Labels longer than the response budget are named before anything is trained or asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from rewardlab.evaluation.budgets import long_labels
from tests.support.labels import labelled


def letters(text: str) -> list[int]:
    """One token a character, and one for the end."""
    return [*map(ord, text), 0]


def test_labels_that_do_not_fit_are_counted_and_the_longest_is_named() -> None:
    found = long_labels(labelled("no", "perhaps", "certainly"), "label", 7, letters)
    assert found is not None
    # perhaps has 7 letters and certainly 9: 8 and 10 with the end token, more than 7; "no" has 3
    assert (found.too_long, found.of, found.longest, found.tokens) == (2, 3, "certainly", 10)
    assert "2 of 3 labels are longer than the response budget of 7 tokens" in str(found)
    assert "set model.max_new_tokens=10 or more" in str(found)


def test_the_words_of_the_format_count() -> None:
    short = labelled("certainly", "no", words={"judgement": {"certainly": "y", "no": "n"}})
    assert long_labels(short, "judgement", 32, letters) is None
    # "\n\n The answer is: certainly" and the end token: 18 + 9 + 1
    assert "'certainly', needs 28 and the tokens that rationales need" in str(
        long_labels(short, "rationale", 27, letters)
    )
    assert long_labels(short, "rationale", 28, letters) is None


def test_a_label_that_takes_most_of_the_budget_is_worth_a_word() -> None:
    assert long_labels(labelled("abc", "abcd"), "label", 10, letters) is None  # 5 of 10
    assert "takes 5 of the 9 tokens of model.max_new_tokens" in str(
        long_labels(labelled("abc", "abcd"), "label", 9, letters)
    )


def test_numbers_have_the_ends_of_their_scale() -> None:
    assert "'100.0'" not in str(long_labels(labelled(numeric_range=(0, 100)), "label", 4, letters))
    found = long_labels(labelled(numeric_range=(0, 100)), "label", 4, letters)
    assert found is not None
    assert (found.longest, found.tokens) == (100, 6)  # "100.0" and the end


def test_training_says_so_before_it_starts(
    tmp_path: Path, film_llama: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = ["balance_not_updated_after_cheque_or_cash_deposit", "age_limit"]
    Path("t.toml").write_text(
        f'name="intents"\nfields=["text"]\ntemplate="Customer: {{text}}"\nlabels={json.dumps(labels)}\n'
    )
    rows = [{"text": f"please help {n}", "label": labels[n % 2]} for n in range(16)]
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        "sft",
        "--task",
        "t.toml",
        "--model",
        str(film_llama),
        "--format",
        "label",
        "--set",
        "model.max_new_tokens=12",
        "--set",
        "sft.epochs=0.1",
    ]
    assert cli.run(command) == 0
    said = [record.getMessage() for record in caplog.records if "response budget" in record.getMessage()]
    assert len(said) == 1
    assert "1 of 2 labels is longer than the response budget of 12 tokens" in said[0]
