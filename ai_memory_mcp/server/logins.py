"""Who has logged in with a browser: random sessions, in this process only, so that its end ends them all.

A cookie names a session and opens pages only; what a session may is asked of its token at every request, so a
revoked token ends it at once. Nothing of it is ever on the disk.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import Scope

from ai_memory_mcp.tokens import Token, Tokens

WEB = "/web"
LOGIN = f"{WEB}/login"
ENTER = f"{WEB}/enter"  # with the key of `serve-web`, once
IDLE = 2 * 3600.0  # seconds after which a session that nobody uses is over
LONGEST = 12 * 3600.0  # and after this long in any case
MOST = 1_000  # sessions; a new one ends the oldest


def is_page(path: str) -> bool:
    """Tell whether a path is one of the browser's."""
    return path == WEB or path.startswith(WEB + "/")


def cookie_name(scope: Scope) -> str:
    """Return the name of the cookie: a browser sends it to every port of this host, so each server has its own."""
    return f"ai-memory-{(scope.get('server') or ('', 0))[1]}"


def cookie_of(scope: Scope) -> str:
    """Return the session that a request names; '' for none."""
    return Request(scope).cookies.get(cookie_name(scope), "")


class Logins:
    """The sessions of one server. With a `key` there is no form: whoever has the key enters with it, once."""

    def __init__(self, tokens: Tokens, key: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = tokens
        self.by_key = bool(key)
        self._key = key
        self._clock = clock
        self._sessions: dict[str, tuple[str, float, float]] = {}  # hash -> hash of its token, begun, last used

    def begin(self, secret: str) -> str:
        """Return the cookie of a new session for who has this token; '' when it is none."""
        token = self.tokens.find(secret)
        return self._begin(token) if token else ""

    def enter(self, key: str) -> str:
        """Return the cookie of a new session for who has the key; '' when it is wrong or was used."""
        wanted, tokens = self._key, self.tokens.all()
        if not wanted or not tokens or not secrets.compare_digest(key.encode(), wanted.encode()):
            return ""
        self._key = ""
        return self._begin(tokens[-1])

    def find(self, cookie: str) -> Token | None:
        """Return the token that a session was begun with, while both are good."""
        name, now = _hash(cookie), self._clock()
        token_hash, begun, used = self._sessions.get(name, ("", 0.0, 0.0))
        token = next((token for token in self.tokens.all() if token.hash == token_hash), None)
        if not cookie or token is None or now - used > IDLE or now - begun > LONGEST:
            self._sessions.pop(name, None)
            return None
        self._sessions[name] = (token_hash, begun, now)
        return token

    def end(self, cookie: str) -> None:
        """End a session."""
        self._sessions.pop(_hash(cookie), None)

    def _begin(self, token: Token) -> str:
        cookie, now = secrets.token_urlsafe(32), self._clock()
        self._sessions[_hash(cookie)] = (token.hash, now, now)
        while len(self._sessions) > MOST:
            del self._sessions[next(iter(self._sessions))]
        return cookie


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
