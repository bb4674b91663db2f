"""Answers and preferences on any text and any row: parsers never raise, and read back what they print."""

from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from rewardlab.pairs.layouts import CHOSEN, PROMPTS, RANKED, REJECTED, TWO, understood
from rewardlab.tasks.marks import at_answer
from rewardlab.tasks.thoughts import without_thoughts
from rewardlab.types import ANSWER_FORMATS
from tests.support.labels import labelled

TASKS = [
    labelled(*"ABCDE"),
    labelled("a", "I", "HR", "IT"),
    labelled("正面", "负面", "中性"),
    labelled("ポジティブ", "ネガティブ"),
    labelled("บวก", "ลบ"),
    labelled("सकारात्मक", "नकारात्मक"),
    labelled("négatif", "positif"),
    labelled("-1", "0", "1"),
    labelled("-2", "0", "2", numeric_range=(-2, 2)),
    labelled("A+", "A", "A-", "+", "?"),
    labelled("positive", "positive with reservations"),
    labelled("nein", "ja", "vielleicht nicht"),
]
PIECES = [
    "A",
    "a ",
    "I ",
    "IT",
    "(",
    ")",
    ".",
    ",",
    ":",
    "-",
    "- ",
    "\n",
    " ",
    "**",
    "正面",
    "不是",
    "的",
    "ポジティブ",
    "ではない",
    "บวก",
    "ไม่",
    "सकारात्मक",
    "नहीं",
    "ne\u0301gatif",
    "positif",
    "pas ",
    "-1",
    "2",
    "minus ",
    "A+",
    "+",
    "?",
    "positive",
    " with",
    " reservations",
    "nein",
    "nicht ",
    "vielleicht ",
    "<think>",
    "</think>",
    "◁think▷",
    "[/THINK]",
    "<|channel|>final<|message|>",
    "assistantfinal",
    "The answer is:",
    "\n### Answer\n",
    "<answer>",
    "\\boxed{",
    "答案是：",
    "So, ",
    "\ue000",
    "\ue100",
    "\uf8ff",
    "\ud800",
    "\x00",
    "İ",
    "ß",
    "\u0301",
    "👍",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(st.characters(), max_size=60)
NAMES = [
    *CHOSEN[:4],
    *REJECTED[:4],
    *PROMPTS,
    *RANKED,
    *(name for two in TWO for name in two),
    "labels",
    "choice",
    "winner",
    "preference",
    "ratings",
    "ranks",
    "history",
    "system",
    "summaries",
    "label",
    "better_response_id",
    "preference_strength",
    "winner_model_a",
    "winner_model_b",
    "role",
    "content",
    "from",
    "value",
    "rank",
    "text",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=True)
    | st.sampled_from(
        [
            "",
            "yes",
            "Human: hi",
            "Human: hi\n\nAssistant: yes",
            "user",
            "assistant",
            "[INST] q [/INST] a",
            "model_a",
            '["a"]',
            '[{"role": "user"}]',
            "Is it? Yes",
            "Is it? No",
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)


@given(text=TEXTS)
@settings(max_examples=200)
def test_no_text_makes_a_parser_raise(text: str) -> None:
    for task in TASKS:
        for format in ANSWER_FORMATS:
            answer = task.parse(text, format)
            assert (answer.value is None) == bool(answer.reason)
            assert answer.strict in (None, answer.value)
            assert answer.value is None or answer.value in task.labels
    assert at_answer(text).rationale == at_answer(text).rationale.strip()


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_texts_without_tags_are_spoken_whole(text: str) -> None:
    if not any(sign in text for sign in "<[◁＜`&"):
        assert without_thoughts(text) == text


@given(before=st.sampled_from(["", " ", "**", '"', "(", "> "]), form=st.sampled_from(["NFC", "NFD"]))
def test_every_label_is_read_back(before: str, form: str) -> None:
    after = {'"': '"', "(": ")"}.get(before, before if before == "**" else "")
    for task in TASKS:
        for label in task.labels:
            text = unicodedata.normalize(form, f"{before}{label}{after}")
            assert task.parse(text, "label").value == label, text
            assert task.parse(f"<think>{task.labels[0]}</think>{text}", "label").value == label


GOOD = st.sampled_from(
    [
        "Is it?",
        "Human: hi",
        "Human: hi\n\nAssistant: yes",
        [{"role": "user", "content": "hi"}],
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no"}],
        {"from": "gpt", "value": "yes"},
        [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}],
    ]
)
PAIRED = st.builds(
    lambda names, values, more, prompt: {**more, **dict(zip(names, values, strict=True)), **prompt},
    st.sampled_from([*zip(CHOSEN, REJECTED, strict=True), *TWO, ("answers", "prompt")]),
    st.tuples(GOOD | VALUES, GOOD | VALUES),
    st.dictionaries(st.sampled_from(NAMES), SCALARS | GOOD, max_size=3),
    st.fixed_dictionaries({}, optional={"prompt": GOOD, "system": st.just("Be brief."), "winner": st.just("model_a")}),
)


def test_a_row_is_understood_or_refused() -> None:
    counts = {"understood": 0, "refused": 0}

    @given(row=PAIRED | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))
    @settings(max_examples=600)
    def check(row: dict[str, object]) -> None:
        try:
            found = understood(row)
        except ValueError:
            counts["refused"] += 1
            return
        counts["understood"] += bool(found)
        for each in found:
            assert all(isinstance(text, str) and text.strip() for text in (each.prompt, each.chosen, each.rejected))

    check()
    assert min(counts.values()) > 20, counts  # both sides are reached
