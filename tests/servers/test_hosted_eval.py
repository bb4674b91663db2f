"""``rewardlab eval --hosted`` as typed, against a real server over HTTP: what is asked, read, kept and charged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from rewardlab.comparison.evaluations import load_eval
from rewardlab.disk import read_json, read_jsonl
from tests.servers.annotating import ANSWER_USD, CENT, KEY
from tests.servers.chat_server import ChatServer

ROWS = 12
Asked = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Asked:
    """Runs the command in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text(CENT)

    def run(behaviour: str, *more: str) -> tuple[int, str, str]:
        options = ["--task", "sandbox-sentiment", "--hosted", "--base-url", server.url(behaviour)]
        quick = ["annotate.attempts=2", "annotate.backoff_s=0.01", "eval.hosted.model=m"]
        typed = [*options, *(f"--set={each}" for each in quick), "--limit", str(ROWS), "--prices", "prices.toml"]
        return cli.run(["eval", *typed, *more]), *capfd.readouterr()

    return run


def folder() -> Path:
    (found,) = [path for path in Path("runs/eval").iterdir() if ".before-" not in path.name]
    return found


def test_each_row_is_asked_at_both_temperatures_and_read_as_a_local_answer(ask: Asked, server: ChatServer) -> None:
    code, _, err = ask("says-positive", "--format", "judgement")
    assert code == 0, err
    assert server.requests == 2 * ROWS
    assert sorted({body["temperature"] for body in server.bodies}) == [0.0, 1.0]
    assert {body["max_tokens"] for body in server.bodies} == {48 + 8}, "the embedded model's budget, and the opening"
    found, result = load_eval(folder()), read_json(folder() / "result.json")
    assert (found.key.method, found.key.model, found.key.format) == ("m zero-shot", "", "judgement")
    rows = list(read_jsonl(folder() / "predictions.jsonl"))
    assert [row["response"] for row in rows] == [" positive </Judgement>"] * (2 * ROWS)
    assert {(row["answer"], row["strict"], row["finished"]) for row in rows} == {("positive", "positive", True)}
    share = sum(row["gold"] == "positive" for row in rows) / len(rows)
    cells = result["columns"]["sandbox-sentiment"]
    assert cells["greedy"]["metrics"]["accuracy"]["value"] == pytest.approx(share)
    assert result["spent"]["cost_usd"] == pytest.approx(2 * ROWS * ANSWER_USD)
    assert result["hosted"] == {"model": "m", "outcomes": {"answered": 2 * ROWS}}
    assert result["cost"]["gold_labels"] == result["cost"]["annotator_calls"] == 0


def test_what_was_answered_is_not_asked_again_and_another_seed_draws_anew(ask: Asked, server: ChatServer) -> None:
    ask("says-positive", "--format", "judgement")
    assert ask("says-positive", "--format", "judgement", "--fresh")[0] == 0
    assert server.requests == 2 * ROWS
    assert ask("says-positive", "--format", "judgement", "--out", "other", "--set=data.seed=0", "--seed", "1")[0] == 0
    assert server.requests == 3 * ROWS, "the sampled ones alone: the others have no draw"


def test_solved_examples_and_a_call_for_reasoning_stand_in_the_message(ask: Asked, server: ChatServer) -> None:
    more = ("--format", "rationale", "--shots", "2", "--cot", "--annotator", "sandbox", "--set=data.labelled=20")
    code, _, err = ask("says-positive", *more, '--set=eval.hosted.decodings=["greedy"]')
    assert code == 0, err
    (message,) = server.bodies[0]["messages"]
    text = message["content"]
    asking = (
        '\nLet\'s think step by step. End with the line "The answer is: ..." and, in place of the dots, "negative" or '
    )
    assert text.count(asking) == 3
    assert text.count("The answer is: ") == 3 + 2, "two examples have an answer"
    assert text.endswith('"negative" or "positive".')
    result = read_json(folder() / "result.json")
    assert (result["method"], result["shots"]) == ("m 2-shot CoT", 2)
    assert (result["cost"]["gold_labels"], result["cost"]["annotator_calls"]) == (2, 2)
    assert list(result["columns"]["sandbox-sentiment"]) == ["greedy"]
    assert all(row["answer"] == "positive" for row in read_jsonl(folder() / "predictions.jsonl"))


