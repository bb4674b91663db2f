"""The layouts in which preference sets are published: what is read of a row of each, and what is refused by name."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from rewardlab.disk import write_jsonl
from rewardlab.errors import DataError
from rewardlab.pairs.imported import ImportRequest, read_import
from rewardlab.pairs.layouts import CHOSEN, REJECTED, Understood, understood
from rewardlab.pairs.preferences import Preference, read_preferences
from rewardlab.tasks.turns import Turn, transcript


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def human(text: str) -> dict[str, str]:
    return {"from": "human", "value": text}


def gpt(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


Q = "Is rain wet?"
MAIL = "Name the label of this mail.\n\nwin a prize now"
ONE: dict[str, tuple[dict[str, Any], str]] = {
    "Anthropic HH": (
        {"chosen": f"\n\nHuman: {Q}\n\nAssistant: yes", "rejected": f"\n\nHuman: {Q}\n\nAssistant: yesterday"},
        Q,
    ),
    "HH with the prompt": (
        {"prompt": f"\n\nHuman: {Q}\n\nAssistant:", "response": "x", "chosen": " yes", "rejected": " yesterday"},
        Q,
    ),
    "HH in TRL's style": ({"prompt": Q, "chosen": [user(Q), bot("yes")], "rejected": [user(Q), bot("yesterday")]}, Q),
    "UltraFeedback binarized": (
        {
            "prompt": Q,
            "prompt_id": "a1",
            "chosen": [user(Q + " "), bot("yes")],
            "rejected": [user(Q + " "), bot("yesterday")],
            "messages": [user(Q), bot("yes")],
            "score_chosen": 8.0,
            "score_rejected": 5.0,
        },
        Q + " ",
    ),
    "Orca": ({"system": "Be brief.", "question": Q, "chosen": "yes", "rejected": "yesterday"}, f"Be brief.\n\n{Q}"),
    "Orca without a system": ({"system": "", "question": Q, "chosen": "yes", "rejected": "yesterday"}, Q),
    "distilabel Orca": (
        {
            "system": "Be brief.",
            "input": Q,
            "chosen": "yes",
            "rejected": "yesterday",
            "generations": ["a"],
            "rating": [1],
        },
        f"Be brief.\n\n{Q}",
    ),
    "Argilla's UltraFeedback": (
        {
            "source": "x",
            "instruction": Q,
            "chosen_response": "yes",
            "rejected_response": "yesterday",
            "chosen_avg_rating": 5,
        },
        Q,
    ),
    "Capybara": (
        {
            "source": "a",
            "conversation": [{"input": Q, "output": "x"}],
            "chosen": [user(Q), bot("yes")],
            "rejected": [user(Q), bot("yesterday")],
            "rating_chosen": 5,
        },
        Q,
    ),
    "dpo-mix": ({"dataset": "a", "chosen": [user(Q), bot("yes")], "rejected": [user(Q), bot("yesterday")]}, Q),
    "LLaMA-Factory": (
        {
            "instruction": "Name the label of this mail.",
            "input": "win a prize now",
            "chosen": "yes",
            "rejected": "yesterday",
        },
        MAIL,
    ),
    "LLaMA-Factory with a history": (
        {"instruction": Q, "history": [["hi", "hello"]], "chosen": "yes", "rejected": "yesterday"},
        f"User: hi\n\nAssistant: hello\n\nUser: {Q}",
    ),
    "LLaMA-Factory, old": ({"instruction": Q, "input": "", "output": ["yes", "yesterday"]}, Q),
    "ShareGPT": ({"conversations": [human(Q)], "chosen": gpt("yes"), "rejected": gpt("yesterday")}, Q),
    "chat template": ({"messages": [user(Q)], "chosen": bot("yes"), "rejected": bot("yesterday")}, Q),
    "UltraInteract": ({"task": "a", "trajectory": [human(Q)], "chosen": "yes", "rejected": "yesterday"}, Q),
    "OpenAI": (
        {
            "input": {"messages": [user(Q)], "tools": []},
            "preferred_output": [bot("yes")],
            "non_preferred_output": [bot("yesterday")],
        },
        Q,
    ),
    "SHP": (
        {
            "post_id": "a",
            "history": Q,
            "human_ref_A": "yesterday",
            "human_ref_B": "yes",
            "labels": 0,
            "score_A": 9,
            "score_B": 20,
        },
        Q,
    ),
    "PKU-SafeRLHF": (
        {"prompt": Q, "response_0": "yesterday", "response_1": "yes", "better_response_id": 1, "safer_response_id": 0},
        Q,
    ),
    "HelpSteer 2": ({"prompt": Q, "response_1": "yes", "response_2": "yesterday", "preference_strength": -2}, Q),
    "HelpSteer 3": ({"context": [user(Q)], "response1": "yesterday", "response2": "yes", "overall_preference": 3}, Q),
    "AlpacaFarm": ({"instruction": Q, "input": "", "output_1": "yesterday", "output_2": "yes", "preference": 2}, Q),
    "WebGPT": (
        {"question": {"full_text": Q}, "answer_0": "yes", "answer_1": "yesterday", "score_0": 0.5, "score_1": -0.5},
        Q,
    ),
    "Chatbot Arena": (
        {
            "model_a": "a",
            "model_b": "b",
            "winner": "model_b",
            "conversation_a": [user(Q), bot("yesterday")],
            "conversation_b": [user(Q), bot("yes")],
        },
        Q,
    ),
    "Arena's table": (
        {
            "prompt": json.dumps([Q]),
            "response_a": json.dumps(["yes"]),
            "response_b": json.dumps(["yesterday"]),
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
        Q,
    ),
    "summarize_from_feedback": (
        {
            "info": {"id": "a", "title": "Rain", "post": Q},
            "summaries": [{"text": "yesterday"}, {"text": "yes"}],
            "choice": 1,
        },
        f"Rain\n\n{Q}",
    ),
    "LLMBar": ({"input": Q, "output_1": "yesterday", "output_2": "yes", "label": 2}, Q),
    "JudgeBench": ({"question": Q, "response_A": "yesterday", "response_B": "yes", "label": "B>A"}, Q),
    "a verdict by the column": (
        {"prompt": Q, "response_a": "yesterday", "response_b": "yes", "preferred": "response_b"},
        Q,
    ),
    "a verdict by the place": ({"prompt": Q, "response_0": "yesterday", "response_1": "yes", "chosen": 1}, Q),
    "a verdict by the model": (
        {"prompt": Q, "model_a": "m", "model_b": "n", "response_a": "yesterday", "response_b": "yes", "winner": "n"},
        Q,
    ),
    "a label that is no verdict": (
        {"prompt": Q, "answer_0": "yes", "answer_1": "yesterday", "score_0": "0.5", "score_1": "-0.5", "label": "wet"},
        Q,
    ),
    "numbers as text": ({"prompt": Q, "response_0": "yesterday", "response_1": "yes", "better_response_id": "1"}, Q),
    "Step-DPO": (
        {"prompt": Q, "initial_reason_steps": "Step 1: look.", "chosen": "yes", "rejected": "yesterday", "answer": "1"},
        f"{Q}\n\nStep 1: look.",
    ),
    "a context": (
        {"question": Q, "context": "It pours.", "chosen": "yes", "rejected": "yesterday"},
        f"{Q}\n\nIt pours.",
    ),
    "messages as Python prints them": (
        {"prompt": str([user(Q)]), "chosen": str([bot("yes")]), "rejected": str([bot("yesterday")])},
        Q,
    ),
    "StackExchange, paired": ({"qid": 3, "question": Q, "response_j": "yes", "response_k": "yesterday"}, Q),
    "StackExchange": (
        {"question": Q, "answers": [{"text": "yesterday", "pm_score": 1}, {"text": "yes", "pm_score": 4}]},
        Q,
    ),
    "distilabel": ({"instruction": Q, "generations": ["yesterday", "yes"], "ratings": [2, 5]}, Q),
    "UltraFeedback": (
        {
            "instruction": Q,
            "completions": [{"response": "yes", "overall_score": 8}, {"response": "yesterday", "overall_score": 2}],
        },
        Q,
    ),
    "messages as JSON": (
        {
            "prompt": json.dumps([user(Q)]),
            "chosen": json.dumps([bot("yes")]),
            "rejected": json.dumps([bot("yesterday")]),
        },
        Q,
    ),
    "ChatML": (
        {
            "chosen": f"<|im_start|>user\n{Q}<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>",
            "rejected": f"<|im_start|>user\n{Q}<|im_end|>\n<|im_start|>assistant\nyesterday<|im_end|>",
        },
        Q,
    ),
    "Llama 2": ({"chosen": f"<s>[INST] {Q} [/INST] yes</s>", "rejected": f"<s>[INST] {Q} [/INST] yesterday</s>"}, Q),
    "Alpaca": (
        {
            "chosen": f"### Instruction:\n{Q}\n\n### Response:\nyes",
            "rejected": f"### Instruction:\n{Q}\n\n### Response:\nyesterday",
        },
        Q,
    ),
    "a text that repeats the prompt": (
        {"prompt": Q, "chosen": f"{Q} yes", "rejected": f"{Q} yesterday"},
        Q,
    ),
}


@pytest.mark.parametrize(("row", "prompt"), ONE.values(), ids=ONE)
def test_published_layouts(row: dict[str, Any], prompt: str) -> None:
    [found] = understood(row)
    assert (found.prompt, found.chosen.strip(), found.rejected.strip()) == (prompt, "yes", "yesterday")


def test_lists_of_better_and_of_worse_responses_give_every_two() -> None:
    found = understood({"prompt": Q, "chosen": ["a", "b"], "rejected": ["c", "d"], "num_correct": 2})
    assert found == [Understood(Q, better, worse) for better in "ab" for worse in "cd"]
    assert understood({"prompt": Q, "chosen": "a", "rejected": ["c"]}) == [Understood(Q, "a", "c")]


@pytest.mark.parametrize("winner", ["tie", "tie (bothbad)", "both_bad", "Draw"])
def test_words_of_a_tie(winner: str) -> None:
    assert understood({"prompt": Q, "response_a": "a", "response_b": "b", "winner": winner}) == []


def test_preferences_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    row = {"prompt": Q, "chosen": "yes", "rejected": "no"}
    contents = {
        "a.csv": f'prompt,chosen,rejected\n"{Q}",yes,no\n',
        "b.csv": f"prompt;chosen;rejected\n{Q};yes;no\n",
        "c.tsv": f"prompt\tchosen\trejected\n{Q}\tyes\tno\n",
        "d.ndjson": json.dumps(row),
        "e.json": json.dumps({"data": [row]}),
        "g.jsonl": json.dumps([row]),
        "h.CSV": f'"sep=,"\nprompt,chosen,rejected\n"{Q}",yes,no\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        assert read_preferences(tmp_path / name) == [Preference(Q, "yes", "no")], name


def test_arenas_table_of_texts_in_csv(tmp_path: Path) -> None:
    cells = [json.dumps([text]).replace('"', '""') for text in (Q, "yes", "no")]
    row = ",".join(f'"{cell}"' for cell in cells)
    names = "prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie"
    (tmp_path / "train.csv").write_text(f"{names}\n{row},0,1,0\n{row},0,0,1\n")
    assert read_preferences(tmp_path / "train.csv") == [Preference(Q, "no", "yes")]


def test_columns_with_text_that_are_not_read_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = {"prompt": Q, "chosen": "yes", "rejected": "no", "source": "x", "context": "It pours all day."}
    write_jsonl(tmp_path / "rows.jsonl", [row, row])
    with caplog.at_level(logging.WARNING):
        read_preferences(tmp_path / "rows.jsonl")
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'rows.jsonl'}: columns with text that are not read: context"
    ]


def test_a_verdict_is_no_label_of_the_row(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"question": Q, "response_A": "a", "response_B": "b", "label": "A>B"}])
    assert read_preferences(tmp_path / "rows.jsonl") == [Preference(Q, "a", "b", None)]


def test_a_list_gives_every_two_of_different_rank() -> None:
    """Nectar: ranks 1, 2, 2 are two preferences of the first, none between the others."""
    answers = [{"answer": "b", "model": "x", "rank": 2.0}, {"answer": "a", "rank": 1.0}, {"answer": "c", "rank": 2.0}]
    found = understood({"prompt": f"\n\nHuman: {Q}\n\nAssistant: ", "answers": answers, "turns": 1})
    assert found == [Understood(Q, "a", "b"), Understood(Q, "a", "c")]


def test_conversations_of_several_turns_are_cut_in_front_of_the_last_shared_request() -> None:
    turns = [user("one"), bot("two"), user("three")]
    [found] = understood({"chosen": [*turns, bot("yes")], "rejected": [*turns, bot("yesterday")]})
    assert found == Understood("User: one\n\nAssistant: two\n\nUser: three", "yes", "yesterday")
    [early] = understood({"chosen": [user("one"), bot("a"), user("b"), bot("c")], "rejected": [user("one"), bot("d")]})
    assert early == Understood("one", "Assistant: a\n\nUser: b\n\nAssistant: c", "d")
    [begun] = understood({"chosen": [user("one"), bot("a")], "rejected": [user("one"), bot("a"), user("b"), bot("c")]})
    assert begun == Understood("one", "a", "Assistant: a\n\nUser: b\n\nAssistant: c")
    [tulu] = understood({"prompt": "one", "chosen": [*turns, bot("yes")], "rejected": [*turns, bot("no")]})
    assert tulu.prompt == "User: one\n\nAssistant: two\n\nUser: three"


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("\n\nHuman: hi\n\nAssistant: good day", "\n\nHuman: hi\n\nAssistant: go away", "hi"),
        ("Is rain wet? Yes", "Is rain wet? Yes it is", "Is rain wet?"),
        ("Is it? Yes", "Is it? No", "Is it?"),
        ("The sky is blue.", "The sky is blueish.", "The sky is"),
        ("Pi is 3.14", "Pi is 3.15", "Pi is"),
        ("下雨湿吗？湿", "下雨湿吗？不湿", "下雨湿吗？"),
        ("Post: rain\nTL;DR: wet", "Post: rain\nTL;DR: wetter", "Post: rain\nTL;DR:"),
    ],
)
def test_an_implicit_prompt_ends_at_a_turn_a_sentence_or_a_word(chosen: str, rejected: str, prompt: str) -> None:
    [found] = understood({"chosen": chosen, "rejected": rejected})
    assert found.prompt == prompt
    if not chosen.lstrip().startswith("Human"):
        assert (prompt + found.chosen, prompt + found.rejected) == (chosen, rejected)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "yes", "chosen": "yesterday", "rejected": "yes sir"},
        {"prompt": "It is", "chosen": "It is so", "rejected": "It is not"},
    ],
)
def test_short_prompts_are_not_taken_for_repeated(row: dict[str, str]) -> None:
    assert understood(row) == [Understood(row["prompt"], row["chosen"], row["rejected"])]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": Q, "completion": "yes", "label": True}, r"unpaired feedback \(completion, label\).*two responses"),
        (
            {"prompt": Q, "response": "yes", "helpfulness": 3},
            r"one response \(response\).*found prompt, response, helpf",
        ),
        ({"instruction": Q, "output": "yes"}, r"one response \(output\)"),
        (
            {"prompt": Q, "response_a": "yes", "response_b": "no"},
            "without a column that says which is better, found prompt",
        ),
        (
            {"prompt": Q, "response_0": "a", "response_1": "b", "better_response_id": 2},
            "better_response_id is 2, expected",
        ),
        (
            {"prompt": Q, "response_a": "a", "response_b": "b", "winner": "neither"},
            'winner is "neither", expected model_a',
        ),
        (
            {"prompt": Q, "answers": [{"answer": "a"}, {"answer": "b"}]},
            "a response without rank or score, found answer",
        ),
        ({"prompt": Q, "answers": [{"answer": "a", "rank": None}, {"answer": "b", "rank": 1}]}, "no number: null"),
        ({"fields": {}, "responses": {"verdict": []}}, "chosen and rejected missing or empty, found fields, responses"),
        (
            {"ask": "Which label has this mail?", "chosen": "It is spam", "rejected": "It is ham"},
            "no prompt: found ask; rename the column that holds it to prompt",
        ),
        (
            {"chosen": "[{'role': 'user'}\n {'role': 'assistant'}]", "rejected": "[{'role': 'user'}\n {'role': 'x'}]"},
            "messages as Python prints them",
        ),
        ({"chosen": "spam", "rejected": "ham"}, "do not begin with the same words"),
        ({"chosen": "蓝色天空", "rejected": "蓝色大海"}, "do not begin with the same words"),
        ({"chosen": [user("a"), bot("b")], "rejected": [user("c"), bot("d")]}, "do not begin with the same turn"),
        (
            {"prompt": "Another question", "chosen": [user(Q), bot("yes")], "rejected": [user(Q), bot("no")]},
            "turns in front of the responses are not the prompt",
        ),
        ({"chosen": [user(Q), bot("yes")], "rejected": "no"}, "one response is a text, the other a conversation"),
        ({"chosen": [user(Q), bot("yes")], "rejected": [user(Q)]}, "found .*Is rain wet"),
        ({"prompt": [{"role": "judge", "content": Q}], "chosen": "a", "rejected": "b"}, "no message"),
        ({"instruction": Q, "history": ["hi"], "chosen": "a", "rejected": "b"}, "history is .*expected"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [row])
    with pytest.raises(DataError, match=rf"rows\.jsonl row 1: .*{said}.*; expected prompt, chosen, rejected"):
        read_preferences(tmp_path / "rows.jsonl")


def test_ties_give_no_preference_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"prompt": Q, "response_1": "a", "response_2": "b", "preference_strength": strength} for strength in (0, 1, 0)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with caplog.at_level(logging.WARNING):
        assert read_preferences(tmp_path / "rows.jsonl") == [Preference(Q, "b", "a")]
    assert "2 rows of responses that tie give no preference" in caplog.text


def test_a_row_of_several_preferences_keeps_its_number(tmp_path: Path) -> None:
    answers = [{"answer": text, "rank": rank} for rank, text in enumerate("abc", 1)]
    write_jsonl(tmp_path / "rows.jsonl", [{"prompt": Q, "answers": answers}, {"prompt": Q, "answers": answers[:2]}])
    assert [each.place for each in read_preferences(tmp_path / "rows.jsonl")] == ["row 1"] * 3 + ["row 2"]
    assert read_import(ImportRequest(tmp_path / "rows.jsonl", held_out=0.0)).rows == 4


def test_names_of_better_and_worse_stand_side_by_side() -> None:
    for better, worse in zip(CHOSEN, REJECTED, strict=True):
        assert understood({"prompt": Q, better: "yes", worse: "no"}) == [Understood(Q, "yes", "no")]


def test_transcripts() -> None:
    assert transcript("No mark here. Human: x") is None
    assert transcript("USER: hi ASSISTANT: hello") == [Turn("user", "hi"), Turn("assistant", "hello")]
    assert transcript("System: be kind\n\nUser: hi") == [Turn("system", "be kind"), Turn("user", "hi")]
    llama = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    assert transcript(llama + "<|start_header_id|>assistant<|end_header_id|>\n\n") == [Turn("user", "hi")]
    assert transcript("<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\nhello") == [
        Turn("user", "hi"),
        Turn("assistant", "hello"),
    ]


RATED = {"prompt": Q, "responses": ["yes", "no", "rain"], "ratings": ["5", "2", "3"]}


@pytest.mark.parametrize(
    ("whole", "unrated"),
    [
        (RATED, {"ratings": ["N/A", "n/a ", "4"]}),
        ({"prompt": Q, "completions": [{"response": "yes", "overall_score": 8},
                                       {"response": "no", "overall_score": 3}]},
         {"completions": [{"response": "yes", "overall_score": "N/A"}, {"response": "no", "overall_score": 3}]}),
        ({"prompt": Q, "response_a": "yes", "response_b": "no", "winner": "model_a"}, {"winner": "N/A"}),
        ({"prompt": Q, "response_a": "yes", "response_b": "no", "score_a": 2, "score_b": 1}, {"score_b": "N/A"}),
    ],
    ids=["ratings", "scores of responses", "verdict", "two scores"],
)  # fmt: skip
def test_a_row_without_a_rating_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, whole: dict[str, object], unrated: dict[str, object]
) -> None:
    path = tmp_path / "rated.jsonl"
    write_jsonl(path, [whole, {**whole, **unrated}, {**whole, **unrated}])
    with caplog.at_level(logging.WARNING):
        found = read_preferences(path)
    assert found
    assert {each.place for each in found} == {"row 1"}
    assert "rated.jsonl row 2: " in caplog.text
    assert "for want of a rating: 2" in caplog.text
    write_jsonl(path, [{**whole, **unrated}])
    with pytest.raises(DataError, match="row 1"):
        read_preferences(path)


def test_of_a_list_the_rated_responses_count(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rated.jsonl", [{**RATED, "ratings": ["5", "N/A", "3"]}])
    found = read_preferences(tmp_path / "rated.jsonl")
    assert [(each.chosen, each.rejected) for each in found] == [("yes", "rain")]
    write_jsonl(tmp_path / "rated.jsonl", [{**RATED, "ratings": ["5", "good", "3"]}])
    with pytest.raises(DataError, match='no number: "good"'):
        read_preferences(tmp_path / "rated.jsonl")
