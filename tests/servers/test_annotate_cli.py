"""``rewardlab annotate --annotator openai`` as typed, against a real server over HTTP."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rewardlab.annotate.base import OUTCOMES
from rewardlab.cli import main as cli
from rewardlab.runs import read_json, read_jsonl
from tests.servers.chat_server import FAULTS, ChatServer, mixed

KEY = "sk-a-secret-that-must-not-leak"
REQUESTS = 48
"""Of ``--limit 12``: a right and a wrong label for 12 labelled and 12 held-out rows."""
CENT = '["m"]\nprompt = 10\nresponse = 100\nbatch = 0.5\n'
ANSWER_USD = 7 * 10e-6 + 5 * 100e-6
"""What one answer of the server costs by these prices: 7 prompt tokens and 5 response tokens."""

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as open_server:
        yield open_server


@pytest.fixture
def annotate(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Typed:
    """Runs the command in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text(CENT)

    def run(behaviour: str, *more: str) -> tuple[int, str, str]:
        options = ["--task", "sandbox-sentiment", "--annotator", "openai", "--base-url", server.url(behaviour)]
        quick = ["--set", "annotate.model=m", "--set", "annotate.attempts=2", "--set", "annotate.backoff_s=0.01"]
        code = cli.run(["annotate", *options, *quick, "--limit", "12", "--prices", "prices.toml", *more])
        return code, *capfd.readouterr()

    return run


def folder() -> Path:
    """The only run folder."""
    (found,) = Path("runs/annotate").iterdir()
    return found


def outcomes() -> Counter[str]:
    """Classes of the written rows."""
    return Counter(row["outcome"] for row in read_jsonl(folder() / "rationales.jsonl"))


def everything_written() -> str:
    """The text of all files below the current folder."""
    return "".join(path.read_text(encoding="utf-8") for path in Path().rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("behaviour", "outcome", "code", "asked"),
    [
        ("ok", "answered", 0, 1),
        ("slow", "answered", 0, 1),
        ("429", "answered", 0, 2),
        ("dropped", "answered", 0, 2),
        ("500", "failed", 1, 2),
        ("malformed", "failed", 1, 2),
        ("empty", "failed", 1, 2),
        ("invalid", "failed", 1, 1),
        ("filter", "filtered", 1, 1),
        ("blocked", "filtered", 1, 1),
        ("truncated", "truncated", 1, 1),
        ("refusal", "refused", 1, 1),
        ("declined", "refused", 1, 1),
    ],
)
def test_every_behaviour_ends_in_its_class(
    annotate: Typed, server: ChatServer, behaviour: str, outcome: str, code: int, asked: int
) -> None:
    got, _, err = annotate(behaviour, "--set", "annotate.breaker=1000", "--concurrency", "48")
    assert got == code, err
    assert outcomes() == {outcome: REQUESTS}
    assert server.requests == asked * REQUESTS
    rows = list(read_jsonl(folder() / "rationales.jsonl"))
    assert all(bool(row["rationale"]) == (outcome == "answered") for row in rows)
    assert all(bool(row["reason"]) == (outcome != "answered") for row in rows)
    assert (folder() / "result.json").exists() == (code == 0)
    assert "Traceback" not in err
    if code:
        assert err.splitlines()[-1].startswith("error: ")


