"""SuperGLUE: boolq, cb, copa, multirc, record, wic, wsc, and the test sets axb and axg; rte stands in ``glue.py``.

Prompts are written here in the shape of PPO-NLU section 4.1. Measured is what the benchmark's server reports: of
multirc F1 over all answers (F1a) and the share of questions with every answer right (EM); of record F1 and EM with the
gold answer that fits best; of axg the share of pairs with equal answers (gender parity) and accuracy. Test labels are
hidden on the hub: validation is the test there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b

from rewardlab.tasks.glue import ENTAILMENT, ENTAILMENT_ALIASES, ENTAILMENT_WORDS, two_way_templates
from rewardlab.tasks.rllr import MNLI, PAIR, RELATIONS, YES_NO, YES_NO_WORDS
from rewardlab.tasks.task import HubSource, Task, declare
from rewardlab.tasks.templates import in_every_format, judgement_template, one_of, templates

_SUPERGLUE = "aps/super_glue"
_SPLITS = {"train": "train", "validation": "validation"}
_HUB_YES_NO = {"0": "no", "1": "yes"}
_HUB_ENTAILMENT = {"0": "entailment", "1": "not_entailment"}
_PREMISE = {"sentence1": "premise", "sentence2": "hypothesis"}
_GENDERED = re.compile(r"\b(?:he|she|him|her|his|hers|himself|herself)\b", re.IGNORECASE)


def _named(*texts: str) -> str:
    """A short name of what some texts have in common."""
    return blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()


def _question(fields: Mapping[str, str]) -> str:
    """Which question of MultiRC an answer belongs to."""
    return _named(fields["paragraph"], fields["question"])


def _pair(fields: Mapping[str, str]) -> str:
    """Which pair of AX-g a row belongs to: its two rows differ in the gender of a pronoun alone."""
    return _named(*(_GENDERED.sub("_", fields[name]) for name in PAIR))


BOOLQ = declare(
    Task(
        name="boolq",
        question="Is the answer to a question about a passage yes or no?",
        fields=("passage", "question"),
        labels=YES_NO,
        words=YES_NO_WORDS,
        templates=templates(
            "Answer the question about the passage with yes or no. Passage: {passage} Question: {question}?",
            judgement_template(
                "You are an assistant to answer questions about a text. The task is to decide whether the answer to a "
                "question is yes or no. If the passage says or implies that it is so, the answer is yes, else it is "
                "no.",
                one_of(("Yes", "No")),
                'Now judge the question "{question}?" by the passage "{passage}".',
            ),
        ),
        hub=HubSource(_SUPERGLUE, "boolq", splits=_SPLITS, labels=_HUB_YES_NO),
    ),
)

CB = declare(
    Task(
        name="cb",
        question="Is the writer of a text committed to a clause, to its opposite, or to neither?",
        fields=PAIR,
        labels=RELATIONS,
        aliases=MNLI.aliases,
        metrics=("macro_f1", "accuracy"),
        templates=templates(
            "Given a text and a hypothesis, predict the relationship between them. Choose one of the following labels: "
            "contradiction, entailment, neutral. Text: {sentence1} Hypothesis: {sentence2}",
            judgement_template(
                "You are an assistant to analyze what writers and speakers hold to be true. The task is to decide how "
                "a text relates to a hypothesis taken from it. If its author takes the hypothesis to be true, the "
                "relation is entailment; if the author takes it to be false, the relation is contradiction; else it "
                "is neutral.",
                one_of(RELATIONS),
                'Now judge the relation of the text "{sentence1}" to the hypothesis "{sentence2}".',
            ),
        ),
        hub=HubSource(
            _SUPERGLUE,
            "cb",
            splits=_SPLITS,
            fields=_PREMISE,
            labels={"0": "entailment", "1": "contradiction", "2": "neutral"},
        ),
    ),
)

COPA = declare(
    Task(
        name="copa",
        question="Which of two sentences is the cause, or the effect, of a premise?",
        fields=("premise", "choice1", "choice2", "question"),
        labels=("choice1", "choice2"),
        words=in_every_format({"choice1": "choice 1", "choice2": "choice 2"}),
        aliases=in_every_format(
            {
                "choice1": ("1", "first", "the first", "option 1"),
                "choice2": ("2", "second", "the second", "option 2"),
            }
        ),
        refused=("both", "neither", "either"),
        templates=templates(
            "Which of the two choices is the more likely {question} of the premise? Premise: {premise} "
            "Choice 1: {choice1} Choice 2: {choice2}",
            judgement_template(
                "You are an assistant to find causes and effects. The task is to decide which of two choices is the "
                "more likely cause or the more likely effect of a premise, whichever is asked for.",
                one_of(("choice 1", "choice 2")),
                'Now judge which is the more likely {question} of the premise "{premise}": choice 1, "{choice1}", or '
                'choice 2, "{choice2}".',
            ),
        ),
        hub=HubSource(_SUPERGLUE, "copa", splits=_SPLITS, labels={"0": "choice1", "1": "choice2"}),
    ),
)

MULTIRC = declare(
    Task(
        name="multirc",
        question="Is an answer to a question about a paragraph right?",
        fields=("paragraph", "question", "answer"),
        labels=YES_NO,
        words=YES_NO_WORDS,
        metrics=("f1", "exact_match", "accuracy"),
        group=_question,
        templates=templates(
            "Paragraph: {paragraph} Question: {question} Answer: {answer} Is this a correct answer to the question, "
            "yes or no?",
            judgement_template(
                "You are an assistant to check answers to questions about a text. The task is to decide whether an "
                "answer is right by the paragraph it is about. A question may have several right answers. If the "
                "paragraph supports the answer, it is right, else it is not.",
                one_of(("Yes", "No")),
                'Now judge by the paragraph "{paragraph}" if "{answer}" is a right answer to the question '
                '"{question}".',
            ),
        ),
        hub=HubSource(_SUPERGLUE, "multirc", splits=_SPLITS, labels=_HUB_YES_NO),
    ),
)

RECORD = declare(
    Task(
        name="record",
        question="Which entity of a passage belongs in the place of a query's @placeholder?",
        fields=("passage", "query", "entities"),
        candidates="entities",
        metrics=("token_f1", "exact_match"),
        templates=templates(
            "Read the passage, and name the entity that belongs in the place of @placeholder in the query. Choose one "
            "of the entities. Passage: {passage} Query: {query} Entities: {entities}",
            judgement_template(
                "You are an assistant to read the news. The task is to complete a statement about a text: one of the "
                "entities that the text names belongs in the place of @placeholder. The entities are listed, with | "
                "between them.",
                "one of the entities, as it is listed",
                'Now name the entity that belongs in the place of @placeholder in the statement "{query}" about the '
                'text "{passage}". The entities are: {entities}.',
            ),
        ),
        hub=HubSource(_SUPERGLUE, "record", splits=_SPLITS, fields={"label": "answers"}),
    ),
)
"""Gold answers are several spellings of one entity; any one counts, as at the benchmark's server."""

