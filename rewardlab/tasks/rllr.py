"""The eight tasks of RLLR: mr, agnews, mnli, qqp, sst2, stsb, mrpc, appreviews.

Label and rationale templates are RLLR appendix A's, the authors' slips included ("dose" in A.5); the two Cyrillic
letters that the scan put into A.3 are Latin again. Judgement templates follow the shape of PPO-NLU section 4.1,
which gives CoLA's only; the others are written here. Labels are spelled as in appendix A.
"""

from __future__ import annotations

from collections.abc import Mapping

from rewardlab.tasks.task import HubSource, Task, declare
from rewardlab.tasks.templates import in_every_format, judgement_template, one_of, templates
from rewardlab.types import AnswerFormat

SENTIMENTS = ("negative", "positive")
YES_NO = ("no", "yes")
YES_NO_WORDS: Mapping[AnswerFormat, Mapping[str, str]] = {"judgement": {"no": "No", "yes": "Yes"}}
TOPICS = ("World politics", "Sports", "Business", "Science and technology")
RELATIONS = ("entailment", "contradiction", "neutral")
STARS = ("1", "2", "3", "4", "5")
PAIR = ("sentence1", "sentence2")

_GLUE = "nyu-mll/glue"
_TRAIN_AND_VALIDATION = {"train": "train", "validation": "validation"}
_ALL = {"train": "train", "validation": "validation", "test": "test"}

MR = declare(
    Task(
        name="mr",
        question="Is a film review positive or negative?",
        fields=("text",),
        labels=SENTIMENTS,
        templates=templates(
            "{text} What sentiment does the writer express for the movie?",
            judgement_template(
                "You are an assistant to analyze the opinions in movie reviews. The task is to decide which sentiment "
                "the writer of a review expresses for the movie. If the writer recommends the movie or praises it on "
                "the whole, the sentiment is positive, else it is negative.",
                one_of(SENTIMENTS),
                'Now judge which sentiment the writer of the review "{text}" expresses for the movie.',
            ),
        ),
        hub=HubSource(
            "cornell-movie-review-data/rotten_tomatoes", splits=_ALL, labels={"0": "negative", "1": "positive"}
        ),
    ),
)

AGNEWS = declare(
    Task(
        name="agnews",
        question="Which of four topics is a news article about?",
        fields=("text",),
        labels=TOPICS,
        aliases=in_every_format(
            {
                "World politics": ("world", "politics", "world news"),
                "Sports": ("sport",),
                "Science and technology": ("science", "technology", "sci/tech", "science/technology"),
            }
        ),
        templates=templates(
            "What label best describes this news article? \n {text}",
            judgement_template(
                "You are an assistant to sort news articles by their topic. The task is to decide which section of a "
                "newspaper an article belongs to: world politics, sports, business, or science and technology.",
                one_of(TOPICS),
                'Now judge which topic the news article "{text}" is about.',
            ),
        ),
        hub=HubSource(
            "fancyzhx/ag_news",
            splits={"train": "train", "test": "test"},
            labels={"0": "World politics", "1": "Sports", "2": "Business", "3": "Science and technology"},
        ),
    ),
)

MNLI = declare(
    Task(
        name="mnli",
        question="Does a premise entail a hypothesis, contradict it, or neither?",
        fields=PAIR,
        labels=RELATIONS,
        aliases=in_every_format(
            {
                "entailment": ("entails", "entailed"),
                "contradiction": ("contradicts", "contradictory"),
            }
        ),
        templates=templates(
            "Given a premise and a hypothesis, predict the relationship between them. Choose one of the following "
            "labels: contradiction, entailment, neutral. Premise:{sentence1}, or Hypothesis:{sentence2}",
            judgement_template(
                "You are an assistant to analyze how two sentences relate. The task is to decide what a premise says "
                "about a hypothesis. If the hypothesis must be true when the premise is, the relation is entailment; "
                "if it cannot be true, the relation is contradiction; else it is neutral.",
                one_of(RELATIONS),
                'Now judge the relation of the premise "{sentence1}" to the hypothesis "{sentence2}".',
            ),
        ),
        test_splits={"mnli": "validation", "mnli-mm": "validation_mismatched"},
        hub=HubSource(
            _GLUE,
            "mnli",
            splits={
                "train": "train",
                "validation": "validation_matched",
                "validation_mismatched": "validation_mismatched",
            },
            fields={"sentence1": "premise", "sentence2": "hypothesis"},
            labels={"0": "entailment", "1": "neutral", "2": "contradiction"},
        ),
    ),
)