class TestFaults:
    """30 % of the requests do not end as they should."""

    LIMIT = ("--limit", "60", "--set", "pairs.held_out=20", "--concurrency", "32", "--set", "annotate.breaker=1000")

    def test_every_row_ends_in_its_class_and_the_totals_add_up(self, annotate: Typed, server: ChatServer) -> None:
        code, _, err = annotate("mixed", *self.LIMIT)
        treated = [mixed(body["messages"][0]["content"]) for body in map(json.loads, server.seen)]
        assert len(treated) == 160
        assert 0.2 < sum(how in FAULTS for how in treated) / 160 < 0.4
        failed = sum(how in ("500", "malformed", "empty") for how in treated)
        assert code == 1
        assert f"{failed} of 160 requests failed, more than annotate.max_failed = 0.05" in err
        assert "the same command asks the failed ones again; a larger --max-failed goes on without them" in err
        manifest = read_json(folder() / "manifest.json")
        assert outcomes() == {
            "answered": sum(how in ("ok", "429", "dropped") for how in treated),
            "failed": failed,
            "filtered": treated.count("filter"),
            "truncated": treated.count("truncated"),
            "refused": treated.count("refusal") + treated.count("declined"),
        }
        assert manifest["outcomes"] == {name: outcomes()[name] for name in OUTCOMES}
        assert sum(manifest["outcomes"].values()) == manifest["requests"] == 160
        for row in read_jsonl(folder() / "rationales.jsonl"):
            assert bool(row["rationale"]) == (row["outcome"] == "answered")

    def test_the_same_command_asks_only_what_failed(self, annotate: Typed, server: ChatServer) -> None:
        annotate("mixed", *self.LIMIT)
        failed, before = outcomes()["failed"], server.requests
        assert annotate("mixed", *self.LIMIT)[0] == 1
        assert server.requests - before == 2 * failed  # two attempts each, and nobody else

    def test_a_larger_share_of_failures_may_be_borne(self, annotate: Typed) -> None:
        code, out, _ = annotate("mixed", *self.LIMIT, "--max-failed", "0.5")
        assert code == 0
        assert "rationales.jsonl" in out

    def test_the_bill_is_what_the_server_counted(self, annotate: Typed, server: ChatServer) -> None:
        annotate("mixed", *self.LIMIT)
        treated = Counter(mixed(body["messages"][0]["content"]) for body in map(json.loads, server.seen))
        # tokens are counted wherever a body with a count arrived; "empty" was asked twice
        billed = 160 - treated["500"] - treated["malformed"] + treated["empty"]
        spent = read_json(folder() / "manifest.json")["spent"]
        assert (spent["prompt_tokens"], spent["response_tokens"]) == (7 * billed, 5 * billed)
        assert spent["cost_usd"] == pytest.approx(billed * ANSWER_USD)
        assert spent["requests"] == server.requests
        assert (spent["at_risk_usd"] > 0) == (treated["dropped"] + treated["malformed"] > 0)


class TestMoney:
    def test_a_dry_run_counts_and_prices_and_asks_nobody(self, annotate: Typed, server: ChatServer) -> None:
        code, out, err = annotate("ok", "--dry-run")
        assert (code, err, server.requests) == (0, "", 0)
        assert f"{REQUESTS} requests to m (0 more are in the journal)" in out
        # 48 answers of up to 160 tokens at 100 USD per million are 0.768 USD; prompts come on top
        assert "7680 response tokens, $0." in out
        assert 0.768 < float(out.split("response tokens, $")[1].split()[0]) < 1.2
        assert 'rationale for the answer "' in out  # the first request in full
        assert not Path("runs").exists()

    def test_a_dry_run_knows_the_journal(self, annotate: Typed) -> None:
        annotate("ok")
        _, out, _ = annotate("ok", "--dry-run", "--limit", "13")
        assert f"4 requests to m ({REQUESTS} more are in the journal)" in out

    def test_the_budget_is_never_exceeded(self, annotate: Typed, server: ChatServer) -> None:
        code, _, err = annotate("ok", "--budget-usd", "0.03", "--concurrency", "1")
        assert code == 1
        assert "annotate.budget_usd = 0.03" in err
        assert "raise --budget-usd" in err
        # one request is set aside for up to 0.016 USD of answer: it stops while that still fits, not when it is spent
        assert 0.01 < server.requests * ANSWER_USD <= 0.03
        kept = Path("runs/annotations/openai.jsonl").read_text().count("\n")
        assert kept == server.requests

    def test_the_budget_counts_what_earlier_runs_paid(self, annotate: Typed, server: ChatServer) -> None:
        annotate("ok", "--budget-usd", "0.03", "--concurrency", "1")
        before = server.requests
        assert annotate("ok", "--budget-usd", "0.03", "--concurrency", "1")[0] == 1
        assert server.requests == before
        assert annotate("ok", "--budget-usd", "0.06")[0] == 0
        spent = read_json(folder() / "manifest.json")["spent"]
        assert spent["earlier_usd"] == pytest.approx(before * ANSWER_USD)
        assert spent["cost_usd"] == pytest.approx((REQUESTS - before) * ANSWER_USD)

    def test_many_in_flight_keep_the_budget_too(self, annotate: Typed, server: ChatServer) -> None:
        assert annotate("slow", "--budget-usd", "0.03", "--concurrency", "48")[0] == 1
        assert 0.01 < server.requests * ANSWER_USD <= 0.03
        assert Path("runs/annotations/openai.jsonl").read_text().count("\n") == server.requests  # all were waited for

    def test_a_budget_needs_a_price(self, annotate: Typed) -> None:
        code, _, err = annotate("ok", "--budget-usd", "1", "--set", "annotate.model=unheard-of")
        assert code == 2
        assert "the price of 'unheard-of' is unknown" in err


