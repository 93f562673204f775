"""`ai-memory-mcp serve-web`: the pages on a free port of this machine, for one visit.

The address that is told holds a key that opens it once. It ends when its pages are closed (as far as scripts run to
say so), when nobody has asked for anything for a while, or on Ctrl-C; nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.memory import Memory
from ai_memory_mcp.server.guard import Guard
from ai_memory_mcp.server.listening import listen
from ai_memory_mcp.server.logins import ENTER, Logins
from ai_memory_mcp.server.told import HANDLERS
from ai_memory_mcp.server.web.routes import Site, routes_of
from ai_memory_mcp.server.web.views import Go
from ai_memory_mcp.tokens import Token, Tokens, hash_of

THREADS = 2
LEFT = 10.0  # seconds after which the last page that was closed is not followed by another
OPEN = 1_000  # pages that are known to be open at one time
LOOK = 0.5  # seconds between looks at the clock
GRACE = 5  # seconds for requests to end


class Visit:
    """How long to stay: what was asked last, which pages are open, and whether the last one was closed since."""

    def __init__(self, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle = idle
        self._clock = clock
        self._last = clock()
        self._closed = False
        self._open: set[str] = set()

    def seen(self) -> None:
        """Note a request."""
        self._last, self._closed = self._clock(), False

    def shown(self, page: str, there: bool) -> None:
        """Note that a page is there, in whatever tab or window, or that it was closed or is followed by another."""
        if there and len(self._open) < OPEN:
            self._open.add(page)
        elif not there:
            self._open.discard(page)
            self._closed = not self._open

    def over(self) -> bool:
        """Tell whether it is time to end."""
        return self._clock() - self._last > (LEFT if self._closed else self._idle)


class Threads:
    """The threads that ask: a memory of its own in each."""

    def __init__(self, open_memory: Callable[[], Memory]) -> None:
        self._open = open_memory
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ask")
        self._own = threading.local()
        self._opened: list[Memory] = []

    async def ask(self, work: Callable[[Memory], bytes | Go]) -> bytes | Go:
        """Run work on a memory in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(self._memory()))

    def close(self) -> None:
        """Wait for what is being done, and close every memory."""
        self._pool.shutdown()
        for memory in self._opened:
            memory.close()

    def _memory(self) -> Memory:
        if not hasattr(self._own, "memory"):
            self._own.memory = self._open()
            self._opened.append(self._own.memory)
        memory: Memory = self._own.memory
        return memory


def build_visit(
    open_memory: Callable[[], Memory], key: str, visit: Visit, end: Callable[[], None]
) -> tuple[Guard, Threads]:
    """Return the application for one visit, and the threads to be closed after it; `end` is called when it is over."""
    threads = Threads(open_memory)
    looked_at = open_memory()
    stamp = looked_at.stamp if isinstance(looked_at, LocalMemory) else None
    # a token that nobody has: without the key's cookie nothing is told
    nobody = Token(
        name="browser", hash=hash_of(secrets.token_urlsafe()), read_only=True, created=datetime.now(timezone.utc)
    )
    tokens = Tokens(None, [nobody])
    logins = Logins(tokens, key)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async def watch() -> None:
            while not visit.over():
                await asyncio.sleep(LOOK)
            end()

        watching = asyncio.create_task(watch())
        yield
        watching.cancel()

    inner = Starlette(
        routes=routes_of(Site(threads.ask, logins, stamp, visit.shown)),
        lifespan=lifespan,
        exception_handlers=HANDLERS,
    )

    inner.state.by_key = True

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            visit.seen()
        await inner(scope, receive, send)

    return Guard(noted, tokens, (), logins), threads


def serve_web(open_memory: Callable[[], Memory], *, idle: float, opened: Callable[[str], None], port: int = 0) -> int:
    """Serve one visit; `opened` is told the address. `idle` is in seconds. Raises StorageError when it cannot begin."""
    listener = listen("127.0.0.1", port)
    key = secrets.token_urlsafe(24)

    def end() -> None:
        server.should_exit = True

    app, threads = build_visit(open_memory, key, Visit(idle), end)
    settings = uvicorn.Config(
        app, lifespan="on", access_log=False, log_config=None, server_header=False, timeout_graceful_shutdown=GRACE
    )
    server = uvicorn.Server(settings)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)  # uvicorn sends itself the signal that ended it, when all is done
    try:
        opened(f"http://127.0.0.1:{listener.getsockname()[1]}{ENTER}?key={key}")
        server.run(sockets=[listener])
    finally:
        threads.close()
        listener.close()
    return 0
