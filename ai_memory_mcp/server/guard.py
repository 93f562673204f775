"""What every request passes first: is it meant for this server, who sends it, is there room for it. And the log.

Nothing behind it runs for a request that is refused, so a new route is guarded from its first day. Of a request's
body and token the log tells nothing.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import time
from collections.abc import Callable, Iterable
from urllib.parse import quote, urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_memory_mcp.errors import AiMemoryError
from ai_memory_mcp.server.access import EVERYBODY, Access
from ai_memory_mcp.server.logins import ENTER, LOGIN, WEB, Logins, cookie_of, is_page
from ai_memory_mcp.tokens import Tokens

STATIC = ("style.css", "script.js", "icon.svg")
# what tells nothing of the memory: that the server lives, how to log in and what that looks like
OPEN = ("/healthz", LOGIN, ENTER, *(f"{WEB}/static/{name}" for name in STATIC))
CLOSED = {  # what an answer says to browsers if nothing else
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
BODY = 8 * 2**20  # bytes of one request
BODIES = 64 * 2**20  # bytes of all requests that are being read or served
BODY_WAIT = 30.0  # seconds for a request to come in
IN_FLIGHT = 500  # requests; how many of a kind may wait for each other is the business of `workers`
RATE, BURST = 100.0, 400.0  # requests of one token: a second, and at once
STRANGERS = 0.2, 20.0  # the same of one address without a token that opens
REMEMBERED = 10_000  # buckets
LOCAL_NAMES = ("localhost",)

_log = logging.getLogger("ai_memory_mcp.requests")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's own, and nobody else can reach it."""
    if host in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """Return an error as clients understand it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


class Buckets:
    """How many requests each caller may still make: `rate` more each second, never more than `burst`."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> float:
        """Count one request; returns 0.0, or the seconds after which there will be room for it."""
        left = self._now(who)
        if left < 1.0:
            return (1.0 - left) / self._rate
        self._left.pop(who, None)
        self._left[who] = (left - 1.0, self._clock())
        if len(self._left) > REMEMBERED:
            del self._left[next(iter(self._left))]
        return 0.0

    def _now(self, who: str) -> float:
        left, at = self._left.get(who, (self._burst, self._clock()))
        return min(self._burst, left + (self._clock() - at) * self._rate)


