"""Tasks of GLUE that RLLR does not have: cola, qnli, rte, wnli.

CoLA's judgement prompt is PPO-NLU's own example (section 4.1), the only one it prints; the others have that shape and
are written here. GLUE's AX hides its labels: its sentences are ``axb`` of SuperGLUE, with two labels for three.
"""

from __future__ import annotations

from rewardlab.tasks.rllr import PAIR
from rewardlab.tasks.task import HubSource, Task, declare
from rewardlab.tasks.templates import in_every_format, judgement_template, one_of, templates
from rewardlab.types import AnswerFormat

ENTAILMENT = ("entailment", "not_entailment")
ENTAILMENT_WORDS = in_every_format({"entailment": "entailment", "not_entailment": "not entailment"})
ENTAILMENT_ALIASES = in_every_format(
    {
        "entailment": ("entails", "entailed"),
        "not_entailment": (
            "no entailment",
            "non-entailment",
            "not entailed",
            "not an entailment",
            "does not entail",
            "doesn't entail",
        ),
    }
)

_GLUE = "nyu-mll/glue"
_SPLITS = {"train": "train", "validation": "validation"}

COLA = declare(
    Task(
        name="cola",
        question="Is a sentence linguistically acceptable?",
        fields=("text",),
        labels=("unacceptable", "acceptable"),
        words={"judgement": {"unacceptable": "No", "acceptable": "Yes"}},
        aliases=in_every_format(
            {
                "unacceptable": (
                    "not acceptable",
                    "isn't acceptable",
                    "not linguistically acceptable",
                    "non-acceptable",
                )
            }
        ),
        metrics=("matthews", "accuracy"),
        templates=templates(
            'Is the sentence "{text}" linguistically acceptable or unacceptable?',
            judgement_template(
                "You are an assistant to analyze the linguistic properties of a sentence. The task is to decide the "
                "linguistic acceptability of a sentence. If the sentence is linguistically correct then it is "
                "acceptable, else it is not.",
                one_of(("Yes", "No")),
                'Now judge if the sentence "{text}" is linguistically acceptable.',
            ),
        ),
        test_splits={"cola": "validation"},
        hub=HubSource(
            _GLUE,
            "cola",
            splits=_SPLITS,
            fields={"text": "sentence"},
            labels={"0": "unacceptable", "1": "acceptable"},
        ),
    ),
)

QNLI = declare(
    Task(
        name="qnli",
        question="Does a sentence hold the answer to a question?",
        fields=PAIR,
        labels=ENTAILMENT,
        words=ENTAILMENT_WORDS,
        aliases=ENTAILMENT_ALIASES,
        templates=templates(
            "Given a question and a sentence, predict whether the sentence holds the answer to the question. Choose "
            "one of the following labels: entailment (it does), not entailment (it does not). Question: {sentence1} "
            "Sentence: {sentence2}",
            judgement_template(
                "You are an assistant to find answers in a text. The task is to decide whether a sentence holds the "
                "answer to a question. If the question can be answered from the sentence alone, the relation is "
                "entailment, else it is not entailment.",
                one_of(("entailment", "not entailment")),
                'Now judge the relation of the sentence "{sentence2}" to the question "{sentence1}".',
            ),
        ),
        hub=HubSource(
            _GLUE,
            "qnli",
            splits=_SPLITS,
            fields={"sentence1": "question", "sentence2": "sentence"},
            labels={"0": "entailment", "1": "not_entailment"},
        ),
    ),
)


def two_way_templates() -> dict[AnswerFormat, str]:
    """Prompts that ask whether a premise entails a hypothesis: RTE's, and those of the sets it is tested on."""
    return templates(
        "Given a premise and a hypothesis, predict whether the premise entails the hypothesis. Choose one of the "
        "following labels: entailment, not entailment. Premise: {sentence1} Hypothesis: {sentence2}",
        judgement_template(
            "You are an assistant to analyze how two sentences relate. The task is to decide whether a hypothesis "
            "follows from a premise. If a reader of the premise would say that the hypothesis is most likely true, the "
            "relation is entailment, else it is not entailment.",
            one_of(("entailment", "not entailment")),
            'Now judge the relation of the premise "{sentence1}" to the hypothesis "{sentence2}".',
        ),
    )


RTE = declare(
    Task(
        name="rte",
        question="Does a premise entail a hypothesis?",
        fields=PAIR,
        labels=ENTAILMENT,
        words=ENTAILMENT_WORDS,
        aliases=ENTAILMENT_ALIASES,
        templates=two_way_templates(),
        hub=HubSource(_GLUE, "rte", splits=_SPLITS, labels={"0": "entailment", "1": "not_entailment"}),
    ),
)

WNLI = declare(
    Task(
        name="wnli",
        question="Does a sentence with its pronoun replaced follow from the sentence?",
        fields=PAIR,
        labels=ENTAILMENT,
        words=ENTAILMENT_WORDS,
        aliases=ENTAILMENT_ALIASES,
        templates=templates(
            "The second sentence puts a name or a noun in the place of a pronoun of the first. Predict whether it "
            "follows. Choose one of the following labels: entailment, not entailment. Sentence 1: {sentence1} "
            "Sentence 2: {sentence2}",
            judgement_template(
                "You are an assistant to find out what pronouns stand for. The task is to decide whether a sentence "
                "follows from a text, of which it repeats a part with a pronoun replaced. If the pronoun stands for "
                "what replaced it, the relation is entailment, else it is not entailment.",
                one_of(("entailment", "not entailment")),
                'Now judge the relation of the text "{sentence1}" to the sentence "{sentence2}".',
            ),
        ),
        hub=HubSource(_GLUE, "wnli", splits=_SPLITS, labels={"0": "not_entailment", "1": "entailment"}),
    ),
)
