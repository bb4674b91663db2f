"""Looking over annotations: a sample of what an annotator wrote, a verdict on each, and agreement with the filter.

A verdict is ``accept``, ``reject`` (it refuses, or argues for another label) or ``edit`` (the argument stands, in
better words). Verdicts are kept in ``reviews.jsonl``, appended one by one, so that a review may be broken off and
taken up. They measure the annotator and the filter; no stage reads them, so that a review changes no fingerprint and
edited words stay a record for whoever reads or exports them. How they travel to other tools and back stands in
``review_formats.py``.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from rewardlab.annotate.base import request_key
from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError, RunFolderError
from rewardlab.reading import mended, parse_json
from rewardlab.runs import check_outputs
from rewardlab.types import Label

logger = logging.getLogger(__name__)

REVIEWS_FILE = "reviews.jsonl"
RATIONALES_FILE = "rationales.jsonl"

Decision = Literal["accept", "reject", "edit"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One annotation to look over.

    Attributes:
        key: Hash of task, row, label and text: another text is another item.
        task, id: The row.
        label: The label that was asked for.
        prompt: What the row asks; empty where its data cannot be found.
        text: The rationale, also where the filter dropped it.
        kept: True when the filter kept it.
        good: The filter's probability of a good rationale; None where it was not asked.
        rejected: Of a pair: the response that ``text`` was preferred to; None of a rationale.
    """

    key: str
    task: str
    id: str
    label: Label
    prompt: str
    text: str
    kept: bool
    good: float | None
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A verdict.

    Attributes:
        key: Of the item.
        decision: accept, reject or edit.
        edited: The better words, for ``edit`` alone.
        reviewer: Who said so.
    """

    key: str
    decision: Decision
    edited: str = ""
    reviewer: str = ""

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise DataError(f"review of {self.key}: verdict {self.decision!r} is not one of {', '.join(DECISIONS)}")
        if (self.decision == "edit") != bool(self.edited.strip()):
            raise DataError(
                f"review of {self.key}: an edit, and nothing else, comes with a new text; give both or none"
            )


def review_items(run: Path, find_prompts: Callable[[], Mapping[tuple[str, str], str]]) -> list[ReviewItem]:
    """The annotations of an ``annotate`` run that have a text.

    Args:
        run: Its folder.
        find_prompts: Gives (task, row id) -> prompt; called when the folder has proved to be such a run.
    Raises:
        RunFolderError: The folder holds no rationales, or none with a text.
    """
    path = run / RATIONALES_FILE
    if not path.is_file():
        raise RunFolderError(f"{run}: no {RATIONALES_FILE}; give the folder that `rewardlab annotate` printed")
    if (run / "result.json").exists():
        check_outputs(run, [RATIONALES_FILE])
    rows = list(read_jsonl(path))
    worded = [row for row in rows if row["rationale"] or row.get("dropped")]
    if not worded:
        raise RunFolderError(f"{run}: nothing to review, none of {len(rows)} annotations has a text; see {path}")
    prompts = find_prompts()
    return [_item(row, prompts) for row in worded]


def sample_items(items: Sequence[ReviewItem], count: int, seed: int, known: Iterable[str] = ()) -> list[ReviewItem]:
    """``count`` items at random, in the order of the file; those in ``known`` were reviewed and are passed over."""
    done = set(known)
    drawn = random.Random(seed).sample(range(len(items)), min(count, len(items)))
    return [items[index] for index in sorted(drawn) if items[index].key not in done]


def read_reviews(folder: Path) -> dict[str, Review]:
    """The verdicts in a folder by item, the latest of each whoever gave it; as :func:`every_review`."""
    return {review.key: review for review in every_review(folder)}


def every_review(folder: Path) -> list[Review]:
    """The verdicts in a folder, the latest of each reviewer of an item; empty when there are none.

    A line that is no verdict, such as one that a killed process left, is passed over with a warning.
    """
    path = folder / REVIEWS_FILE
    if not path.exists():
        return []
    with path.open("rb") as file:
        found = [_stored(line, f"{path} line {number}") for number, line in enumerate(file, 1) if line.strip()]
    return latest(review for review in found if review)


def latest(reviews: Iterable[Review]) -> list[Review]:
    """The last verdict of each reviewer on each item, in the order in which those were given."""
    found: dict[tuple[str, str], Review] = {}
    for review in reviews:
        found.pop((review.key, review.reviewer), None)
        found[review.key, review.reviewer] = review
    return list(found.values())


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """How far two reviewers agree on the items that both have judged; an edit counts as accepted.

    Attributes:
        reviewers: Their names.
        items: How many both have judged.
        agree: Share of them on which they have one opinion.
        kappa: Cohen's kappa, 1 for perfect agreement and 0 for chance; None where both always say the same one thing.
    """

    reviewers: tuple[str, str]
    items: int
    agree: float
    kappa: float | None


@dataclass(frozen=True, slots=True)
class ReviewerAgreement:
    """How far reviewers agree.

    Attributes:
        items: Items with verdicts of several reviewers.
        agree: Share of them on which all have one opinion; None where there are none.
        kappa: Mean of the pairs' kappas, each weighted by its items (Light 1971); Cohen's for two reviewers.
        pairs: Those with items in common, the most first.
    """

    items: int
    agree: float | None
    kappa: float | None
    pairs: tuple[PairAgreement, ...]


def between_reviewers(reviews: Iterable[Review]) -> ReviewerAgreement:
    """How far several reviewers of one item agree; an edit counts as accepted."""
    opinions: dict[str, dict[str, bool]] = {}
    for review in latest(reviews):
        opinions.setdefault(review.key, {})[review.reviewer] = review.decision != "reject"
    several = [given for given in opinions.values() if len(given) > 1]
    names = sorted({name for given in several for name in given})
    found = (_pair(first, second, several) for first, second in combinations(names, 2))
    pairs = sorted((pair for pair in found if pair), key=lambda pair: -pair.items)
    known = [(pair.kappa, pair.items) for pair in pairs if pair.kappa is not None]
    return ReviewerAgreement(
        items=len(several),
        agree=_share(sum(len(set(given.values())) == 1 for given in several), len(several)),
        kappa=sum(kappa * items for kappa, items in known) / sum(items for _, items in known) if known else None,
        pairs=tuple(pairs),
    )


def _pair(first: str, second: str, opinions: Sequence[Mapping[str, bool]]) -> PairAgreement | None:
    """Agreement of two reviewers; None where they have no item in common."""
    both = [(given[first], given[second]) for given in opinions if first in given and second in given]
    if not both:
        return None
    return PairAgreement((first, second), len(both), sum(a == b for a, b in both) / len(both), _kappa(both))


def _kappa(both: Sequence[tuple[bool, bool]]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    if len({opinion for pair in both for opinion in pair}) == 1:  # chance alone gives full agreement: 0 / 0
        return None
    return float(cohen_kappa_score(*zip(*both, strict=True)))


def store_review(folder: Path, item: ReviewItem, review: Review) -> None:
    """Append a verdict, with what it is about; it is on disk when this returns. A torn last line is ended first."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"task": item.task, "id": item.id, "label": item.label, "text": item.text, "kept": item.kept}
    if item.rejected is not None:
        about["rejected"] = item.rejected
    with (folder / REVIEWS_FILE).open("ab+") as file:
        if _is_torn(file):
            file.write(b"\n")
        file.write((mended(json.dumps({**asdict(review), **about}, ensure_ascii=False)) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def changed(given: Iterable[Review], known: Iterable[Review]) -> list[Review]:
    """The verdicts that are not known yet, the last of each reviewer of an item."""
    stored = set(latest(known))
    return [review for review in latest(given) if review not in stored]


def agreement(items: Iterable[ReviewItem], reviews: Mapping[str, Review]) -> dict[str, Any]:
    """How far the filter and the reviewer agree, over the items that were reviewed.

    An edit counts as accepted: the filter looks for refusals and other labels, not for style.

    Returns:
        ``reviewed``; ``agree``, the share with one opinion; the four counts; ``precision`` and ``recall`` of the
        filter's drops where the reviewer's rejections are the truth. Shares are None where there is nothing to share.
    """
    cells = {(kept, accepted): 0 for kept in (True, False) for accepted in (True, False)}
    for item in items:
        if review := reviews.get(item.key):
            cells[item.kept, review.decision != "reject"] += 1
    dropped_rejected, total = cells[False, False], sum(cells.values())
    return {
        "reviewed": total,
        "agree": _share(cells[True, True] + dropped_rejected, total),
        "kept_accepted": cells[True, True],
        "kept_rejected": cells[True, False],
        "dropped_accepted": cells[False, True],
        "dropped_rejected": dropped_rejected,
        "precision": _share(dropped_rejected, dropped_rejected + cells[False, True]),
        "recall": _share(dropped_rejected, dropped_rejected + cells[True, False]),
    }


def _stored(line: bytes, place: str) -> Review | None:
    """The verdict in a line, or None; who gave it may be left out."""
    try:
        row = parse_json(line.decode())
        if not isinstance(row["key"], str):
            raise TypeError("its key is no text")
        return Review(row["key"], row["decision"], row.get("edited") or "", str(row.get("reviewer") or ""))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, DataError) as error:
        logger.warning("%s: no verdict (%r); it is passed over", place, error)
        return None


def _is_torn(file: BinaryIO) -> bool:
    """True when the file, open at its end, does not end in a line break."""
    if not file.tell():
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _item(row: Mapping[str, Any], prompts: Mapping[tuple[str, str], str]) -> ReviewItem:
    text = row["rationale"] or row["dropped"]
    return ReviewItem(
        key=request_key([row["task"], row["id"], row["label"], text])[:16],
        task=row["task"],
        id=row["id"],
        label=row["label"],
        prompt=prompts.get((row["task"], row["id"]), ""),
        text=text,
        kept=bool(row["rationale"]),
        good=row.get("good"),
    )
