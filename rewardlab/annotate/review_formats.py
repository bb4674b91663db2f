"""Reviews in the JSON of Argilla (2.x, ``dataset.records.to_json``) and of Label Studio (its full JSON), both ways.

Every item goes out with the filter's opinion as a suggestion or prediction; verdicts come back by the item's key. The
verdict is a choice named ``verdict`` (accept, reject, edit), better words are a text named ``edited``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rewardlab.annotate.review import Review, ReviewItem
from rewardlab.errors import DataError, InputError
from rewardlab.reading import parse_json
from rewardlab.runs import write_atomic, writing

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


def export_reviews(path: Path, tool: Tool, items: Sequence[ReviewItem], reviews: Mapping[str, Review]) -> None:
    """Write items, and the verdicts there are, to a file that the tool can load.

    For Label Studio the labelling interface goes beside it, with the ending ``.xml``.

    Raises:
        InputError: The file cannot be written.
    """
    write = {"argilla": _argilla_record, "label-studio": _label_studio_task}[tool]
    rows = [write(item, reviews.get(item.key)) for item in items]
    with writing(path):
        write_atomic(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        if tool == "label-studio":
            write_atomic(path.with_suffix(".xml"), LABEL_STUDIO_CONFIG)


def import_reviews(path: Path, tool: Tool, items: Sequence[ReviewItem]) -> list[Review]:
    """Read the verdicts in a file that the tool wrote; records without one are passed over.

    Raises:
        InputError: The file cannot be read.
        DataError: It is no such file, or a record belongs to none of the items; the message names the record.
    """
    known = {item.key for item in items}
    read: Callable[[Mapping[str, Any]], Iterator[Review]]
    read = {"argilla": _argilla_review, "label-studio": _label_studio_review}[tool]
    found: list[Review] = []
    for number, row in enumerate(_rows(path, tool), 1):
        try:
            found += read(row)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise DataError(
                f"{path} record {number}: not as {tool} writes it ({error!r}); export it as JSON"
            ) from error
    strange = [review.key for review in found if review.key not in known]
    if strange:
        raise DataError(
            f"{path}: {len(strange)} records, first {strange[0]!r}, are of another run; give that run's folder"
        )
    return found


def _argilla_record(item: ReviewItem, review: Review | None) -> dict[str, Any]:
    suggestion = {"value": "accept" if item.kept else "reject", "score": _confidence(item), "agent": FILTER}
    return {
        "id": item.key,
        "fields": {"prompt": item.prompt, "asked": str(item.label), "text": item.text},
        "metadata": {"task": item.task, "row": item.id, "reviewer": review.reviewer if review else ""},
        "suggestions": {VERDICT: suggestion},
        "responses": _argilla_responses(review) if review else {},
        "vectors": {},
    }


def _argilla_responses(review: Review) -> dict[str, Any]:
    given = {VERDICT: review.decision} | ({EDITED: review.edited} if review.edited else {})
    return {name: [{"value": value, "user_id": _user_id(review.reviewer)}] for name, value in given.items()}


def _argilla_review(row: Mapping[str, Any]) -> Iterator[Review]:
    answers = row["responses"].get(VERDICT)
    if not answers:
        return
    decision, user = answers[-1]["value"], answers[-1].get("user_id") or ""
    edited = [answer["value"] for answer in row["responses"].get(EDITED, []) if (answer.get("user_id") or "") == user]
    named = row.get("metadata", {}).get("reviewer", "")
    reviewer = named if user == _user_id(named) else user
    yield Review(row["id"], decision, edited[-1] if edited and decision == "edit" else "", reviewer)


def _user_id(reviewer: str) -> str:
    """Argilla's users are UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"rewardlab-reviewer:{reviewer}"))


def _label_studio_task(item: ReviewItem, review: Review | None) -> dict[str, Any]:
    prediction = {
        "model_version": FILTER,
        "score": _confidence(item),
        "result": [_choice("accept" if item.kept else "reject")],
    }
    about = {"key": item.key, "task": item.task, "row": item.id, "asked": str(item.label)}
    return {
        "data": {**about, "prompt": item.prompt, "text": item.text, "reviewer": review.reviewer if review else ""},
        "annotations": [{"result": _results(review), "was_cancelled": False}] if review else [],
        "predictions": [prediction],
    }


def _results(review: Review) -> list[dict[str, Any]]:
    words = {"from_name": EDITED, "to_name": "text", "type": "textarea", "value": {"text": [review.edited]}}
    return [_choice(review.decision), *([words] if review.edited else [])]


def _choice(decision: str) -> dict[str, Any]:
    return {"from_name": VERDICT, "to_name": "text", "type": "choices", "value": {"choices": [decision]}}


def _label_studio_review(row: Mapping[str, Any]) -> Iterator[Review]:
    given = [annotation for annotation in row["annotations"] if not annotation.get("was_cancelled")]
    if not given:
        return
    values = {result["from_name"]: result["value"] for result in given[-1]["result"]}
    if VERDICT not in values:
        return
    decision = values[VERDICT]["choices"][0]
    edited = values[EDITED]["text"][0] if decision == "edit" and EDITED in values else ""
    by = given[-1].get("completed_by")
    reviewer = row["data"].get("reviewer") or (by.get("email", "") if isinstance(by, dict) else str(by or ""))
    yield Review(row["data"]["key"], decision, edited, reviewer)


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
