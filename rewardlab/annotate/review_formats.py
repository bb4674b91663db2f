"""Reviews in the JSON of Argilla (2.x, ``dataset.records.to_json``) and of Label Studio (its full JSON), both ways.

Every item goes out with the filter's opinion as a suggestion or prediction; verdicts come back by the item's key. The
verdict is a choice named ``verdict`` (accept, reject, edit), better words are a text named ``edited``.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rewardlab.annotate.review import DECISIONS, Decision, Review, ReviewItem, latest
from rewardlab.disk import write_atomic, writing
from rewardlab.errors import DataError, InputError
from rewardlab.reading import parse_json

logger = logging.getLogger(__name__)

Tool = Literal["argilla", "label-studio"]

FILTER = "rewardlab filter"
VERDICT, EDITED = "verdict", "edited"

LABEL_STUDIO_CONFIG = """<View>
  <Header value="$asked"/>
  <Text name="prompt" value="$prompt"/>
  <Text name="text" value="$text"/>
  <Choices name="verdict" toName="text" choice="single" required="true">
    <Choice value="accept"/><Choice value="reject"/><Choice value="edit"/>
  </Choices>
  <TextArea name="edited" toName="text" maxSubmissions="1" editable="true"/>
</View>
"""
"""Labelling interface for a Label Studio project that the export is loaded into."""


def export_reviews(path: Path, tool: Tool, items: Sequence[ReviewItem], reviews: Iterable[Review]) -> None:
    """Write items, and everybody's verdicts on them, to a file that the tool can load.

    For Label Studio the labelling interface goes beside it, with the ending ``.xml``.

    Raises:
        InputError: The file cannot be written.
    """
    write = {"argilla": _argilla_record, "label-studio": _label_studio_task}[tool]
    given: dict[str, list[Review]] = {}
    for review in latest(reviews):
        given.setdefault(review.key, []).append(review)
    rows = [write(item, given.get(item.key, [])) for item in items]
    with writing(path):
        write_atomic(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        if tool == "label-studio":
            write_atomic(path.with_suffix(".xml"), LABEL_STUDIO_CONFIG)


def import_reviews(path: Path, tool: Tool, items: Sequence[ReviewItem]) -> list[Review]:
    """Read the verdicts in a file that the tool wrote, one of each reviewer of an item.

    Records without a verdict are passed over; so is a record or a verdict that cannot be read, and a record of another
    run, with a warning that names it.

    Raises:
        InputError: The file cannot be read.
        DataError: It is no such file, or has records and none that is of use; the message names the first of them.
    """
    known = {item.key for item in items}
    read = {"argilla": _argilla_verdicts, "label-studio": _label_studio_verdicts}[tool]
    found: list[Review] = []
    problems: list[str] = []
    rows, bad = _rows(path, tool), 0
    for number, row in enumerate(rows, 1):
        verdicts, faults = _verdicts(read, row, tool, known)
        found += verdicts
        problems += [f"{path} record {number}: {fault}" for fault in faults]
        bad += bool(faults) and not verdicts
    if problems and bad == len(rows):
        raise DataError(problems[0])
    for problem in problems:
        logger.warning("%s; it is passed over", problem)
    return found


_GIVEN = (None, "submitted")
"""Argilla's states of a response that counts; a draft and a discarded one do not."""
_FORMATS: Mapping[Tool, str] = {
    "argilla": "export it with dataset.records.to_json",
    "label-studio": "export it as JSON (neither JSON-MIN nor CSV)",
}
Verdict = tuple[str, Decision, str, str]
"""Fields of a :class:`Review`, as a file has them."""


def _verdicts(
    read: Callable[[Mapping[str, Any]], Iterator[Verdict]], row: Mapping[str, Any], tool: Tool, known: Collection[str]
) -> tuple[list[Review], list[str]]:
    """The verdicts of a record, and what is wrong with it."""
    found: list[Review] = []
    faults: list[str] = []
    try:
        for key, decision, edited, reviewer in read(row):
            if key not in known:
                raise DataError(f"{key!r} is of another run; give that run's folder")
            try:
                found.append(Review(key, decision, edited, str(reviewer)))
            except DataError as error:
                faults.append(str(error))
    except DataError as error:
        faults.append(str(error))
    except KeyError as error:
        faults.append(f"not as {tool} writes it: it has no {error}; {_FORMATS[tool]}")
    except (TypeError, IndexError, AttributeError) as error:
        faults.append(f"not as {tool} writes it ({error!r}); {_FORMATS[tool]}")
    return found, faults


def _argilla_record(item: ReviewItem, reviews: Sequence[Review]) -> dict[str, Any]:
    suggestion = {"value": "accept" if item.kept else "reject", "score": _confidence(item), "agent": FILTER}
    return {
        "id": item.key,
        "fields": {"prompt": item.prompt, "asked": str(item.label), "text": item.text},
        "metadata": {"task": item.task, "row": item.id, "reviewer": _names(reviews)},
        "suggestions": {VERDICT: suggestion},
        "responses": _argilla_responses(reviews),
        "vectors": {},
    }


