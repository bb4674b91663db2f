"""The layouts in which preference sets are published, each row as prompt, better and worse response.

====================================================== ==========================================================
columns                                                sets that have them
====================================================== ==========================================================
``prompt``, ``chosen``, ``rejected``                   TRL, UltraFeedback binarized, Tulu, Skywork, RewardBench
``chosen``, ``rejected`` with the prompt in both       Anthropic HH (transcripts), Capybara, dpo-mix (messages)
``system``, ``question`` / ``input``, ...              Orca DPO pairs
``instruction``, ``input``, ``history``, ...           LLaMA-Factory, distilabel (``chosen_response``)
``conversations`` / ``messages`` / ``context``, ...    ShareGPT, UltraInteract, chat templates of axolotl
``input.messages``, ``preferred_output``, ...          OpenAI's preference fine-tuning
two responses and which is better                      SHP (``labels``), PKU-SafeRLHF (``better_response_id``),
                                                       HelpSteer 2 and 3, AlpacaFarm, WebGPT, Chatbot Arena,
                                                       summarize_from_feedback (``choice``), LLMBar, JudgeBench
lists as ``chosen`` and ``rejected``                   RewardBench 2, RM-Bench: every two of them
a list of responses with ranks or scores               Nectar, UltraFeedback, StackExchange, distilabel:
                                                       every two of different rank are one preference
====================================================== ==========================================================

Two responses that tie give no preference, and no rating ("N/A") gives none. Anything else is refused with the columns
that were found; so are rows of one response with a rating (HelpSteer 1) or a thumb (KTO), which are no preferences.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rewardlab.tasks.text import composed
from rewardlab.tasks.turns import Turn, as_turns, shown, written_out

CHOSEN = (
    "chosen", "chosen_response", "preferred_output", "preferred", "preferred_response", "accepted", "response_j",
    "winning_response", "winner_response", "better_response", "response_chosen", "chosen_message", "y_w", "win",
)  # fmt: skip
REJECTED = (
    "rejected", "rejected_response", "non_preferred_output", "dispreferred", "non_preferred_response", "rejected",
    "response_k", "losing_response", "loser_response", "worse_response", "response_rejected", "rejected_message",
    "y_l", "lose",
)  # fmt: skip
"""Names of the better response, and in the same place of the worse one."""
PROMPTS = (
    "prompt", "question", "instruction", "query", "history", "context", "conversations", "conversation", "messages",
    "trajectory", "context_messages", "input", "post", "article", "document", "info",
)  # fmt: skip
"""Names of the prompt, the first that a row has."""
SYSTEMS = ("system", "system_prompt", "system_message")
TWO = (
    ("human_ref_A", "human_ref_B"), ("response_0", "response_1"), ("response_1", "response_2"),
    ("response1", "response2"), ("response_a", "response_b"), ("response_A", "response_B"), ("answer_0", "answer_1"),
    ("answer_a", "answer_b"), ("completion_a", "completion_b"), ("output_1", "output_2"), ("output_a", "output_b"),
    ("conversation_a", "conversation_b"),
)  # fmt: skip
"""Names of two responses of which another column says which is better."""
RANKED = ("answers", "completions", "responses", "generations", "candidates", "outputs")
"""Names of a list of responses."""
_UNPAIRED = ("completion", "response", "output")
_TEXT_OF = ("answer", "response", "text", "content", "completion", "output", "value")
_SCORE_OF = ("overall_score", "score", "pm_score", "rating", "reward", "fine-grained_score")
_SCORES = ("ratings", "scores", "rewards", "ranks")
_VERDICTS = ("winner", "preference", "preferred", "better", "verdict", "chosen")
"""Columns that may say which of two responses is better, by its name or its place."""
_UNRATED = frozenset({"n/a", "na", "n.a.", "none", "null", "nan", "not rated", "unrated", "-", "?", ""})
"""What files hold in the place of a rating that was never given."""
_TIES = re.compile(r"(?:tie|both|draw|equal|same)\b.{0,40}|both_?bad|a=b")
_ASKS, _TELLS = ("instruction", "question", "query"), ("input", "context", "passage")
"""Columns of a request, and of the text it is about where that stands apart."""
_PYTHON_MESSAGE = re.compile(r"\s{0,9}\[\{'(?:role|content|from|value)':")
_BORDER = re.compile(r"[.!?:](?=\s)|[。！？：]|\n")
_MIN_REPEATED = 3
"""Words of a prompt that is taken for repeated when both responses begin with it."""


@dataclass(frozen=True, slots=True)
class Understood:
    """One preference of a row: plain texts."""

    prompt: str
    chosen: str
    rejected: str


class UnratedError(ValueError):
    """A row whose responses nobody has rated."""


def understood(row: Mapping[str, Any]) -> list[Understood]:
    """The preferences of one row: none where its responses tie, several where it has a list of them.

    Raises:
        UnratedError: A rating is there in name only ("N/A").
        ValueError: What is wrong with the row, without its place.
    """
    row = _arena(row) if "winner_model_a" in row else row
    prompt = _prompt(row)
    found = [_cut(prompt, chosen, rejected, row) for chosen, rejected in _responses(row)]
    if not all(text.strip() for each in found for text in (each.prompt, each.chosen, each.rejected)):
        raise ValueError("an empty prompt or response")
    return found


def _responses(row: Mapping[str, Any]) -> list[tuple[object, object]]:
    """(better, worse) of each preference of a row, as the row has them."""
    named = list(zip(CHOSEN, REJECTED, strict=True))
    for chosen, rejected in named:
        if row.get(chosen) and row.get(rejected):
            return [(a, b) for a in _alternatives(row[chosen]) for b in _alternatives(row[rejected])]
    if (pair := _two(row)) is not None:
        better = _better(row, *pair)
        names = pair if better > 0 else pair[::-1]
        return [(row[names[0]], row[names[1]])] if better else []
    if half := next((two for two in named if two[0] in row or two[1] in row), None):
        missing = " and ".join(name for name in half if not row.get(name))
        raise ValueError(f"{missing} missing or empty, found {_columns(row)}")
    if isinstance(row.get("summaries"), list) and "choice" in row:
        texts, choice = [_text_of(summary) for summary in row["summaries"]], _choice(row, "choice", (0, 1))
        return [(texts[choice], texts[1 - choice])]
    for name in RANKED:
        if isinstance(row.get(name), list):
            return _ranked(row, name)
    if isinstance(output := row.get("output"), list) and len(output) == 2:
        return [(output[0], output[1])]
    raise ValueError(_no_layout(row))


def own_label(row: Mapping[str, Any]) -> object:
    """A row's own ``label``, unless it says which of two responses is better."""
    label, two = row.get("label"), _two(row)
    if label is None or two is None:
        return label
    try:
        _winner(row, "label", *two)
    except ValueError:
        return label
    return None