QQP = declare(
    Task(
        name="qqp",
        question="Do two questions ask the same?",
        fields=PAIR,
        labels=YES_NO,
        words=YES_NO_WORDS,
        metrics=("accuracy", "f1"),
        templates=templates(
            'I received the questions "{sentence1}" and "{sentence2}". Are they duplicates?',
            judgement_template(
                "You are an assistant to keep a question forum free of duplicates. The task is to decide whether two "
                "questions ask the same. If one answer would serve both, they are duplicates, else they are not.",
                one_of(("Yes", "No")),
                'Now judge if the questions "{sentence1}" and "{sentence2}" are duplicates.',
            ),
        ),
        hub=HubSource(
            _GLUE,
            "qqp",
            splits=_TRAIN_AND_VALIDATION,
            fields={"sentence1": "question1", "sentence2": "question2"},
            labels={"0": "no", "1": "yes"},
        ),
    ),
)

SST2 = declare(
    Task(
        name="sst2",
        question="Is a sentence of a film review positive or negative?",
        fields=("text",),
        labels=SENTIMENTS,
        templates=templates(
            "Movie review: {text} What sentiment dose the movie review express?",
            judgement_template(
                "You are an assistant to analyze the sentiment of a sentence. The task is to decide whether a sentence "
                "of a movie review speaks for the movie or against it. If it speaks for the movie, the sentiment is "
                "positive, else it is negative.",
                one_of(SENTIMENTS),
                'Now judge the sentiment of the sentence "{text}".',
            ),
        ),
        hub=HubSource(
            _GLUE,
            "sst2",
            splits=_TRAIN_AND_VALIDATION,
            fields={"text": "sentence"},
            labels={"0": "negative", "1": "positive"},
        ),
    ),
)

STSB = declare(
    Task(
        name="stsb",
        question="How similar in meaning are two sentences, from 0 to 5?",
        fields=PAIR,
        numeric_range=(0.0, 5.0),
        metrics=("pearson", "spearman"),
        templates=templates(
            "Analyze the semantic similarity between two sentences and predict a similarity score from 0 to 5. "
            "Sentence 1: {sentence1}, Sentence 2: {sentence2}",
            judgement_template(
                "You are an assistant to measure how much two sentences have the same meaning. The task is to give "
                "them a similarity score from 0 to 5. If they mean the same, the score is 5.0; if they have nothing "
                "in common, it is 0.0; it may have decimals.",
                "only one number from 0.0 to 5.0",
                'Now judge the similarity of the sentences "{sentence1}" and "{sentence2}".',
            ),
        ),
        hub=HubSource(_GLUE, "stsb", splits=_TRAIN_AND_VALIDATION),
    ),
)

MRPC = declare(
    Task(
        name="mrpc",
        question="Do two sentences of news mean the same?",
        fields=PAIR,
        labels=YES_NO,
        words=YES_NO_WORDS,
        metrics=("accuracy", "f1"),
        templates=templates(
            "Does the sentence \n {sentence1} \n paraphrase (that is, mean the same thing as) this sentence? \n "
            "{sentence2}",
            judgement_template(
                "You are an assistant to compare sentences from the news. The task is to decide whether one sentence "
                "is a paraphrase of another. If both report the same facts, it is a paraphrase, else it is not.",
                one_of(("Yes", "No")),
                'Now judge if the sentence "{sentence1}" is a paraphrase of the sentence "{sentence2}".',
            ),
        ),
        hub=HubSource(_GLUE, "mrpc", splits=_ALL, labels={"0": "no", "1": "yes"}),
    ),
)

APPREVIEWS = declare(
    Task(
        name="appreviews",
        question="How many stars, from 1 to 5, goes with an app review?",
        fields=("text",),
        labels=STARS,
        numeric_range=(1.0, 5.0),
        aliases=in_every_format({"1": ("one",), "2": ("two",), "3": ("three",), "4": ("four",), "5": ("five",)}),
        templates=templates(
            "On a scale of 1-5 (with 1 being least favorable and 5 being most favorable), how would you rate this "
            'review? "{text}"',
            judgement_template(
                "You are an assistant to rate app reviews. The task is to decide how many stars the writer of a "
                "review gave the app. The worst rating is 1 star and the best is 5 stars.",
                one_of(STARS),
                'Now judge how many stars go with the review "{text}".',
            ),
        ),
        hub=HubSource("sealuzh/app_reviews", splits={"train": "train"}, fields={"text": "review", "label": "star"}),
    ),
)
