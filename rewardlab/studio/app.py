"""The studio as a web application: addresses to pages, errors to pages, verdicts to the journal. Reads, but for those.

It answers only to the names it was started under, so that a page of another site cannot reach it through a name of its
own (DNS rebinding), and takes a verdict only with the token of its own pages. Pages load nothing from elsewhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

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
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
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
    token = secrets.token_urlsafe(16)
    to = Live()

    def answer(shown: Shown, status: int = 200) -> HTMLResponse:
        common = {"root": str(studio.index.root), "token": token}
        return HTMLResponse(render(shown, to, common), status, HEADERS)

    def page(show: Callable[[Request], Shown]) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            return answer(show(request))

        return endpoint

    async def verdict(request: Request) -> Response:
        form = await _form(request)
        if not secrets.compare_digest(form.get("token", "").encode(), token.encode()):
            raise HTTPException(403, "the verdict was not stored: this page is older than the studio; load it again")
        key, file, row = (request.path_params[name] for name in ("key", "file", "row"))
        next_row = await run_in_threadpool(_store, studio, key, file, row, form)
        asked = {"row": next_row, "reviewer": form.get("reviewer", "")}
        return RedirectResponse(f"{to.pairs(key, file)}?{urlencode(asked)}", 303)

    def failed(request: Request, error: Exception) -> Response:
        status, title, message = _problem(error)
        return answer(Shown("problem.html.j2", {"title": title, "message": message}), status)

    shown: Mapping[str, Callable[[Request], Shown]] = {
        "/": lambda request: studio.home(dict(request.query_params)),
        "/run/{key:path}": lambda request: studio.one_run(request.path_params["key"]),
        "/samples/{key:path}": lambda request: studio.samples(request.path_params["key"], dict(request.query_params)),
        "/sample/{row:int}/{key:path}": lambda request: studio.sample(
            request.path_params["key"], request.path_params["row"]
        ),
        "/prompt/{key:path}": partial(_prompt, studio),
        "/expression/{key:path}": lambda request: studio.expression(
            request.path_params["key"], dict(request.query_params)
        ),
        "/difference": lambda request: studio.difference(request.query_params.getlist("run")),
        "/side": lambda request: studio.side(
            studio.evaluated(request.query_params.getlist("run")), dict(request.query_params)
        ),
        "/pairs/{file}/{key:path}": lambda request: studio.pairs(
            request.path_params["key"], request.path_params["file"], dict(request.query_params)
        ),
    }
    routes = [Route(path, page(show)) for path, show in shown.items()]
    routes.append(Route("/verdict/{file}/{row:int}/{key:path}", verdict, methods=["POST"]))
    routes.append(Route("/assets/{name}", _asset))
    handlers: dict[Any, Any] = {RewardlabError: failed, HTTPException: failed}
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))]
    app = Starlette(routes=routes, exception_handlers=handlers, middleware=middleware)
    app.router.redirect_slashes = False  # an address that is not there is not there under another spelling either
    return app


def asset_file(name: str) -> Path:
    """Where a style or a script lies: charts follow the reports' colours."""
    folder = Path(rewardlab.reports.__file__).parent if name == "chart.css" else HERE
    return folder / "assets" / name


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        raise HTTPException(404, "no such file")
    return FileResponse(asset_file(name), headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"})


def _prompt(studio: Studio, request: Request) -> Shown:
    asked = request.query_params
    return studio.prompt(request.path_params["key"], asked.get("task", ""), asked.get("id", ""))


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