def unread(row: Mapping[str, Any]) -> list[str]:
    """Columns of a row that hold text or messages and are not read."""
    prompt = next((each for each in PROMPTS if row.get(each)), None)
    read = {*CHOSEN, *REJECTED, *SYSTEMS, *RANKED, "summaries", "history", "output", "initial_reason_steps", prompt}
    read |= {name for two in TWO for name in two} | (set(_TELLS) if prompt in _ASKS else set())
    return [name for name, value in row.items() if name not in read and _is_long(value)]


def _alternatives(value: object) -> list[object]:
    """The responses of one side: several texts in a list, else the one."""
    is_several = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
    return list(value) if is_several and isinstance(value, list) else [value]


def _two(row: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((two for two in TWO if row.get(two[0]) and row.get(two[1])), None)


def _verdict(row: Mapping[str, Any]) -> str | None:
    """The column that says which response is better by a name or a place."""
    return next((name for name in _VERDICTS if isinstance(row.get(name), str | int | float)), None)


def _arena(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of Chatbot Arena's table, whose columns are lists of texts in JSON, as two conversations."""
    names = ("prompt", "response_a", "response_b")
    try:
        asked, *said = [json.loads(row[name]) for name in names]
        both = [
            [
                {"role": role, "content": text}
                for two in zip(asked, side, strict=True)
                for role, text in zip(("user", "assistant"), two, strict=True)
            ]
            for side in said
        ]
    except (KeyError, TypeError, ValueError, RecursionError):
        return row  # texts, one turn each
    others = {name: value for name, value in row.items() if name not in names}
    return {**others, "conversation_a": both[0], "conversation_b": both[1]}


def _no_layout(row: Mapping[str, Any]) -> str:
    one = next((name for name in _UNPAIRED if name in row), None)
    if one and isinstance(row.get("label"), bool):
        return f"unpaired feedback ({one}, label): a preference has two responses to one prompt; found {_columns(row)}"
    if one:
        return f"one response ({one}): a preference has two to one prompt; found {_columns(row)}"
    return f"chosen and rejected missing or empty, found {_columns(row)}"


def _better(row: Mapping[str, Any], first: str, second: str) -> float:
    """Above 0 where the first response is better, below 0 where the second is, 0 for a tie."""
    if "labels" in row and first == "human_ref_A":
        return 2.0 * _choice(row, "labels", (0, 1)) - 1.0
    for name in ("better_response_id", "choice"):
        if name in row:
            return 1.0 - 2.0 * _choice(row, name, (0, 1))
    for name in ("preference_strength", "overall_preference"):
        if (strength := _as_number(row.get(name))) is not None:
            return -strength
    if "winner_model_a" in row and "winner_model_b" in row:
        return _number(row["winner_model_a"]) - _number(row["winner_model_b"])
    if verdict := _verdict(row):
        return _winner(row, verdict, first, second)
    held = [row.get(name.replace(name.rpartition("_")[0], "score")) for name in (first, second)]
    if any(map(_is_unrated, held)):
        raise UnratedError(f"{first} and {second} have the scores {shown(held[0])} and {shown(held[1])}")
    scores = [_as_number(each) for each in held]
    if scores[0] is not None and scores[1] is not None:
        return scores[0] - scores[1]
    if isinstance(row.get("label"), str | int | float):
        return _winner(row, "label", first, second)
    raise ValueError(f"{first} and {second} without a column that says which is better, found {_columns(row)}")


def _choice(row: Mapping[str, Any], name: str, allowed: tuple[int, int]) -> int:
    number = _as_number(row[name])
    if number not in allowed:
        raise ValueError(f"{name} is {shown(row[name])}, expected {allowed[0]} or {allowed[1]}")
    return int(number)


def _winner(row: Mapping[str, Any], column: str, first: str, second: str) -> float:
    """As :func:`_better`, of a column that names a response, its place (1 or 2, a or b), its model, or both ("A>B")."""
    number = _as_number(row[column])
    said = f"{number:g}" if number is not None else str(row[column]).lower().strip().replace(">>", ">")
    ends = [_end(first), _end(second)]
    if column == "preference" and said in ("1", "2"):
        ends = ["1", "2"]
    for score, name, end, other in ((1.0, first, ends[0], ends[1]), (-1.0, second, ends[1], ends[0])):
        models = {str(row.get(f"model_{each}")).lower().strip() for each in (end, other)}
        named = {name.lower(), end, f"{end}>{other}", f"{other}<{end}"}
        named |= {f"{what}_{end}" for what in ("model", "response", "answer", "output", "assistant")}
        if said in named or (len(models) == 2 and said == str(row.get(f"model_{end}")).lower().strip()):
            return score
    if _TIES.fullmatch(said):
        return 0.0
    if _is_unrated(row[column]):
        raise UnratedError(f"{column} is {shown(row[column])}")
    expected = f"{first}, {second}" if column != "winner" else "model_a, model_b"
    raise ValueError(f"{column} is {shown(row[column])}, expected {expected} or tie")


def _end(name: str) -> str:
    """What distinguishes a response's column from the other's: ``a`` of ``response_a``, ``1`` of ``response1``."""
    return name.lower()[-1]


def _ranked(row: Mapping[str, Any], name: str) -> list[tuple[object, object]]:
    """Every two rated responses of a list whose places differ, the better one first."""
    listed = row[name]
    scores = next((row[each] for each in _SCORES if isinstance(row.get(each), list)), None)
    if scores is not None and len(scores) == len(listed):
        sign = -1.0 if row.get("ranks") is scores else 1.0
        rated = [(each, score) for each, score in zip(listed, scores, strict=True) if not _is_unrated(score)]
        marked = [(sign * _number(score), _text_of(each)) for each, score in rated]
    else:
        marked = [(_score(each), _text_of(each)) for each in listed if not _is_unrated(_rating(each))]
    if len(marked) < 2 <= len(listed):
        raise UnratedError(f"{name}: {len(listed) - len(marked)} of {len(listed)} responses have no rating")
    pairs = [(a, b) if a[0] > b[0] else (b, a) for a, b in combinations(marked, 2) if a[0] != b[0]]
    return [(better[1], worse[1]) for better, worse in pairs]


def _is_unrated(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in _UNRATED


def _rating(response: object) -> object:
    """What a response has in the place of a rank or score, as it stands; None where there is no such place."""
    names = ("rank", *_SCORE_OF)
    held = response if isinstance(response, Mapping) else {}
    return next((held[each] for each in names if held.get(each) is not None), None)


def _score(response: object) -> float:
    """The higher the better; a rank counts from 1, the best."""
    if not isinstance(response, Mapping):
        raise ValueError(f"a response without rank or score: {shown(response)}")
    if "rank" in response:
        return -_number(response["rank"])
    name = next((each for each in _SCORE_OF if response.get(each) is not None), None)
    if name is None:
        raise ValueError(f"a response without rank or score, found {_columns(response)}")
    return _number(response[name])


def _as_number(value: object) -> float | None:
    """A number, also one that a table holds as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError) as error:
        raise ValueError(f"a rank or score that is no number: {shown(value)}") from error


def _text_of(value: object) -> object:
    """The text of a response in a list; messages stay messages."""
    if not isinstance(value, Mapping) or "role" in value or "from" in value:
        return value
    name = next((each for each in _TEXT_OF if value.get(each)), None)
    if name is None:
        raise ValueError(f"a response without text, found {_columns(value)}")
    return value[name]


def _prompt(row: Mapping[str, Any]) -> object:
    """The prompt as a text or turns, None where the row has none of its own."""
    name = next((each for each in PROMPTS if row.get(each)), None)
    value = row[name] if name else None
    if isinstance(value, str):
        told = [row.get(each) for each in _TELLS] if name in _ASKS else []
        parts = [value, *told, row.get("initial_reason_steps")]
        value = "\n\n".join(part for part in parts if isinstance(part, str) and part.strip())
    if name == "info" or (name == "question" and isinstance(value, Mapping)):
        value = _described(value)
    if isinstance(value, list) and value and all(isinstance(each, Mapping) and "input" in each for each in value):
        value = [
            Turn(*turn)
            for each in value
            for turn in (("user", str(each["input"])), ("assistant", str(each.get("output") or "")))
        ]
    if name == "input" and isinstance(value, Mapping) and value.get("messages"):
        value = value["messages"]
    front = _system(row) + _past(row, name)
    if not front or value is None:
        return value
    return [*front, *_lines(value)]


def _described(value: object) -> object:
    """The text of a question or a post that comes with facts about it (WebGPT, summarize_from_feedback)."""
    if not isinstance(value, Mapping):
        return value
    texts = [value.get(each) for each in ("full_text", "title", "post", "article")]
    return "\n\n".join(text for text in texts if isinstance(text, str) and text.strip())


def _system(row: Mapping[str, Any]) -> list[Turn]:
    found = next((row[name] for name in SYSTEMS if isinstance(row.get(name), str) and row[name].strip()), None)
    return [] if found is None else [Turn("system", found)]


def _past(row: Mapping[str, Any], prompt: str | None) -> list[Turn]:
    """Former turns as LLaMA-Factory has them: ``history``, a list of [question, answer]."""
    history = row.get("history")
    if prompt == "history" or not isinstance(history, list):
        return []
    is_past = (
        isinstance(two, list) and len(two) == 2 and all(isinstance(each, str) for each in two) for two in history
    )
    if not all(is_past):
        raise ValueError(f"history is {shown(history)}, expected [question, answer] pairs")
    return [Turn(role, text) for two in history for role, text in zip(("user", "assistant"), two, strict=True)]


def _cut(prompt: object, chosen: object, rejected: object, row: Mapping[str, Any]) -> Understood:
    """Prompt and responses apart, whether the responses repeat the prompt, hold it, or stand by themselves."""
    better, worse = _side(chosen), _side(rejected)
    if prompt is None:
        return _implicit(better, worse, row)
    front = _lines(prompt)
    if isinstance(better, list) and isinstance(worse, list):
        shared = _shared(better, worse)
        if shared and shared[-1].role != "assistant":
            _check_repeated(front, shared)
            system = [turn for turn in front if turn.role == "system" and not any(t.role == "system" for t in shared)]
            return _joined([*system, *shared], better[len(shared) :], worse[len(shared) :])
    if isinstance(better, str) and isinstance(worse, str) and isinstance(prompt, str):
        better, worse = _without_repeated(prompt, better, worse)
    return Understood(written_out(front), _words(better, front), _words(worse, front))


def _side(value: object) -> str | list[Turn]:
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        value = _unpacked(value)
    turns = as_turns(value)
    if turns is not None and any(turn.role == "assistant" for turn in turns):
        return turns
    if isinstance(value, str):
        return value
    raise ValueError(f"found {shown(value)}")


def _unpacked(text: str) -> object:
    """Messages that a table stores as JSON, or as Python writes lists; any other text as it is."""
    try:
        value = ast.literal_eval(text.strip()) if text.lstrip().startswith("[{'") else json.loads(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        if _PYTHON_MESSAGE.match(text):
            raise ValueError(f"messages as Python prints them, which cannot be read back: {shown(text)}") from error
        return text
    is_messages = isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value)
    return value if is_messages else text


def _lines(prompt: object) -> list[Turn]:
    """A prompt as turns; a text that is no transcript is one request."""
    if isinstance(prompt, list) and prompt and all(isinstance(each, Turn) for each in prompt):
        return [each for each in prompt if isinstance(each, Turn)]
    if isinstance(prompt, str):
        prompt = _unpacked(prompt) if prompt.lstrip().startswith("[{") else prompt
    turns = as_turns(prompt)
    return [Turn("user", str(prompt))] if turns is None else turns


def _shared(better: list[Turn], worse: list[Turn]) -> list[Turn]:
    """The turns that both conversations begin with, up to the last one in front of an assistant's."""
    count = 0
    for one, other in zip(better, worse, strict=False):
        if one.role != other.role or one.text.strip() != other.text.strip():
            break
        count += 1
    while count and better[count - 1].role == "assistant":
        count -= 1
    return better[:count]


def _check_repeated(front: list[Turn], shared: list[Turn]) -> None:
    """Raise ValueError where responses begin with a conversation that is not the row's prompt."""
    asked = {_plain(turn.text) for turn in front if turn.role != "system"}
    repeated = {_plain(turn.text) for turn in shared}
    if not asked & repeated:
        raise ValueError(f"the turns in front of the responses are not the prompt: {shown(shared[-1].text)}")


def _plain(text: str) -> str:
    return " ".join(composed(text).split())


def _without_repeated(prompt: str, better: str, worse: str) -> tuple[str, str]:
    if len(prompt.split()) < _MIN_REPEATED:
        return better, worse
    rests = [text[len(prompt) :] for text in (better, worse) if text.startswith(prompt)]
    if len(rests) < 2 or any(rest[:1].isalnum() and prompt[-1:].isalnum() for rest in rests):
        return better, worse
    return (rests[0], rests[1]) if all(rest.strip() for rest in rests) else (better, worse)


def _implicit(better: str | list[Turn], worse: str | list[Turn], row: Mapping[str, Any]) -> Understood:
    """A prompt that both responses begin with, cut off where a turn ends, else a sentence, else a word."""
    if isinstance(better, list) and isinstance(worse, list):
        shared = _shared(better, worse)
        if not shared:
            raise ValueError("no prompt: the two conversations do not begin with the same turn")
        return _joined([*_system(row), *shared], better[len(shared) :], worse[len(shared) :])
    if not isinstance(better, str) or not isinstance(worse, str):
        raise ValueError("no prompt, and one response is a text, the other a conversation")
    if others := [name for name in row if name not in (*CHOSEN, *REJECTED) and _is_long(row[name])]:
        raise ValueError(f"no prompt: found {', '.join(others)}; rename the column that holds it to prompt")
    end = _common(better, worse)
    if not end:
        raise ValueError(f"no prompt, and the responses do not begin with the same words; found {_columns(row)}")
    return Understood(better[:end], better[end:], worse[end:])


def _is_long(value: object) -> bool:
    """True for what may be a prompt under a name that is not known: messages, or more than a word or two."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], Mapping)
    return isinstance(value, str) and len(value.split()) > 2


def _common(one: str, other: str) -> int:
    """Characters of the beginning that two texts share, up to the last sentence or line, else up to the last word."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    longest = min(next(differ, len(one)), len(one.rstrip()) - 1, len(other.rstrip()) - 1)
    borders = (border.end() for border in _BORDER.finditer(one, 0, max(0, longest + 1)))
    if ends := [end for end in borders if end <= longest and one[:end].strip()]:
        return ends[-1]
    return next((place for place in range(longest, 0, -1) if one[place].isspace() and other[place].isspace()), 0)


def _joined(prompt: list[Turn], better: list[Turn], worse: list[Turn]) -> Understood:
    if not better or not worse:
        raise ValueError("an empty prompt or response")
    return Understood(written_out(prompt), written_out(better), written_out(worse))


def _words(response: str | list[Turn], front: list[Turn]) -> str:
    """A response as text, without the prompt that it may repeat."""
    if isinstance(response, str):
        return response
    first = next((place for place, turn in enumerate(response) if turn.role == "assistant"), len(response))
    if first:
        _check_repeated(front, response[:first])
    return written_out(response[first:])


def _columns(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row)) or "no columns"
