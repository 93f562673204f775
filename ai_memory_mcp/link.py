"""The one way to the server, and the one door to HTTP: one request, one answer or an error that says what to do.

A connection is used once. So a request that fails after it was sent is never sent again by itself (it may have been
done), and a server that was restarted meanwhile makes no difference.
"""

from __future__ import annotations

import json
import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

from ai_memory_mcp import __version__
from ai_memory_mcp.errors import AccessError, AiMemoryError, ConfigError, ServerError

CONNECT = 3.0  # seconds
ANSWER = 30.0
PATIENCE = 10.0  # seconds that a server may ask to wait in all, because it has too much to do
MOST = 256 * 2**20  # bytes of an answer

_CLASSES = {kind.code: kind for kind in AiMemoryError.__subclasses__()}  # as the server names them


class TooLarge(ServerError):
    """The server, or a proxy before it, takes no request of this size."""


class Overloaded(ServerError):
    """The server has too much to do for this request."""


class BrokenOff(ServerError):
    """The connection ended, or no answer came: the server may have done what was asked."""


class Link:
    """The address of a server, and the token for it ('' for none)."""

    def __init__(self, url: str, token: str = "", *, answer: float = ANSWER) -> None:
        self.parts = server_parts(url)
        self.url = self.parts.geturl()
        self._token = token
        self._answer = answer

    def post(
        self, path: str, body: bytes, headers: dict[str, str] | None = None, *, answer: float | None = None
    ) -> bytes:
        """Send JSON and return the JSON of the answer, which may take `answer` seconds.

        Raises what the server says as the error that it is, AccessError, or ServerError when it cannot be reached.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            status, data, after = self._once(path, body, headers or {}, answer or self._answer)
            if status != 429 or time.monotonic() + after > deadline:
                break
            time.sleep(after)
        if status == 200:
            return data
        raise self._error(status, data)

    def _once(self, path: str, body: bytes, more: dict[str, str], answer: float) -> tuple[int, bytes, float]:
        headers = {**({"Authorization": f"Bearer {self._token}"} if self._token else {}), **more}
        try:
            connection = connected(self.parts)
        except OSError as error:
            raise ServerError(
                f"the server {self.url} cannot be reached ({reason(error)}); what agents do is kept here and delivered"
                " when it is back"
            ) from error
        try:
            return posted(connection, self.parts.path + path, body, headers, answer=answer)
        except OSError as error:
            raise BrokenOff(
                f"the server {self.url} broke off ({reason(error)}); it is not known whether it did what was asked"
            ) from error

    def _error(self, status: int, data: bytes) -> AiMemoryError:
        try:
            told = json.loads(data)["error"]
            kind, message = _CLASSES.get(told["code"]), str(told["message"])
        except (ValueError, KeyError, TypeError):
            kind, message = None, ""
        if status == 401:
            return AccessError(f"the server {self.url} wants a token: {message or 'set AI_MEMORY_TOKEN'}")
        if status == 429:
            return Overloaded(message or f"the server {self.url} has too much to do; try again")
        if status == 413:
            return TooLarge(message or f"the server {self.url} takes no request of this size")
        if status in (301, 302, 307, 308):
            return ServerError(f"the server {self.url} has moved; give the address that it has now (https?)")
        if kind is not None:
            return kind(message)
        return ServerError(message or f"{self.url} answers {status}, and not as a server of ai-memory-mcp does")


def connected(parts: SplitResult, *, limit: float = CONNECT) -> HTTPConnection:
    """Return a connection to an address, made within `limit` seconds for each of its addresses. Raises OSError."""
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=limit, context=ssl.create_default_context())
    else:
        connection = HTTPConnection(host, port, timeout=limit)
    connection.connect()
    return connection


def posted(
    connection: HTTPConnection, path: str, body: bytes, headers: dict[str, str], *, answer: float
) -> tuple[int, bytes, float]:
    """Send JSON on a connection, once, and close it; return the status, the answer and the seconds it says to wait.

    No single read takes longer than `answer` seconds. Raises OSError.
    """
    if connection.sock:
        connection.sock.settimeout(answer)
    told = {"Content-Type": "application/json", "User-Agent": f"ai-memory-mcp/{__version__}", **headers}
    try:
        connection.request("POST", path, body, told)
        reply = connection.getresponse()
        return reply.status, reply.read(MOST), _wait_of(reply)
    except HTTPException as error:
        raise OSError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def server_parts(url: str) -> SplitResult:
    """Return the address of a server, without the slash or the `/mcp` at its end. Raises ConfigError."""
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"'{url}' is no address of a server; give it like http://homelab:49374")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "the address of the server must hold no user, token or query; the token has a place of its own"
        )
    return parts._replace(path=parts.path.rstrip("/").removesuffix("/mcp"))


def _wait_of(reply: HTTPResponse) -> float:
    try:
        return max(0.1, float(reply.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0


def reason(error: Exception) -> str:
    """Say in a few words why a connection failed."""
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
