"""The routes of the browser's pages. A page that was shown a moment ago is told again while nothing has changed.

What is shown is asked of `Memory` in a thread, by whoever looks and read only, whatever his token may.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ai_memory_mcp.memory import Memory
from ai_memory_mcp.server.access import Access, guarded
from ai_memory_mcp.server.guard import STATIC
from ai_memory_mcp.server.logins import ENTER, LOGIN, WEB, Logins, cookie_of
from ai_memory_mcp.server.web import places, templates, views
from ai_memory_mcp.server.web.answers import (
    HEADERS,
    THEMES,
    answer,
    error_page,
    frame,
    go,
    keep_session,
    keep_theme,
    theme_of,
)
from ai_memory_mcp.server.web.views import Asked, Go, View

FRESH = 5.0  # seconds: what was edited by hand shows after them
KEPT = 100  # pages
LARGEST = 200_000  # bytes of a page that is kept
FORM = 10_000  # bytes
PAGE_ID = 40  # characters

PAGES: tuple[tuple[str, View, str], ...] = (
    ("", views.home, "home.html"),
    ("/", views.home, "home.html"),
    ("/search", views.search, "search.html"),
    ("/find", views.find, ""),
    ("/handoffs", views.handoffs_of_all, "handoffs_of_all.html"),
    ("/health", views.health, "health.html"),
    ("/p/{project}", views.project, "project.html"),
    ("/p/{project}/pages", views.tree, "tree.html"),
    ("/p/{project}/page/{path:path}", views.page, "page.html"),
    ("/p/{project}/history", views.history, "history.html"),
    ("/p/{project}/history/{path:path}", views.history, "history.html"),
    ("/p/{project}/sessions", views.sessions, "sessions.html"),
    ("/p/{project}/session/{session}", views.session, "session.html"),
    ("/p/{project}/handoffs", views.handoffs, "handoffs.html"),
    ("/p/{project}/health", views.project_health, "health.html"),
)


class Ask(Protocol):
    """How work on the memory is done, away from the loop."""

    def __call__(self, work: Callable[[Memory], bytes | Go], /) -> Awaitable[bytes | Go]: ...


@dataclass
class Site:
    """What the pages work with. `stamp` says cheaply whether anything has changed; None where nothing can."""

    ask: Ask
    logins: Logins
    stamp: Callable[[], object] | None = None
    shown: Callable[[str, bool], None] | None = None  # told which page is there or is not; None where nobody asks
    kept: dict[object, tuple[float, bytes, str]] = field(default_factory=dict)  # until when, page, its tag


def routes_of(site: Site) -> list[Route]:
    """Return the routes of all pages."""
    shown = [
        Route(WEB + path, _shows(site, view, template), methods=["GET"], name=view.__name__)
        for path, view, template in PAGES
    ]

    async def log_in(request: Request) -> Response:
        return await _log_in(site, request)

    async def enter(request: Request) -> Response:
        return _enter(site, request)

    async def log_out(request: Request) -> Response:
        _require_own_form(request)
        site.logins.end(cookie_of(request.scope))
        told = go(LOGIN)
        told.headers["Clear-Site-Data"] = '"cache"'
        keep_session(request, told, "")
        return told

    async def beat(request: Request) -> Response:
        _require_own_form(request)
        if site.shown is not None and (page := request.query_params.get("page", "")[:PAGE_ID]):
            site.shown(page, request.query_params.get("left") != "1")
        return Response(status_code=204)

    return [
        *shown,
        Route(LOGIN, log_in, methods=["GET", "POST"]),
        Route(ENTER, enter, methods=["GET"]),
        Route(f"{WEB}/logout", log_out, methods=["POST"]),
        Route(f"{WEB}/theme", _theme, methods=["POST"]),
        Route(f"{WEB}/beat", beat, methods=["POST"]),
        *(Route(f"{WEB}/static/{name}", _static(name), methods=["GET"]) for name in STATIC),
    ]


# --- pages


def _shows(site: Site, view: View, template: str) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        access: Access = request.state.access._replace(read_only=True)
        stamp = site.stamp() if site.stamp else None
        key = (access, request.scope["path"], request.scope["query_string"], theme_of(request), stamp)
        until, body, tag = site.kept.get(key, (0.0, b"", ""))
        if stamp is None or time.monotonic() > until:
            asked = Asked(request.path_params, request.query_params, access.workspaces)
            around = frame(request)

            def work(memory: Memory) -> bytes | Go:
                seen = view(guarded(memory, access), asked)
                return seen if isinstance(seen, Go) else templates.page(template, around | seen)

            made = await site.ask(work)
            if isinstance(made, Go):
                return go(made.address)
            body, tag = made, f'"{blake2b(made, digest_size=12).hexdigest()}"'
            _keep(site, key, body, tag)
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={**HEADERS, "ETag": tag})
        told = answer(body)
        told.headers["ETag"] = tag
        return told

    return show


def _keep(site: Site, key: object, body: bytes, tag: str) -> None:
    if len(body) <= LARGEST:
        site.kept.pop(key, None)
        site.kept[key] = (time.monotonic() + FRESH, body, tag)
    while len(site.kept) > KEPT:
        del site.kept[next(iter(site.kept))]


def _static(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        body, kind = templates.static(name)
        return Response(body, headers={"Cache-Control": "public, max-age=31536000, immutable"}, media_type=kind)

    return serve


# --- coming in, going out


async def _log_in(site: Site, request: Request) -> Response:
    back = places.within(request.query_params.get("to", ""))
    if request.method == "POST":
        _require_own_form(request)
        form = await _form(request)
        back = places.within(form.get("to", ""))
        cookie = "" if site.logins.by_key else site.logins.begin(form.get("token", "").strip())
        if cookie:
            told = go(back)
            keep_session(request, told, cookie)
            return told
    seen = {
        **frame(request),
        "to": back,
        "wrong": request.method == "POST",
        "tokens": bool(site.logins.tokens.all()),
    }
    return answer(templates.page("login.html", seen), 401 if request.method == "POST" else 200)


def _enter(site: Site, request: Request) -> Response:
    """Exchange the key in the address for a cookie, and go on at an address without it."""
    cookie = site.logins.enter(request.query_params.get("key", ""))
    if not cookie:
        return error_page(request, 403, "This address was good for one time. Run `ai-memory-mcp serve-web` again.")
    told = go(WEB)
    keep_session(request, told, cookie)
    return told


async def _theme(request: Request) -> Response:
    _require_own_form(request)
    form = await _form(request)
    told = go(places.within(form.get("back", "")))
    if form.get("theme") in THEMES:
        keep_theme(request, told, form["theme"])
    return told


def _require_own_form(request: Request) -> None:
    """Raise for a form that is not one of these pages' own. (The guard has refused every origin but this host.)"""
    if "origin" not in request.headers and request.headers.get("sec-fetch-site") != "same-origin":
        raise HTTPException(403, "only a form of these pages may ask for this")


async def _form(request: Request) -> dict[str, str]:
    body = await request.body()
    if len(body) > FORM:
        raise HTTPException(413, "this form is too long")
    try:
        return {
            name: values[0] for name, values in parse_qs(body.decode("ascii", "replace"), max_num_fields=10).items()
        }
    except ValueError:
        raise HTTPException(400, "this form cannot be read") from None