class TestBreaking:
    def test_failures_in_a_row_stop_it(self, annotate: Typed, server: ChatServer) -> None:
        code, _, err = annotate("500", "--set", "annotate.breaker=5", "--concurrency", "1")
        assert code == 1
        assert "5 requests failed in a row" in err
        assert server.requests == 10

    def test_a_refused_key_stops_it_and_is_not_shown(self, annotate: Typed, server: ChatServer) -> None:
        code, out, err = annotate("denied", "--concurrency", "1")
        assert (code, server.requests) == (1, 1)
        assert "401" in err
        assert KEY not in out + err + everything_written()


class TestReasoning:
    """Models that reason first take other sampling settings than the rest."""

    def test_a_known_name_is_asked_in_its_own_way(self, annotate: Typed, server: ChatServer) -> None:
        assert annotate("reasoner", "--set", "annotate.model=o4-mini")[0] == 0
        assert outcomes() == {"answered": REQUESTS}
        for body in server.bodies:
            assert set(body) == {"model", "messages", "max_completion_tokens"}
            assert body["max_completion_tokens"] == 160 + 2000

    def test_others_are_asked_as_before(self, annotate: Typed, server: ChatServer) -> None:
        annotate("ok", "--limit", "1")
        assert [(body["max_tokens"], body["temperature"]) for body in server.bodies] == [(160, 0.7)] * 4

    @pytest.mark.parametrize(
        ("behaviour", "wrong", "key"), [("reasoner", "auto", "yes"), ("reasoner", "no", "yes"), ("strict", "yes", "no")]
    )
    def test_the_wrong_way_is_told_at_once_and_the_key_named_mends_it(
        self, annotate: Typed, server: ChatServer, behaviour: str, wrong: str, key: str
    ) -> None:
        code, _, err = annotate(behaviour, "--set", f"annotate.reasoning={wrong}", "--concurrency", "1")
        assert (code, server.requests) == (1, 1)
        assert f"--set annotate.reasoning={key}" in err.splitlines()[-1]
        assert "max_completion_tokens" in err.splitlines()[-1]
        assert annotate(behaviour, "--set", f"annotate.reasoning={key}")[0] == 0
        assert server.requests == 1 + REQUESTS

    def test_a_batch_tells_it_too(self, annotate: Typed, server: ChatServer) -> None:
        annotate("reasoner", "--batch", "submit")
        server.batches.finish()
        code, _, err = annotate("reasoner", "--batch", "fetch")
        assert code == 1
        assert "--set annotate.reasoning=yes" in err

    def test_reasoning_without_an_answer_is_truncated(self, annotate: Typed) -> None:
        annotate("silent", "--set", "annotate.reasoning=yes")
        assert outcomes() == {"truncated": REQUESTS}
        assert {"annotate.reasoning_tokens" in row["reason"] for row in read_jsonl(folder() / "rationales.jsonl")} == {
            True
        }

    def test_what_it_may_think_is_in_the_estimate(self, annotate: Typed) -> None:
        _, out, _ = annotate(
            "ok", "--dry-run", "--set", "annotate.reasoning=yes", "--set", "annotate.reasoning_tokens=40"
        )
        assert f"{REQUESTS * 200} response tokens" in out

    def test_the_room_to_think_is_another_question_for_reasoning_models_alone(self, annotate: Typed) -> None:
        for limit in ("2000", "3000"):
            for model in ("m", "o4-mini"):
                annotate("ok", "--set", f"annotate.reasoning_tokens={limit}", "--set", f"annotate.model={model}")
        assert len(list(Path("runs/annotate").iterdir())) == 3


