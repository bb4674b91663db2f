"""The sandbox tasks, declared: three, and forms of the second with uneven labels and with sets of labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from rewardlab.sandbox import sentiment, similarity, topic
from rewardlab.sandbox.grammar import RowWriter, generate_rows
from rewardlab.sandbox.quality import claimed_score, rationale_quality
from rewardlab.sandbox.words import SENTIMENTS, TOPICS
from rewardlab.tasks.task import Generator, Task, tasks
from rewardlab.types import AnswerFormat


def _generator(name: str, write: RowWriter) -> Generator:
    return partial(generate_rows, name, write)


def _templates(background: str, texts: str, question: str) -> dict[AnswerFormat, str]:
    return {
        "label": f"{texts}\n\n {question}",
        "rationale": f"{texts}\n\n {question} Explain.",
        "confident": f"{texts}\n\n {question}",  # the tiny model takes other words a letter at a time
        "judgement": f"{background} Answer between <Judgement> and </Judgement>.\n\n {texts}",
    }


SENTIMENT = Task(
    name="sandbox-sentiment",
    fields=("text",),
    templates=_templates("Judge if a review is negative or positive.", "Review: {text}", "Is it negative or positive?"),
    labels=SENTIMENTS,
    question="Is a generated film review negative or positive?",
    generate=_generator("sandbox-sentiment", sentiment.write_row),
    quality=rationale_quality,
)

TOPIC = Task(
    name="sandbox-topic",
    fields=("text",),
    templates=_templates(
        "Judge if a text is about business, music, science or sports.",
        "News: {text}",
        "Is it about business, music, science or sports?",
    ),
    labels=TOPICS,
    question="Which of four topics is a generated sentence about?",
    generate=_generator("sandbox-topic", topic.write_row),
    quality=rationale_quality,
)

SIMILARITY = Task(
    name="sandbox-similarity",
    fields=("sentence1", "sentence2"),
    templates=_templates(
        "Judge how alike two sentences are, from 0 to 5.",
        "First: {sentence1} Second: {sentence2}",
        "How alike are they, from 0 to 5?",
    ),
    numeric_range=(0.0, 5.0),
    metrics=("pearson", "spearman"),
    question="How alike are two generated sentences, from 0 to 5?",
    generate=_generator("sandbox-similarity", similarity.write_row),
    quality=rationale_quality,
    claim=claimed_score,
)

TOPIC_UNEVEN = replace(
    TOPIC,
    name="sandbox-topic-uneven",
    question="Which of four topics, one of them in 70 % of the rows, is a generated sentence about?",
    generate=_generator("sandbox-topic-uneven", topic.write_uneven_row),
    metrics=("accuracy", "macro_f1", "balanced_accuracy"),
)

TOPICS_SET = replace(
    TOPIC,
    name="sandbox-topics",
    question="Which of four topics, one or two of them, is a generated sentence about?",
    generate=_generator("sandbox-topics", topic.write_set_row),
    metrics=("sample_f1", "micro_f1", "macro_f1", "accuracy"),
    multi_label=True,
    quality=None,  # the measure knows rationales for one label
)

FORMS = (TOPIC_UNEVEN, TOPICS_SET)
"""Other forms of the three."""

for _task in (SENTIMENT, TOPIC, SIMILARITY, *FORMS):
    tasks.add(_task.name, _task)
