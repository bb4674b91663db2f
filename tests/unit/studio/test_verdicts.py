"""Verdicts on pairs: stored once, in the journal of ``annotate review``, from pages of the studio alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rewardlab.annotate.review import Review, every_review
from tests.support.studio import client_of, pair_row, stage_folder, studio_of, text_of

PAGE = "/pairs/pairs.jsonl/pairs/toy-q1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pairs = [pair_row("a"), pair_row("b"), pair_row("c")]
    stage_folder(tmp_path / "runs", "pairs", "toy-q1", result={"pairs": 3}, files={"pairs.jsonl": pairs})
    return tmp_path / "runs"


def judge(client: TestClient, row: int, **form: str) -> int:
    """Send a verdict with the page's token; returns the status."""
    token = re.findall(r'name="token" value="([^"]*)"', client.get(f"{PAGE}?row={row}").text)
    address = f"/verdict/pairs.jsonl/{row}/pairs/toy-q1"
    return client.post(address, data={"token": token[0], **form}).status_code


def test_verdicts_go_to_the_journal_of_reviews(root: Path, tmp_path: Path) -> None:
    journal = tmp_path / "annotations"
    client = client_of(studio_of(root, journal))
    assert judge(client, 0, decision="accept", edited="good", reviewer="Ann") == 303
    assert judge(client, 1, decision="edit", edited="better\r\nwords", reviewer="Ann") == 303
    first, second = every_review(journal)
    assert (first.decision, first.edited, first.reviewer) == ("accept", "", "Ann")  # the text field counts for edits
    assert second == Review(second.key, "edit", "better\nwords", "Ann")
    stored = [json.loads(line) for line in (journal / "reviews.jsonl").read_text().splitlines()]
    assert [(row["id"], row["text"], row["rejected"]) for row in stored] == [("a", "good", "bad"), ("b", "good", "bad")]


def test_other_texts_are_another_pair(root: Path, tmp_path: Path) -> None:
    client = client_of(studio_of(root, tmp_path / "annotations"))
    judge(client, 0, decision="reject", reviewer="Ann")
    assert "reject by Ann" in text_of(client.get(f"{PAGE}?row=0").text)
    changed = [pair_row("a", chosen="very good"), pair_row("b")]
    stage_folder(root, "pairs", "toy-q1", result={"pairs": 2}, files={"pairs.jsonl": changed})
    assert "reject by Ann" not in text_of(client.get(f"{PAGE}?row=0").text)


def test_a_verdict_without_the_token_of_a_page_is_not_stored(root: Path, tmp_path: Path) -> None:
    journal = tmp_path / "annotations"
    client = client_of(studio_of(root, journal))
    for token in ("", "guess", "ü"):
        answer = client.post(
            "/verdict/pairs.jsonl/0/pairs/toy-q1", data={"token": token, "decision": "accept", "reviewer": "Eve"}
        )
        assert answer.status_code == 403
    assert client.get("/verdict/pairs.jsonl/0/pairs/toy-q1").status_code == 405
    assert not journal.exists()


@pytest.mark.parametrize("form", [{"decision": "maybe"}, {"decision": "edit", "edited": "  "}, {}])
def test_what_is_no_verdict_is_refused(root: Path, tmp_path: Path, form: dict[str, str]) -> None:
    journal = tmp_path / "annotations"
    assert judge(client_of(studio_of(root, journal)), 0, **form) == 422
    assert not journal.exists()


def test_the_next_pair_is_one_that_the_reviewer_has_not_judged(root: Path, tmp_path: Path) -> None:
    client = client_of(studio_of(root, tmp_path / "annotations"))
    seen = []
    page = client.get(f"{PAGE}?reviewer=Ann").text
    for _ in range(3):
        token, row = (
            re.findall(r'name="token" value="([^"]*)"', page)[0],
            re.findall(r"/verdict/pairs.jsonl/(\d)/", page)[0],
        )
        seen.append(row)
        form = {"token": token, "decision": "accept", "reviewer": "Ann"}
        answer = client.post(f"/verdict/pairs.jsonl/{row}/pairs/toy-q1", data=form)
        page = client.get(answer.headers["location"]).text
    assert sorted(seen) == ["0", "1", "2"]
    assert "3 of 3" in text_of(page)


def test_agreement_so_far(root: Path, tmp_path: Path) -> None:
    """Ann and Bob agree on a and differ on b; one of the four verdicts is a rejection; an edit keeps the preference."""
    client = client_of(studio_of(root, tmp_path / "annotations"))
    for row, reviewer, decision in (
        (0, "Ann", "accept"),
        (0, "Bob", "edit"),
        (1, "Ann", "accept"),
        (1, "Bob", "reject"),
    ):
        judge(client, row, decision=decision, reviewer=reviewer, edited="new")
    told = text_of(client.get(f"{PAGE}?row=2").text)
    assert "pairs judged 2 of 3" in told
    assert "preference kept 75.0 %" in told
    assert "reviewers agree 50.0 % of 2 pairs" in told