def _argilla_responses(reviews: Sequence[Review]) -> dict[str, Any]:
    given: dict[str, list[dict[str, str]]] = {}
    for review in reviews:
        for name, value in ((VERDICT, review.decision), (EDITED, review.edited)):
            if value:
                given.setdefault(name, []).append({"value": value, "user_id": _user_id(review.reviewer)})
    return given


def _argilla_verdicts(row: Mapping[str, Any]) -> Iterator[Verdict]:
    responses = row["responses"] or {}
    answers = [answer for answer in responses.get(VERDICT) or [] if answer.get("status") in _GIVEN]
    decisions = {answer.get("user_id") or "": answer["value"] for answer in answers}
    words = {answer.get("user_id") or "": answer["value"] for answer in responses.get(EDITED) or []}
    names = {_user_id(name): name for name in _named(row.get("metadata", {}))}
    for user, decision in decisions.items():
        edited = words.get(user, "") if decision == "edit" else ""
        yield row["id"], decision, edited, names.get(user, user)


def _names(reviews: Sequence[Review]) -> str | list[str]:
    """Who judged an item, as the tools keep it: a name, or several."""
    names = [review.reviewer for review in reviews]
    return names if len(names) > 1 else "".join(names)


def _named(about: Mapping[str, Any]) -> list[str]:
    """The names that :func:`_names` wrote."""
    names = about.get("reviewer") or ""
    return [names] if isinstance(names, str) else [str(name) for name in names]


def _user_id(reviewer: str) -> str:
    """Argilla's users are UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"rewardlab-reviewer:{reviewer}"))


def _label_studio_task(item: ReviewItem, reviews: Sequence[Review]) -> dict[str, Any]:
    prediction = {
        "model_version": FILTER,
        "score": _confidence(item),
        "result": [_choice("accept" if item.kept else "reject")],
    }
    about = {"key": item.key, "task": item.task, "row": item.id, "asked": str(item.label)}
    return {
        "data": {**about, "prompt": item.prompt, "text": item.text, "reviewer": _names(reviews)},
        "annotations": [{"result": _results(review), "was_cancelled": False} for review in reviews],
        "predictions": [prediction],
    }


def _results(review: Review) -> list[dict[str, Any]]:
    """A verdict as an annotation's results, under the id of who gave it."""
    words = {"from_name": EDITED, "to_name": "text", "type": "textarea", "value": {"text": [review.edited]}}
    given = [_choice(review.decision), *([words] if review.edited else [])]
    return [{"id": _user_id(review.reviewer), **result} for result in given]


def _choice(decision: str) -> dict[str, Any]:
    return {"from_name": VERDICT, "to_name": "text", "type": "choices", "value": {"choices": [decision]}}


def _label_studio_verdicts(row: Mapping[str, Any]) -> Iterator[Verdict]:
    given = [annotation for annotation in row["annotations"] if not annotation.get("was_cancelled")]
    names = {_user_id(name): name for name in _named(row["data"])}
    last = {_annotated_by(annotation, names): annotation for annotation in given}
    for reviewer, annotation in last.items():
        values = {result["from_name"]: result["value"] for result in annotation["result"]}
        if VERDICT in values:
            decision = _one_verdict(values[VERDICT]["choices"])
            edited = _words(values[EDITED]["text"]) if decision == "edit" and EDITED in values else ""
            yield row["data"]["key"], decision, edited, reviewer


def _one_verdict(chosen: object) -> Any:
    """The verdict in what was chosen, which the tool writes as a text or as a list of texts."""
    verdicts = [chosen] if isinstance(chosen, str) else chosen
    if not isinstance(verdicts, list) or len(verdicts) != 1:
        raise DataError(f"found the verdict {chosen!r}, expected one of {', '.join(DECISIONS)}")
    return verdicts[0]


def _words(texts: object) -> str:
    """What was typed, which the tool writes as a text or as a list of texts, one for each submission."""
    if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
        return "\n".join(texts)
    if not isinstance(texts, str):
        raise DataError(f"found {texts!r} as the text of an edit, expected a text")
    return texts


def _annotated_by(annotation: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Who gave an annotation: the reviewer whose verdict went out under that id, or the tool's user."""
    ours = [names[result["id"]] for result in annotation["result"] if result.get("id") in names]
    if ours and ours[0]:
        return ours[0]
    by = annotation.get("completed_by")
    return str(by.get("email", "")) if isinstance(by, dict) else str(by or "")


def _confidence(item: ReviewItem) -> float | None:
    """Probability of the filter's own opinion."""
    if item.good is None:
        return None
    return item.good if item.kept else round(1 - item.good, 4)


def _rows(path: Path, tool: Tool) -> list[Mapping[str, Any]]:
    try:
        rows = parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the file that {tool} exported") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); export the records of {tool} as JSON") from error
    if not isinstance(rows, list):
        raise DataError(
            f"{path}: found {type(rows).__name__}, expected the list of records that {tool} exports as JSON"
        )
    return rows
