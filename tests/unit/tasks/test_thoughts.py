"""Thoughts in front of an answer, in the forms in which models publish them: cut in every place that reads one."""

from __future__ import annotations

import pytest

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.completion import as_annotation
from rewardlab.annotate.filter import checked
from rewardlab.annotate.pairwise import parse_verdict
from rewardlab.annotate.ranking import parse_ranking
from rewardlab.tasks import tasks
from rewardlab.tasks.thoughts import spoken, without_thoughts
from rewardlab.types import Example

FORMS = {
    "think": "<think>{t}</think>{a}",
    "spaces and case": "< Think >{t}</ THINK >\n\n{a}",
    "attributes": '<thinking time="3">{t}</thinking>{a}',
    "the template opened it": "{t}</think>\n\n{a}",
    "twice": "<think>{t}</think><think>{t}</think>{a}",
    "nested": "<thinking>{t}<reflection>{t}</reflection>{t}</thinking>{a}",
    "empty": "<think></think>{a}",
    "a quotation at the end": '<think>it says "{t}"</think>"{a}"',
    "reasoning": "<reasoning>{t}</reasoning>{a}",
    "thought": "<thought>{t}</thought>{a}",
    "scratchpad": "<scratchpad>{t}</scratchpad>{a}",
    "inner monologue": "<inner_monologue>{t}</inner_monologue>{a}",
    "a prefix": "<seed:think>{t}</seed:think>{a}",
    "escaped": "&lt;think&gt;{t}&lt;/think&gt;{a}",
    "full width": "＜think＞{t}＜/think＞{a}",
    "magistral": "[THINK]{t}[/THINK]{a}",
    "kimi": "◁think▷{t}◁/think▷{a}",
    "openthinker": "<|begin_of_thought|>{t}<|end_of_thought|>\n<|begin_of_solution|>{a}<|end_of_solution|>",
    "command": "<|START_THINKING|>{t}<|END_THINKING|><|START_RESPONSE|>{a}<|END_RESPONSE|>",
    "gpt-oss": "<|channel|>analysis<|message|>{t}<|end|><|start|>assistant<|channel|>final<|message|>{a}<|return|>",
    "gpt-oss, two channels": "<|channel|>analysis<|message|>{t}<|end|><|start|>assistant<|channel|>commentary"
    "<|message|>{t}<|end|><|start|>assistant<|channel|>final<|message|>{a}",
    "gpt-oss without special tokens": "analysisWe see {t}assistantfinal{a}",
    "gemma": "<|channel>thought\n{t}<channel|>{a}",
    "medgemma": "<unused94>thought\n{t}<unused95>{a}",
    "s1": "<|im_start|>think\n{t}\n<|im_start|>answer\n{a}",
    "granite": "Here is my thought process: {t} Here is my response: {a}",
    "huatuo": "## Thinking\n\n{t}\n\n## Final Response\n\n{a}",
    "a front end": '<details type="reasoning" done="true"><summary>4 s</summary>{t}</details>{a}',
    "fenced": "```thinking\n{t}\n```\n{a}",
    "longcat": "<longcat_think>{t}</longcat_think>{a}",
    "a name behind": "<think_fast>{t}</think_fast>{a}",
    "anthropic": "<antThinking>{t}</antThinking>{a}",
    "apriel": "Here are my reasoning steps:\n{t}\n[BEGIN FINAL RESPONSE]\n{a}\n[END FINAL RESPONSE]",
    "ollama": "Thinking...\n{t}\n...done thinking.\n\n{a}",
    "chinese": "<思考>{t}</思考>{a}",
}
CUT_SHORT = ["<think>{t}", "<|channel|>analysis<|message|>{t}", "analysisWe see {t}", "[THINK]{t}", "<reasoning>\n{t}"]
GOOD = (
    "The reviewer calls the film warm and funny and adds that it never drags, which are all words of praise, so the "
    "sentiment is positive."
)


def made(form: str, answer: str, thought: str) -> str:
    return form.replace("{t}", thought).replace("{a}", answer)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
class TestEveryForm:
    def test_only_the_answer_is_spoken(self, form: str) -> None:
        assert spoken(made(form, "positive", "negative?")).strip('"') == "positive"

    def test_every_format_reads_what_stands_behind(self, form: str) -> None:
        task = tasks.get("mr")
        assert task.parse(made(form, "positive", "negative at first"), "label").value == "positive"
        assert task.parse(made(form, "positive </Judgement>", "negative </Judgement>"), "judgement").value == "positive"
        answer = task.parse(
            made(form, "It shines.\n\n The answer is: positive", "The answer is: negative"), "rationale"
        )
        assert (answer.value, answer.rationale.strip('"')) == ("positive", "It shines.")

    def test_annotators_rankings_verdicts_and_the_filter(self, form: str) -> None:
        raw = {"key": "k", "annotator": "a", "model": "m", "finish": "stop"}
        assert as_annotation({**raw, "text": made(form, GOOD, "It is negative.")}).text.strip('"') == GOOD
        assert parse_ranking(made(form, "Ranking: 2>1", "Ranking: 1>2"), 2).places == (2, 1)
        assert parse_ranking(made(form, "2>1", "1>2").replace('"', ""), 2).places == (2, 1)
        assert parse_verdict(made(form, "Answer 2 is better", "Answer 1 is better")) == "second"
        asked = [(Example("mr", "1", {}, "positive"), "positive")]
        kept = checked([Annotation("k", made(form, GOOD, "I cannot argue."), "answered", "a", "m")], asked, 0.5)[0]
        assert (kept.outcome, kept.text.strip('"')) == ("answered", GOOD)


@pytest.mark.parametrize("form", CUT_SHORT)
def test_thoughts_that_never_end_leave_no_answer(form: str) -> None:
    text = made(form, "", "it is positive, so positive")
    assert spoken(text) == ""
    assert all(tasks.get("mr").parse(text, format).is_malformed for format in ("label", "judgement", "rationale"))


@pytest.mark.parametrize(
    "text",
    [
        "positive",
        "\n\n The answer is: positive",
        "I think it is positive",
        "The tag `<think>` stands in the text, so it is positive.",
        'A film about "<think>" boxes.',
        "analysis of the text: positive",
        "Analysis: positive",
        "<b>positive</b>",
        "a < b, and I think b > a",
        "[reasoning] positive",
        "<analysis_result>positive</analysis_result>",
        "```\npositive\n```",
        "## Thinking\n\nIt is positive.",
    ],
)
def test_texts_without_thoughts_stay_as_they_are(text: str) -> None:
    assert without_thoughts(text) == text


def test_thoughts_behind_the_answer_are_cut_too() -> None:
    assert spoken("positive <think>or negative?") == "positive"
    assert spoken("positive <think>or negative?</think>") == "positive"


def test_an_answer_tag_ends_thoughts_that_were_not_closed() -> None:
    answer = tasks.get("mr").parse("<reasoning>negative at first <answer>positive</answer>", "rationale")
    assert answer.value == "positive"


def test_the_strict_reading_looks_behind_the_thoughts() -> None:
    assert tasks.get("mr").parse("<think>Hm.</think>\n\npositive", "label").strict == "positive"
    assert tasks.get("mr").parse("<think>Hm.</think>\n\nPositive", "label").strict is None
