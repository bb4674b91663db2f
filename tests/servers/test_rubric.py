"""The reward ``rubric`` as typed, against a real server: what is asked, kept, charged, and what has no score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from rewardlab.disk import read_json, read_jsonl
from tests.servers.annotating import ANSWER_USD, CENT, KEY, everything_written
from tests.servers.chat_server import ChatServer

Typed = Callable[..., tuple[int, str, str]]
ROWS = 12


@pytest.fixture
def settings(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Options of a hosted grader with a behaviour, in an empty folder."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text(CENT)

    def options(behaviour: str) -> list[str]:
        own = ["rubric.annotator=openai", "rubric.model=m", f"rubric.base_url={server.url(behaviour)}"]
        quick = ["annotate.attempts=2", "annotate.backoff_s=0.01", "annotate.prices=prices.toml"]
        return [f"--set={each}" for each in (*own, *quick)]

    return options


@pytest.fixture
def score(settings: Callable[[str], list[str]], capfd: pytest.CaptureFixture[str]) -> Typed:
    """``reward score`` on answers of 1, 2, ... 12 words; returns exit code, standard output and standard error."""
    rows = [
        {"id": str(n), "text": "Rovers won.", "label": "Sports", "response": "word " * n} for n in range(1, ROWS + 1)
    ]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(behaviour: str, *more: str) -> tuple[int, str, str]:
        typed = ["--task", "agnews", "--input", "answers.jsonl", "--reward", "rubric", *settings(behaviour), *more]
        return cli.run(["reward", "score", *typed]), *capfd.readouterr()

    return run


def scores(out: str) -> list[float | None]:
    return [json.loads(line)["score"] for line in out.splitlines()]


def test_a_batch_is_asked_at_once_by_the_rubric_and_paid_once(score: Typed, server: ChatServer) -> None:
    code, out, err = score("slow")
    assert code == 0, err
    assert scores(out) == [min(10, words) / 10 for words in range(1, ROWS + 1)]
    assert server.requests == ROWS
    assert server.in_flight_peak > 1
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in server.bodies} == {("m", 0.0, 16)}
    [message] = server.bodies[0]["messages"]
    assert "Rovers won." in message["content"]
    assert message["content"].startswith("You grade one response to a question.")
    assert f"{ROWS} grades for ${ROWS * ANSWER_USD:.4f}." in err
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[0]["cost_usd"] == pytest.approx(ANSWER_USD)
    assert score("slow")[1] == out, "prices of answers stay what they were"
    assert server.requests == ROWS
    assert KEY not in everything_written()


def test_another_scale_or_rubric_is_another_question(score: Typed, server: ChatServer) -> None:
    score("says-4")
    assert scores(score("says-4", "--set=rubric.scale=1-5")[1]) == [0.75] * ROWS
    Path("mine.jinja").write_text("Grade {{ response }}")
    assert scores(score("says-4", "--set=rubric.template=mine.jinja")[1]) == [0.4] * ROWS
    assert server.requests == 3 * ROWS
    assert server.bodies[-1]["messages"][0]["content"].startswith("Grade word")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("refusal", "no grade"),
        ("declined", "refused: "),
        ("filter", "filtered: "),
        ("truncated", "cut at rubric.max_tokens"),
        ("500", "failed: "),
        ("says-11", "'11' is not on the scale 0-10"),
    ],
)
def test_what_is_no_grade_is_no_score(score: Typed, behaviour: str, reason: str) -> None:
    code, out, err = score(behaviour, "--set=annotate.breaker=100")
    assert code == 0, err
    assert scores(out) == [None] * ROWS
    assert all(json.loads(line)["reason"].startswith(f"rubric: {reason}") for line in out.splitlines())
    assert "no score, 100.0% unscored" in err


def test_the_budget_and_the_breaker_end_it(score: Typed, server: ChatServer) -> None:
    code, _, err = score("ok", "--set=annotate.budget_usd=0.01", "--set=annotate.concurrency=1")
    assert (code, "annotate.budget_usd = 0.01" in err) == (1, True)
    assert 0 < server.requests < ROWS
    code, _, err = score("500", "--set=annotate.breaker=3", "--set=rubric.scale=1-5")
    assert (code, "3 requests failed in a row" in err) == (1, True)


def test_batches_are_submitted_and_fetched(score: Typed, server: ChatServer) -> None:
    code, out, err = score("ok", "--set=annotate.batch=submit")
    assert (code, f"{ROWS} requests submitted" in out) == (0, True), err
    server.batches.finish()
    code, out, err = score("ok", "--set=annotate.batch=fetch")
    assert code == 0, err
    assert scores(out) == [min(10, words) / 10 for words in range(1, ROWS + 1)]
    assert server.requests == 0


def test_training_asks_the_server_and_its_result_has_the_cost(
    settings: Callable[[str], list[str]], server: ChatServer, capfd: pytest.CaptureFixture[str]
) -> None:
    data = [f"--set=data.{part}=8" for part in ("labelled", "prompts", "validation", "test")]
    small = ["--set=init=base", "--set=grpo.steps=2", "--set=grpo.batch=8", "--set=grpo.validate_every=0", *data]
    typed = ["grpo", "--task", "sandbox-sentiment", "--format", "label", "--reward", "0.5 * rubric + rule", *small]
    assert cli.run([*typed, *settings("ok"), "--dry-run"]) == 0
    assert "16 grades of m, fewer where answers repeat" in capfd.readouterr().out
    assert cli.run([*typed, *settings("ok")]) == 0, capfd.readouterr().err
    [folder] = Path("runs/grpo").iterdir()
    result, rows = read_json(folder / "result.json"), list(read_jsonl(folder / "samples.jsonl"))
    assert len(rows) == 16
    for row in rows:
        assert row["parts"]["rubric"] == min(10, len(row["response"].split())) / 10
        assert row["score"] == pytest.approx(0.5 * row["parts"]["rubric"] + row["parts"]["rule"])
    different = len({(row["id"], row["response"].strip()) for row in rows})
    assert result["annotator_calls"] == server.requests == different
    assert result["spent"]["cost_usd"] == pytest.approx(different * ANSWER_USD)
    assert cli.run([*typed, *settings("ok"), "--set=annotate.batch=submit"]) == 2
    assert "grpo needs the grades of each step at once" in capfd.readouterr().err