@pytest.mark.parametrize(
    ("behaviour", "outcome", "answered"), [("filter", "filtered", False), ("truncated", "truncated", True)]
)
def test_what_is_withheld_or_cut_is_malformed(ask: Asked, behaviour: str, outcome: str, answered: bool) -> None:
    assert ask(behaviour, "--format", "label")[0] == 0
    assert read_json(folder() / "result.json")["hosted"]["outcomes"] == {outcome: 2 * ROWS}
    rows = list(read_jsonl(folder() / "predictions.jsonl"))
    assert {(bool(row["response"]), row["answer"], row["finished"]) for row in rows} == {(answered, None, False)}


def test_too_many_failures_leave_no_number(ask: Asked) -> None:
    code, _, err = ask("500", "--format", "label", "--set=annotate.breaker=1000")
    assert code == 1
    assert f"{2 * ROWS} of {2 * ROWS} requests failed, more than annotate.max_failed = 0.05" in err
    assert not (folder() / "result.json").exists()


def test_a_model_that_reasons_has_no_greedy_column(ask: Asked, server: ChatServer) -> None:
    code, _, err = ask("reasoner", "--format", "label", "--set=annotate.reasoning=yes")
    assert code == 0, err
    assert server.requests == ROWS
    assert list(read_json(folder() / "result.json")["columns"]["sandbox-sentiment"]) == ["sampled"]


def test_a_plan_counts_requests_and_dollars_and_asks_nothing(
    ask: Asked, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = ask("says-positive", "--format", "judgement", "--dry-run")
    assert code == 0, err
    assert f"{2 * ROWS} requests to m (0 more are in the journal)" in out
    assert "$" in out
    assert server.requests == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    code, _, err = ask("says-positive", "--format", "judgement")
    assert (code, "OPENAI_API_KEY is not set" in err) == (2, True)


def test_the_budget_is_kept(ask: Asked, server: ChatServer) -> None:
    code, _, err = ask("says-positive", "--format", "judgement", "--budget-usd", "0.01", "--set=annotate.concurrency=1")
    assert code == 1
    assert "--budget-usd" in err
    assert 0 < server.requests < 2 * ROWS


def test_batches_are_submitted_and_fetched(ask: Asked, server: ChatServer) -> None:
    code, out, _ = ask(
        "says-positive", "--format", "judgement", "--batch", "submit", '--set=eval.hosted.decodings=["greedy"]'
    )
    assert (code, f"{ROWS} requests submitted" in out) == (0, True)
    server.batches.finish()
    code, _, err = ask(
        "says-positive", "--format", "judgement", "--batch", "fetch", '--set=eval.hosted.decodings=["greedy"]'
    )
    assert code == 0, err
    assert server.requests == 0
    assert read_json(folder() / "result.json")["hosted"]["outcomes"] == {"answered": ROWS}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--cot", "--format", "label"), "eval.chain_of_thought needs --format rationale, found --format label"),
        (("--best-of", "4", "--reward", "rule"), "eval.best_of chooses among answers of a local model"),
        (("--set=eval.hosted.base_url=http://a:b@host/v1",), "a key belongs into the environment"),
    ],
)
def test_what_does_not_go_together_is_told(ask: Asked, more: tuple[str, ...], told: str) -> None:
    code, _, err = ask("says-positive", *more)
    assert code == 2
    assert told in err


def test_a_hosted_model_has_a_name(ask: Asked, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["eval", "--hosted", "--task", "sandbox-sentiment"]) == 2
    assert "name the model, such as --set eval.hosted.model=gpt-4o" in capfd.readouterr().err