class Guard:
    """The outermost application. `hosts` are the names under which this server may be asked, besides its own."""

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens,
        hosts: Iterable[str],
        logins: Logins,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._tokens = tokens
        self._logins = logins
        self._hosts = {host.lower() for host in hosts}
        self._clock = clock
        self._callers = Buckets(RATE, BURST, clock)
        self._strangers = Buckets(*STRANGERS, clock)
        self._in_flight = 0
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        begun, status = self._clock(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = MutableHeaders(scope=message)
                for name, value in CLOSED.items():
                    told.setdefault(name, value)
            await send(message)

        try:
            await self._serve(scope, receive, noting)
        finally:
            _note(scope, status, self._clock() - begun)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refused = self._misdirected(headers)
        if refused is None and scope["path"] not in OPEN:
            refused = self._unknown(scope, headers)
        elif refused is None and scope["path"] in (LOGIN, ENTER) and scope["method"] != "GET":
            refused = self._guess(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        if self._in_flight >= IN_FLIGHT:
            await busy(1.0)(scope, receive, send)
            return
        self._in_flight += 1
        held = 0
        try:
            body, held, refused = await self._body(headers, receive)
            await (refused or self.app)(scope, receive if refused else _replayed(body, receive), send)
        finally:
            self._in_flight -= 1
            self._held -= held

    def _misdirected(self, headers: Headers) -> Response | None:
        """Refuse what a browser sends because a page of somebody else told it to (DNS rebinding)."""
        host = headers.get("host", "").lower()
        name = _name_of(host)
        if name not in self._hosts and not is_loopback(name) and not _is_address(name):
            return refusal(421, "host", "this server does not go by that name; see serve-http --allow-host")
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            return refusal(403, "origin", "this server takes no requests from other sites")
        return None

    def _unknown(self, scope: Scope, headers: Headers) -> Response | None:
        """Note in the scope who asks; refuse who has no token, or too many requests."""
        try:
            access = self._access(scope, headers)
        except AiMemoryError as error:
            return refusal(503, error.code, str(error))
        if access is None:
            if _wants_page(scope, headers):
                return RedirectResponse(f"{LOGIN}?to={quote(_page_asked(scope), safe='')}", 303)
            return self._guess(scope) or refusal(
                401, "access", "a token of this server is needed: set AI_MEMORY_TOKEN", **{"WWW-Authenticate": "Bearer"}
            )
        wait = self._callers.take(access.name)
        if wait:
            return busy(wait)
        scope.setdefault("state", {})["access"] = access
        return None

    def _guess(self, scope: Scope) -> Response | None:
        """Count a request that may be a guess; refuse it where there were too many."""
        wait = self._strangers.take((scope.get("client") or ("", 0))[0])
        return busy(wait) if wait else None

    def _access(self, scope: Scope, headers: Headers) -> Access | None:
        login = self._logins.find(cookie_of(scope)) if is_page(scope["path"]) else None
        if login is not None:
            return Access(login.name, login.read_only, login.workspaces)
        if not self._tokens.all():
            forwarded = {"forwarded", "x-forwarded-for", "x-real-ip", "via"} & set(headers)
            return None if forwarded else EVERYBODY  # a proxy brings people who are not on this machine
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        token = self._tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
        return Access(token.name, token.read_only, token.workspaces) if token else None

    async def _body(self, headers: Headers, receive: Receive) -> tuple[bytes, int, Response | None]:
        """Read the whole body, within bounds. Returns it, how many bytes are held for it, and why it is refused."""
        try:
            told = int(headers.get("content-length", "0"))
        except ValueError:
            told = 0
        chunks: list[bytes] = []
        size = 0
        try:
            with anyio.fail_after(BODY_WAIT):
                more = told <= BODY
                while more:
                    message = await receive()
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    self._held += len(chunk)
                    chunks.append(chunk)
                    more = message["type"] == "http.request" and message.get("more_body", False) and size <= BODY
                    if self._held > BODIES:
                        return b"", size, busy(1.0)
        except TimeoutError:
            return b"", size, refusal(408, "server", "the request did not come in within 30 seconds")
        if max(size, told) > BODY:
            return b"", size, refusal(413, "server", f"a request may have {BODY // 2**20} MiB")
        return b"".join(chunks), size, None


class Busy(Exception):
    """There is no room for this request now; whoever raises it says when there may be."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


def busy(seconds: float) -> Response:
    """Return the answer to a request that there is no room for now."""
    return refusal(
        429, "server", "the server has too much to do; try again", **{"Retry-After": str(max(1, round(seconds)))}
    )


def _wants_page(scope: Scope, headers: Headers) -> bool:
    """Tell whether this is a person with a browser who can be asked to log in."""
    shown = "text/html" in headers.get("accept", "") and "authorization" not in headers
    return is_page(scope["path"]) and shown


def _page_asked(scope: Scope) -> str:
    if scope["method"] != "GET":
        return WEB
    query = scope.get("query_string", b"").decode("latin-1")
    return str(quote(scope["path"])) + (f"?{query}" if query else "")


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _name_of(host: str) -> str:
    """Return the name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """Tell whether this is no name: what a browser was sent to by an address, nobody has rebound by DNS."""
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _note(scope: Scope, status: int, seconds: float) -> None:
    access = scope.get("state", {}).get("access")
    path = json.dumps(scope["path"])[1:-1]  # no line of the log is anybody's but ours
    who = access.name if access else "-"
    address = (scope.get("client") or ("-", 0))[0]
    _log.info("%s %s %s %s %d %d ms", address, who, scope["method"], path, status, seconds * 1000)
