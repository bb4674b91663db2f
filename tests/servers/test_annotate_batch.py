"""``rewardlab annotate --batch`` as typed: submitted, waited for, fetched, never paid twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardlab.disk import read_json, read_jsonl
from tests.servers.annotating import ANSWER_USD, KEY, REQUESTS, Typed, folder, outcomes
from tests.servers.chat_server import ChatServer


class TestBatch:
    def test_submit_status_fetch(self, annotate: Typed, server: ChatServer) -> None:
        code, out, _ = annotate("ok", "--batch", "submit")
        assert code == 0
        assert "48 requests submitted (batches: batch_1), 0 were" in out
        assert "batch batch_1 is in_progress, 0 of 48 answered" in annotate("ok", "--batch", "status")[1]
        code, _, err = annotate("ok", "--batch", "fetch")
        assert code == 1
        assert "not yet: batch batch_1 is in_progress" in err
        server.batches.finish()
        code, out, _ = annotate("ok", "--batch", "fetch")
        assert code == 0
        assert outcomes() == {"answered": REQUESTS}
        assert server.requests == 0  # nobody was asked one by one
        spent = read_json(folder() / "manifest.json")["spent"]
        assert spent["cost_usd"] == pytest.approx(REQUESTS * ANSWER_USD / 2)

    def test_its_answers_are_in_the_same_journal(self, annotate: Typed, server: ChatServer) -> None:
        annotate("ok", "--batch", "submit")
        server.batches.finish()
        annotate("ok", "--batch", "fetch")
        batch = folder() / "rationales.jsonl"
        written = list(read_jsonl(batch))
        assert annotate("ok", "--fresh")[0] == 0
        assert server.requests == 0
        assert list(read_jsonl(folder() / "rationales.jsonl")) == written

    def test_what_is_in_an_open_batch_is_not_paid_twice(self, annotate: Typed, server: ChatServer) -> None:
        annotate("ok", "--batch", "submit")
        code, _, err = annotate("ok", "--limit", "13")
        assert (code, server.requests) == (1, 0)
        assert "48 of these requests are in batches that were not fetched (batch_1); --batch fetch" in err
        server.batches.finish()
        assert "4 requests are in no open batch" in annotate("ok", "--limit", "13", "--batch", "fetch")[2]
        assert annotate("ok", "--limit", "13")[0] == 0
        assert server.requests == 4

    def test_what_was_submitted_for_something_else_is_not_waited_for(self, annotate: Typed, server: ChatServer) -> None:
        annotate("ok", "--batch", "submit")
        server.batches.finish()
        annotate("ok", "--batch", "submit", "--task", "sandbox-topic")
        assert "batch_2" not in annotate("ok", "--batch", "status")[1]
        assert annotate("ok", "--batch", "fetch")[0] == 0
        assert "not yet: batch batch_2" in annotate("ok", "--batch", "fetch", "--task", "sandbox-topic")[2]

    def test_submitting_twice_asks_once(self, annotate: Typed, server: ChatServer) -> None:
        annotate("ok", "--batch", "submit")
        assert "0 requests submitted, 48 were submitted before" in annotate("ok", "--batch", "submit")[1]
        assert len(server.batches.batches) == 1

    def test_a_batch_whose_creation_was_not_remembered_is_found(self, annotate: Typed, server: ChatServer) -> None:
        annotate("ok", "--batch", "submit")
        Path("runs/annotations/batches.jsonl").unlink()  # as if killed between the creation and the note of it
        annotate("ok", "--batch", "submit")
        assert len(server.batches.batches) == 1
        server.batches.finish()
        assert annotate("ok", "--batch", "fetch")[0] == 0

    def test_an_expired_batch_leaves_the_rest_to_be_asked(self, annotate: Typed, server: ChatServer) -> None:
        server.batches.limit = 40
        annotate("ok", "--batch", "submit")
        server.batches.finish()
        code, _, err = annotate("ok", "--batch", "fetch")
        assert code == 1
        assert "8 of 48 requests failed" in err
        assert "is expired without this answer" in err
        assert "8 requests are in no open batch" in annotate("ok", "--batch", "fetch")[2]
        assert annotate("ok")[0] == 0
        assert server.requests == 8

    @pytest.mark.parametrize(
        ("behaviour", "outcome"), [("500", "failed"), ("blocked", "filtered"), ("empty", "failed")]
    )
    def test_lines_that_are_no_answers_have_their_class(
        self, annotate: Typed, server: ChatServer, behaviour: str, outcome: str
    ) -> None:
        annotate(behaviour, "--batch", "submit")
        server.batches.finish()
        assert annotate(behaviour, "--batch", "fetch")[0] == 1
        assert outcomes() == {outcome: REQUESTS}

    def test_answers_without_counts_are_booked_by_estimate(self, annotate: Typed, server: ChatServer) -> None:
        annotate("uncounted", "--batch", "submit", "--limit", "1")
        server.batches.finish()
        annotate("uncounted", "--batch", "fetch", "--limit", "1")
        spent = read_json(folder() / "manifest.json")["spent"]
        assert spent["response_tokens"] == 4 * 160
        # half the price of 100 USD a million for the answers; prompts come on top
        assert 0.032 < spent["cost_usd"] < 0.045

    def test_lines_that_nobody_can_read_cost_only_themselves(self, annotate: Typed, server: ChatServer) -> None:
        annotate("ok", "--batch", "submit")
        server.batches.finish()
        lines = server.batches.files["file_2"].splitlines()
        lines[0] = b'{"custom_id": ' + json.dumps(json.loads(lines[0])["custom_id"]).encode() + b', "error": "boom"}'
        lines[1] = b"not json"
        lines[2] = lines[2].replace(b"Every word", b"Every\xe2\x80\xa8word")  # a line separator within a text
        server.batches.files["file_2"] = b"\n".join(lines)
        code, _, err = annotate("ok", "--batch", "fetch", "--max-failed", "0.1")
        assert (code, outcomes()) == (0, {"answered": REQUESTS - 2, "failed": 2}), err
        reasons = [row["reason"] for row in read_jsonl(folder() / "rationales.jsonl") if row["reason"]]
        assert sorted(reasons) == ["batch batch_1 is completed without this answer", "boom"]

    def test_a_batch_keeps_to_the_budget(self, annotate: Typed, server: ChatServer) -> None:
        code, _, err = annotate("ok", "--batch", "submit", "--budget-usd", "0.1")
        assert code == 1
        assert "annotate.budget_usd = 0.1" in err
        assert server.batches.files == {}

    def test_an_endpoint_that_refuses_is_quoted_without_the_key(self, annotate: Typed) -> None:
        code, _, err = annotate("denied", "--batch", "submit")
        assert code == 1
        assert "--batch submit: the endpoint answered AuthenticationError" in err
        assert KEY not in err
