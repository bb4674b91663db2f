"""``rewardlab annotate --annotator openai`` as typed, against a real server over HTTP."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rewardlab.annotate.base import OUTCOMES
from rewardlab.cli import main as cli
from rewardlab.disk import read_json, read_jsonl
from tests.servers.annotating import ANSWER_USD, KEY, REQUESTS, Typed, everything_written, folder, outcomes
from tests.servers.chat_server import FAULTS, ChatServer, mixed


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

    def test_answers_without_counts_are_booked_by_estimate_in_the_next_run_too(self, annotate: Typed) -> None:
        annotate("uncounted", "--limit", "1")
        spent = read_json(folder() / "manifest.json")["spent"]
        assert spent["response_tokens"] == 4 * 160
        annotate("uncounted", "--limit", "1", "--fresh")
        again = read_json(folder() / "manifest.json")["spent"]
        assert (again["requests"], again["earlier_usd"]) == (0, pytest.approx(spent["cost_usd"]))
        code, _, err = annotate("uncounted", "--limit", "2", "--budget-usd", str(spent["cost_usd"] + 0.001))
        assert (code, f"${spent['cost_usd']:.4f} are spent" in err) == (1, True)

    @pytest.mark.parametrize(("behaviour", "is_certain"), [("dropped", False), ("empty", True)])
    def test_money_for_lost_answers_outlives_the_command(
        self, annotate: Typed, behaviour: str, is_certain: bool
    ) -> None:
        annotate(behaviour, "--limit", "1", "--max-failed", "1")
        spent = read_json(folder() / "manifest.json")["spent"]
        lost = 8 * ANSWER_USD if is_certain else spent["at_risk_usd"]  # four requests, two attempts each
        assert lost > 0
        annotate("ok", "--limit", "1", "--out", "again")
        again = read_json(Path("again/manifest.json"))["spent"]
        if is_certain:
            assert again["earlier_usd"] == pytest.approx(lost)
        else:
            assert again["at_risk_usd"] == pytest.approx(lost)
            assert "of it for answers that were lost" in annotate("ok", "--limit", "2", "--budget-usd", "0.02")[2]

    def test_a_plan_of_two_annotating_stages_has_a_total(
        self, annotate: Typed, server: ChatServer, capfd: pytest.CaptureFixture[str]
    ) -> None:
        options = ["--task", "sandbox-sentiment", "--annotator", "openai", "--base-url", server.url("ok")]
        few = ["--set", "data.labelled=3", "--set", "pairs.held_out=2", "--set", "annotate.model=m"]
        money = ["--prices", "prices.toml", "--budget-usd", "5", "--dry-run"]
        assert cli.run(["pair-gen", "--kind", "ranked", *options, *few, *money]) == 0
        out = capfd.readouterr().out
        parts = [float(each.split()[0]) for each in out.split("response tokens, $")[1:]]
        assert len(parts) == 2
        (total,) = [line for line in out.splitlines() if line.startswith("in all: ")]
        assert total.endswith(" of a budget of $5")
        assert float(total.split("$")[1].split()[0]) == pytest.approx(sum(parts), abs=1.1e-4)

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
