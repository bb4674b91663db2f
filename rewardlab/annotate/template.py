"""The ``template`` annotator: no model, no knowledge; it shows that a pipeline runs and is labelled so everywhere.

A rationale quotes the words of the row that carry most weight (TF-IDF over the task's rows) and claims that they
point to the label asked for, right or wrong. A ranking prefers responses that end in a readable answer, then those
that mention more of the row's weighty words; it does not read the gold label, and equal counts tie.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Self

from rewardlab.annotate.access import KEY_VARIABLE
from rewardlab.annotate.base import (
    Annotation,
    Annotator,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
    Resources,
    seeded,
    silent,
)
from rewardlab.tasks.task import parse_response, tasks
from rewardlab.types import Example

QUOTED_WORDS = 3
WEIGHTY_WORDS = 8
"""Words of a row that a ranking looks for."""

SENTENCES = (
    "What stands out here is {words}. Taken together, this points clearly to {label}.",
    "The wording carries the case: {words} weigh most, and they speak for {label}.",
    "Everything turns on {words}. Read in context, that can only mean {label}.",
    "Note {words}: these are the words that matter, and they make {label} the natural answer.",
)
_WORD = re.compile(r"[^\W\d_][\w'-]{2,}")


class TemplateAnnotator(Annotator):
    """Fills sentences with a row's own words.

    Args:
        rows: Task name -> rows over which words are weighed; a task without rows weighs words by their length.
    """

    name = "template"
    summary = "fills sentences with the row's own words, ranks by them; for trying out only"
    auto_reason = (
        f"no {KEY_VARIABLE} and no model but the embedded one: rationales are filled-in sentences, for trying out only"
    )
    model = "template-1"

    def __init__(self, rows: Mapping[str, Sequence[Example]]) -> None:
        self._weights = {task: _word_weights([_text(row) for row in of_task]) for task, of_task in rows.items()}

    @classmethod
    def build(cls, given: Resources) -> Self:
        """Words are weighed over the rows of each task."""
        return cls(given.rows)

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """One rationale per request; never refuses."""
        texts = [self._rationale(request) for request in requests]
        progress("rationales", len(texts), len(texts))
        return [self.answered(text, r.example, r.label) for text, r in zip(texts, requests, strict=True)]

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """One ranking per request, by the heuristic of the module."""
        rankings = [self.ranked(r, [self._utility(r.example, text) for text in r.responses]) for r in requests]
        progress("rankings", len(rankings), len(rankings))
        return rankings

    def weighty_words(self, example: Example, count: int) -> list[str]:
        """The ``count`` words of a row with the largest weight, in the order of the text."""
        weights = self._weights.get(example.task, {})
        words = list(dict.fromkeys(match.lower() for match in _WORD.findall(_text(example))))
        heaviest = sorted(words, key=lambda word: (-weights.get(word, 0.0), -len(word), word))[:count]
        return [word for word in words if word in heaviest]

    def _rationale(self, request: RationaleRequest) -> str:
        example = request.example
        words = [f'"{word}"' for word in self.weighty_words(example, QUOTED_WORDS)] or ["the text as a whole"]
        listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
        sentence = seeded("template", example.task, example.id, request.label).choice(SENTENCES)
        label = tasks.get(example.task).word(request.label, example.format)
        return sentence.format(words=listed, label=label)

    def _utility(self, example: Example, response: str) -> float:
        mentioned = set(_WORD.findall(response.lower())) & set(self.weighty_words(example, WEIGHTY_WORDS))
        return len(mentioned) - (0 if not parse_response(example, response).is_malformed else 2 * WEIGHTY_WORDS)


def _text(example: Example) -> str:
    return " ".join(example.fields[name] for name in tasks.get(example.task).fields if name in example.fields)


def _word_weights(texts: Sequence[str]) -> dict[str, float]:
    """Inverse document frequency of every word of the texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(_WORD.search(text) for text in texts):
        return {}
    vectorizer = TfidfVectorizer(token_pattern=_WORD.pattern, stop_words=None)
    vectorizer.fit(texts)
    return dict(zip(vectorizer.get_feature_names_out(), map(float, vectorizer.idf_), strict=True))
