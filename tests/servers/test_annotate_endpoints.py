"""``rewardlab annotate`` against endpoints of other kinds: models that reason first, addresses where nobody answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardlab.disk import read_json, read_jsonl
from tests.servers.annotating import KEY, REQUESTS, Typed, everything_written, folder, outcomes
from tests.servers.chat_server import ChatServer
from tests.servers.http_server import Reply, Request


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
        annotate("hanging", "--set", "annotate.timeout_s=0.01", "--set", "annotate.breaker=1000", "--concurrency", "48")
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

    @pytest.mark.parametrize(
        "url", ["http://bob:hunter2@host/v1", "https://host/v1?api-key=hunter2", "http://[hunter2@"]
    )
    @pytest.mark.parametrize("way", ["option", "setting", "environment"])
    def test_a_secret_in_the_address_is_refused_and_nowhere_repeated(
        self, annotate: Typed, monkeypatch: pytest.MonkeyPatch, url: str, way: str
    ) -> None:
        if way == "environment":
            monkeypatch.setenv("OPENAI_BASE_URL", url)
        given = {"option": ["--base-url", url], "setting": ["--set", f"annotate.base_url={url}"]}
        code, out, err = annotate("ok", *given.get(way, ["--base-url", ""]))
        assert code == 2
        assert "a user, a password or a query; " in err
        assert "hunter2" not in out + err
        assert not Path("runs").exists()

    def test_only_hosted_models_have_batches(self, annotate: Typed) -> None:
        code, _, err = annotate("ok", "--batch", "submit", "--annotator", "sandbox")
        assert code == 2
        assert "this run would ask sandbox" in err
        assert not Path("runs").exists()


class TestRedirects:
    """An endpoint that sends a request on: within itself it is followed, elsewhere neither key nor prompt goes."""

    @pytest.fixture
    def elsewhere(self) -> Iterator[ChatServer]:
        with ChatServer() as other:
            yield other

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_another_origin_is_refused(
        self, annotate: Typed, server: ChatServer, elsewhere: ChatServer, status: int
    ) -> None:
        asked = redirect(server, f"{elsewhere.url('ok')}/chat/completions", status)
        code, out, err = annotate("moved")
        assert code == 1
        assert f"redirect to http://127.0.0.1:{elsewhere.port}, to which prompts and key are not sent" in err
        assert elsewhere.headers == set()
        assert elsewhere.requests == 0
        assert len(asked) <= 8  # those in flight at once; none is tried again
        assert KEY not in out + err + everything_written()

    def test_the_same_origin_is_followed(self, annotate: Typed, server: ChatServer) -> None:
        redirect(server, f"{server.url('ok')}/chat/completions", 307)
        code, _, err = annotate("moved")
        assert code == 0, err
        assert outcomes() == {"answered": REQUESTS}


def redirect(server: ChatServer, target: str, status: int) -> list[str]:
    """Have the behaviour ``moved`` send everybody to ``target``; returns the paths that are asked for there."""
    answer, asked = server.answer, []

    async def moved(request: Request) -> Reply:
        if not request.path.startswith("/moved/"):
            return await answer(request)
        asked.append(request.path)
        return Reply(b"", status, headers={"Location": target})

    server.answer = moved
    return asked
