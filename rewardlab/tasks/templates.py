"""Small builders that task declarations share: the judgement shape, and texts that hold in every format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from rewardlab.types import WORDED_FORMATS, AnswerFormat

Texts = TypeVar("Texts", str, tuple[str, ...])


def judgement_template(background: str, answer: str, query: str) -> str:
    """A prompt in PPO-NLU's shape: task background, output restriction, query.

    Args:
        background: What the assistant is and what the task means.
        answer: What goes between the tags, such as ``only "Yes" or "No"``.
        query: The request for one row, with ``{field}`` in braces.
    Source:
        PPO-NLU section 4.1. The assistant turn is opened with ``<Judgement>`` by the sampler, not here.
    Example:
        >>> print(judgement_template("You judge.", 'only "Yes" or "No"', "Judge {text}."))
        You judge.
        <BLANKLINE>
        The result you give should have the following form:
        <Judgement> {{Insert only "Yes" or "No" here}} </Judgement>
        Judge {text}.
    """
    return (
        f"{background}\n\nThe result you give should have the following form:\n"
        f"<Judgement> {{{{Insert {answer} here}}}} </Judgement>\n{query}"
    )


def templates(question: str, judgement: str) -> dict[AnswerFormat, str]:
    """Templates of the three formats: ``question`` for label and rationale, and one for judgement."""
    return {"label": question, "rationale": question, "judgement": judgement}


def one_of(words: tuple[str, ...]) -> str:
    """``only "a", "b" or "c"``, for the output restriction."""
    quoted = [f'"{word}"' for word in words]
    return f"only {', '.join(quoted[:-1])} or {quoted[-1]}"


def in_every_format(texts: Mapping[str, Texts]) -> dict[AnswerFormat, Mapping[str, Texts]]:
    """Aliases, or words, that hold whatever the format."""
    return dict.fromkeys(WORDED_FORMATS, texts)