WIC = declare(
    Task(
        name="wic",
        question="Does a word have the same meaning in two sentences?",
        fields=("word", "sentence1", "sentence2"),
        labels=YES_NO,
        words=YES_NO_WORDS,
        templates=templates(
            'Does the word "{word}" have the same meaning in both sentences, yes or no? Sentence 1: {sentence1} '
            "Sentence 2: {sentence2}",
            judgement_template(
                "You are an assistant to tell the meanings of words apart. The task is to decide whether a word is "
                "used in the same sense in two sentences. If one entry of a dictionary fits both, the sense is the "
                "same, else it is not.",
                one_of(("Yes", "No")),
                'Now judge if the word "{word}" has the same sense in "{sentence1}" and "{sentence2}".',
            ),
        ),
        hub=HubSource(_SUPERGLUE, "wic", splits=_SPLITS, labels=_HUB_YES_NO),
    ),
)

WSC = declare(
    Task(
        name="wsc",
        question="Does a pronoun refer to a noun of the same text?",
        fields=("text", "span1_text", "span2_text"),
        labels=YES_NO,
        words=YES_NO_WORDS,
        templates=templates(
            'In the text "{text}", does the pronoun "{span2_text}" refer to "{span1_text}", yes or no?',
            judgement_template(
                "You are an assistant to find out what pronouns stand for. The task is to decide whether a pronoun "
                "refers to a given noun of the same text. If it does, the answer is yes, else it is no.",
                one_of(("Yes", "No")),
                'Now judge if the pronoun "{span2_text}" refers to "{span1_text}" in the text "{text}".',
            ),
        ),
        hub=HubSource(_SUPERGLUE, "wsc", splits=_SPLITS, labels=_HUB_YES_NO),
    ),
)
"""A pronoun that occurs several times is not pointed at: the prompt names it, and leaves the place to the reader."""

AXB = declare(
    Task(
        name="axb",
        question="Does a premise entail a hypothesis (broad-coverage diagnostics)?",
        fields=PAIR,
        labels=ENTAILMENT,
        words=ENTAILMENT_WORDS,
        aliases=ENTAILMENT_ALIASES,
        metrics=("matthews", "accuracy"),
        templates=two_way_templates(),
        hub=HubSource(_SUPERGLUE, "axb", splits={"test": "test"}, labels=_HUB_ENTAILMENT),
        trainable=False,
    ),
)

AXG = declare(
    Task(
        name="axg",
        question="Does a premise with a gendered pronoun entail a hypothesis?",
        fields=PAIR,
        labels=ENTAILMENT,
        words=ENTAILMENT_WORDS,
        aliases=ENTAILMENT_ALIASES,
        metrics=("accuracy", "parity"),
        group=_pair,
        templates=two_way_templates(),
        hub=HubSource(_SUPERGLUE, "axg", splits={"test": "test"}, fields=_PREMISE, labels=_HUB_ENTAILMENT),
        trainable=False,
    ),
)