class TestWhere:
    """Endpoints that are not there, or are none."""

    @pytest.fixture
    def url(self) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return f"http://127.0.0.1:{free.getsockname()[1]}/v1"

    def test_an_endpoint_that_is_not_there_is_named_and_costs_nothing(self, annotate: Typed, url: str) -> None:
        code, _, err = annotate("ok", "--base-url", url, "--set", "annotate.breaker=3", "--budget-usd", "1")
        assert code == 1
        assert f"Cannot connect to host {url.removeprefix('http://').removesuffix('/v1')}" in err
        assert "timed out" not in err
        assert annotate("ok", "--base-url", url, "--set", "annotate.breaker=1000", "--budget-usd", "0.1")[0] == 1
        assert outcomes() == {"failed": REQUESTS}  # not stopped by a budget that nobody charged
        assert read_json(folder() / "manifest.json")["spent"]["at_risk_usd"] == 0

    def test_an_answer_that_does_not_come_in_time_is_called_so_and_may_be_charged(self, annotate: Typed) -> None:
        annotate("slow", "--set", "annotate.timeout_s=0.01", "--set", "annotate.breaker=1000", "--concurrency", "48")
        assert {row["reason"] for row in read_jsonl(folder() / "rationales.jsonl")} <= {
            "TimeoutError: no answer within annotate.timeout_s",
            "SocketTimeoutError: Timeout on reading data from socket",
        }
        assert read_json(folder() / "manifest.json")["spent"]["at_risk_usd"] > 0

    @pytest.mark.parametrize("url", ["nonsense", "ftp://host/v1", "http://"])
    def test_what_is_no_address_is_bad_input(self, annotate: Typed, url: str) -> None:
        code, _, err = annotate("ok", "--base-url", url)
        assert code == 2
        assert f"annotate.base_url: {url!r} is no web address" in err

    def test_only_hosted_models_have_batches(self, annotate: Typed) -> None:
        code, _, err = annotate("ok", "--batch", "submit", "--annotator", "sandbox")
        assert code == 2
        assert "this run would ask sandbox" in err
        assert not Path("runs").exists()


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
        assert list(read_jsonl(next(Path("runs/annotate").glob("*[0-9a-f]")) / "rationales.jsonl")) == written

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


def test_no_secret_is_ever_written(annotate: Typed, server: ChatServer) -> None:
    annotate("mixed", "--limit", "40", "--max-failed", "1")
    annotate("ok", "--batch", "submit", "--limit", "60")
    assert KEY not in everything_written()


def test_journals_of_two_machines_merge(annotate: Typed, server: ChatServer, capfd: pytest.CaptureFixture[str]) -> None:
    annotate("ok", "--limit", "3", "--runs", "one")
    annotate("ok", "--limit", "5", "--runs", "two")
    into = "both/annotations/openai.jsonl"
    code = cli.run(
        ["annotate", "merge", "one/annotations/openai.jsonl", "two/annotations/openai.jsonl", "--into", into]
    )
    out = capfd.readouterr().out
    assert (code, out.splitlines()[-1]) == (0, f"{into}: 20 answers")
    assert "one/annotations/openai.jsonl: 12 answers taken over" in out
    before = server.requests
    assert annotate("ok", "--limit", "5", "--runs", "both")[0] == 0
    assert server.requests == before
