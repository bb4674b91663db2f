"""The studio as a web application: addresses to pages, errors to pages, verdicts to the journal. Reads, but for those.

It answers only to the names it was started under, so that a page of another site cannot reach it through a name of its
own (DNS rebinding), and takes a verdict only with the token of its own pages. Pages load nothing from elsewhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

import rewardlab.reports
from rewardlab.errors import RewardlabError
from rewardlab.studio.addresses import ASSETS, Live
from rewardlab.studio.pages import MissingPageError, Shown, Studio
from rewardlab.studio.rendering import HERE, render

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        # matplotlib's charts have style attributes; rules, and all scripts, come from files of ours
        "default-src 'none'; style-src 'self'; style-src-attr 'unsafe-inline'; script-src 'self'; "
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LONGEST_VERDICT = 1_000_000
"""Bytes of a verdict that are read."""


def build_app(studio: Studio, hosts: Sequence[str] = LOOPBACK) -> Starlette:
    """The application.

    Args:
        studio: What it shows.
        hosts: Names that it answers to; ``*`` is any.
    """
    server = _Server(studio, secrets.token_urlsafe(16))
    routes = [Route(path, server.page(show)) for path, show in _shown(studio).items()]
    routes.append(Route("/verdict/{file}/{row:int}/{key:path}", server.verdict, methods=["POST"]))
    routes.append(Route("/assets/{name}", _asset))
    handlers: dict[Any, Any] = {RewardlabError: server.failed, HTTPException: server.failed}
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))]
    app = Starlette(routes=routes, exception_handlers=handlers, middleware=middleware)
    app.router.redirect_slashes = False  # an address that is not there is not there under another spelling either
    return app


def _shown(studio: Studio) -> Mapping[str, Callable[[Request], Shown]]:
    """Address -> what it shows."""
    return {
        "/": lambda request: studio.home(_asked(request)),
        "/run/{key:path}": lambda request: studio.one_run(_key(request)),
        "/samples/{key:path}": lambda request: studio.samples(_key(request), _asked(request)),
        "/sample/{row:int}/{key:path}": lambda request: studio.sample(_key(request), request.path_params["row"]),
        "/prompt/{key:path}": lambda request: studio.prompt(
            _key(request), request.query_params.get("task", ""), request.query_params.get("id", "")
        ),
        "/expression/{key:path}": lambda request: studio.expression(_key(request), _asked(request)),
        "/difference": lambda request: studio.difference(_two(request)),
        "/side": lambda request: studio.side(studio.evaluated(_two(request)), _asked(request)),
        "/pairs/{file}/{key:path}": lambda request: studio.pairs(
            _key(request), request.path_params["file"], _asked(request)
        ),
    }


def _key(request: Request) -> str:
    return str(request.path_params["key"])


def _asked(request: Request) -> dict[str, str]:
    return dict(request.query_params)


def _two(request: Request) -> list[str]:
    """The runs of an address that shows two."""
    return request.query_params.getlist("run")


class _Server:
    """Answers to requests.

    Args:
        studio: What is shown.
        token: Stands in every form; a verdict without it comes from elsewhere.
    """

    def __init__(self, studio: Studio, token: str) -> None:
        self._studio = studio
        self._token = token
        self._to = Live()

    def page(self, show: Callable[[Request], Shown]) -> Callable[[Request], Response]:
        """An endpoint; Starlette runs it in a thread, so that a large file does not block other requests."""

        def endpoint(request: Request) -> Response:
            return self._answer(show(request))

        return endpoint

    async def verdict(self, request: Request) -> Response:
        """Store a verdict on a pair, then lead to the next one."""
        form = await _form(request)
        if not secrets.compare_digest(form.get("token", "").encode(), self._token.encode()):
            raise HTTPException(403, "the verdict was not stored: this page is older than the studio; load it again")
        file, row = request.path_params["file"], request.path_params["row"]
        next_row = await run_in_threadpool(_store, self._studio, _key(request), file, row, form)
        asked = {"row": str(next_row), "reviewer": form.get("reviewer", "")}
        return RedirectResponse(self._to.pairs(_key(request), file, asked), 303)

    def failed(self, request: Request, error: Exception) -> Response:
        """A page that says what is wrong."""
        status, title, message = _problem(error)
        return self._answer(Shown("problem.html.j2", {"title": title, "message": message}), status)

    def _answer(self, shown: Shown, status: int = 200) -> HTMLResponse:
        common = {"root": str(self._studio.index.root), "token": self._token}
        return HTMLResponse(render(shown, self._to, common), status, HEADERS)


def asset_file(name: str) -> Path:
    """Where a style or a script lies: charts follow the reports' colours."""
    folder = Path(rewardlab.reports.__file__).parent if name == "chart.css" else HERE
    return folder / "assets" / name


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        raise HTTPException(404, "no such file")
    return FileResponse(asset_file(name), headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"})


def _store(studio: Studio, key: str, file: str, row: int, form: Mapping[str, str]) -> int:
    """Store a verdict; returns the next pair that its reviewer has not judged."""
    pairs = studio.pairs_of(studio.run(key), file)
    decision, reviewer = form.get("decision", ""), form.get("reviewer", "").strip()
    edited = form.get("edited", "") if decision == "edit" else ""
    pairs.store(row, decision, edited.replace("\r\n", "\n"), reviewer)
    return studio.pairs_of(studio.run(key), file).unjudged(reviewer, row)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; the last one of each name."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_VERDICT:
            raise HTTPException(413, f"a verdict of more than {LONGEST_VERDICT} bytes is not stored")
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def _problem(error: Exception) -> tuple[int, str, str]:
    """Status, title and message of an error page."""
    if isinstance(error, MissingPageError):
        return 404, "Nothing here", str(error)
    if isinstance(error, HTTPException):
        told = "no page has this address" if error.detail == "Not Found" else error.detail
        return error.status_code, "Nothing here" if error.status_code == 404 else "Not done", told
    return 422, "This cannot be shown", str(error)
