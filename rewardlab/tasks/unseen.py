"""Sets that PPO-NLU tests on without training on them (section 5.4), as far as they can be had.

financial_phrasebank and emotion are the paper's. depression stands in for its Mental Health set, another collection of
posts with the same two labels; sick, SICK's three-way entailment, stands in for Babi-nli and SIGA-nli. Labelled
Financial News is on no public source that could be checked. All of them have training rows too, which a zero-shot test
leaves alone: ``rewardlab eval --run RUN --task emotion`` reads the test rows only.
"""

from __future__ import annotations

from rewardlab.tasks.rllr import MNLI, PAIR, RELATIONS
from rewardlab.tasks.task import HubSource, Task, declare
from rewardlab.tasks.templates import in_every_format, judgement_template, one_of, templates

THREE_SENTIMENTS = ("negative", "neutral", "positive")
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")

FINANCIAL_PHRASEBANK = declare(
    Task(
        name="financial_phrasebank",
        question="Is a sentence of financial news negative, neutral or positive for an investor?",
        fields=("text",),
        labels=THREE_SENTIMENTS,
        refused=("mixed",),
        templates=templates(
            "Financial news: {text} What sentiment does the sentence express, negative, neutral or positive?",
            judgement_template(
                "You are an assistant to analyze the sentiment of financial news. The task is to decide whether a "
                "sentence is good or bad news for an investor. If it may raise the price of a share, the sentiment is "
                "positive; if it may lower it, the sentiment is negative; else it is neutral.",
                one_of(THREE_SENTIMENTS),
                'Now judge the sentiment of the sentence "{text}".',
            ),
        ),
        hub=HubSource(
            "atrost/financial_phrasebank",
            splits={"train": "train", "validation": "validation", "test": "test"},
            fields={"text": "sentence"},
            labels={"0": "negative", "1": "neutral", "2": "positive"},
        ),
    ),
)

EMOTION = declare(
    Task(
        name="emotion",
        question="Which of six emotions does a message express?",
        fields=("text",),
        labels=EMOTIONS,
        aliases=in_every_format(
            {
                "sadness": ("sad",),
                "joy": ("joyful", "happy", "happiness"),
                "love": ("loving",),
                "anger": ("angry",),
                "fear": ("fearful", "afraid", "scared"),
                "surprise": ("surprised",),
            }
        ),
        refused=("no emotion", "mixed"),
        templates=templates(
            "Message: {text} Which emotion does the message express: sadness, joy, love, anger, fear or surprise?",
            judgement_template(
                "You are an assistant to analyze the feelings in short messages. The task is to decide which emotion "
                "the writer of a message expresses: sadness, joy, love, anger, fear, or surprise.",
                one_of(EMOTIONS),
                'Now judge which emotion the message "{text}" expresses.',
            ),
        ),
        hub=HubSource(
            "dair-ai/emotion",
            "split",
            splits={"train": "train", "validation": "validation", "test": "test"},
            labels={str(number): label for number, label in enumerate(EMOTIONS)},
        ),
    ),
)

DEPRESSION = declare(
    Task(
        name="depression",
        question="Does a post sound as if its writer were depressed?",
        fields=("text",),
        labels=("not_depressed", "depressed"),
        words=in_every_format({"not_depressed": "not depressed", "depressed": "depressed"})
        | {"judgement": {"not_depressed": "No", "depressed": "Yes"}},
        aliases=in_every_format({"not_depressed": ("isn't depressed", "non-depressed"), "depressed": ()}),
        templates=templates(
            "Post: {text} Does the writer of the post seem depressed or not depressed?",
            judgement_template(
                "You are an assistant to screen posts for signs of depression. The task is to decide whether the "
                "writer of a post seems depressed. If the post speaks of a depression of the writer's own, the writer "
                "is depressed, else not.",
                one_of(("Yes", "No")),
                'Now judge if the writer of the post "{text}" is depressed.',
            ),
        ),
        hub=HubSource(
            "hugginglearners/reddit-depression-cleaned",
            splits={"train": "train"},
            fields={"text": "clean_text", "label": "is_depression"},
            labels={"0": "not_depressed", "1": "depressed"},
        ),
    ),
)

SICK = declare(
    Task(
        name="sick",
        question="Does one caption entail another, contradict it, or neither?",
        fields=PAIR,
        labels=RELATIONS,
        aliases=MNLI.aliases,
        templates=MNLI.templates,
    ),
)
"""Asked in MNLI's own words; no hub copy loads without a script, so its rows come from a local folder."""
