"""What stands behind the handshake: the SDK's server in a thread, started when it is needed, fed with lines.

Importing this module must stay cheap; `sdk` and everything it needs is imported in the thread.
"""

from __future__ import annotations

import gc
import io
import json
import threading
import time
from queue import SimpleQueue

from ai_memory_mcp.server.handshake import is_request
from ai_memory_mcp.server.lifetime import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ai_memory_mcp.memory import Memory
    from ai_memory_mcp.server.caller import Caller
    from ai_memory_mcp.server.sdk import Desk
    from ai_memory_mcp.server.tools import Tools
    from ai_memory_mcp.server.wire import Writer

# `initialize` reaches the SDK under this id after the client was answered; the SDK's answer to it is dropped.
REPLAY_ID = "ai-memory-mcp/initialize"


class Inbox(io.TextIOBase):
    """A text stream that yields the lines put into it."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[str] = SimpleQueue()

    def put(self, line: str) -> None:
        """Add one line."""
        self._lines.put(line if line.endswith("\n") else line + "\n")

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # `size` is never given for lines
        """Wait for the next line."""
        return self._lines.get()


class Outbox(io.TextIOBase):
    """A text stream that takes the SDK's lines, one per write."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take

    def write(self, text: str, /) -> int:
        """Pass on one line."""
        self._take(text)
        return len(text)


class Backend:
    """The SDK's side of one connection. All methods may be called before it runs, and from any thread."""

    def __init__(
        self,
        writer: Writer,
        open_memory: Callable[[], Memory],
        *,
        env: Mapping[str, str],
        cwd: str,
        agent: str,
        told: str,
        tools: Tools,
    ) -> None:
        self._writer = writer
        self._open_memory = open_memory
        self._env = env
        self._cwd = cwd
        self._agent = agent
        self._told = told
        self._tools = tools
        self._client = ""
        self._inbox = Inbox()
        self._lock = threading.Lock()
        self._started = False
        self._broken = ""
        self._pending: dict[int | str, None] = {}
        self._caller: Caller | None = None
        self._desk: Desk | None = None

    def greet(self, replay: str, client: str) -> None:
        """Note an `initialize` that was answered already: what the SDK shall get, and the client's name."""
        self._client = client
        self._inbox.put(replay)

    def forward(self, text: str, message: dict[str, object]) -> None:
        """Let the SDK take a message (its text, and the same parsed)."""
        ident = message.get("id")
        with self._lock:
            if message.get("method") == "notifications/cancelled":
                params = message.get("params")
                self._forget(params.get("requestId") if isinstance(params, dict) else None)
            elif is_request(message) and isinstance(ident, int | str):
                self._pending[ident] = None
            self._inbox.put(text)
            if self._broken:
                self._refuse(-32603, self._broken)
        if message.get("method") != "notifications/initialized":
            self.warm()

    def warm(self) -> None:
        """Start the SDK if it is not running yet."""
        with self._lock:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._run, daemon=True).start()

    def settle(self, until: float) -> None:
        """Wait until every forwarded request is answered, but not longer than this (monotonic) time."""
        while self._pending and time.monotonic() < until:
            time.sleep(0.01)

    def caller(self) -> Caller:
        """Say who is at the other end, as far as is known."""
        from ai_memory_mcp.server.caller import identify

        if self._desk is not None and self._desk.caller is not None:
            return self._desk.caller
        if self._caller is None:
            self._caller = identify(self._agent or self._client, self._env, {})
        return self._caller

    def close(self) -> None:
        """Answer what is still unanswered as the SDK would; if nothing runs, close the memory."""
        if self._pending:
            self._refuse(-32000, "Connection closed")
        elif self._desk is not None:
            self._desk.close()

    def _run(self) -> None:
        gc.disable()  # importing makes garbage of nothing: a third less time
        try:
            self.caller()  # before the long import, during which an end could not wait for it
            from ai_memory_mcp.server import sdk

            self._desk = sdk.Desk(self._open_memory, env=self._env, cwd=self._cwd, agent=self._agent)
            gc.freeze()
            gc.enable()
            sdk.serve(self._desk, self._told, self._inbox, Outbox(self._take), self._tools)
        except BaseException as error:
            complain("the MCP SDK failed", error)
            with self._lock:
                self._broken = f"the server could not start: {type(error).__name__}: {error}"
                self._refuse(-32603, self._broken)

    def _take(self, text: str) -> None:
        message = json.loads(text)
        ident = message.get("id")
        if ident == REPLAY_ID:
            return
        self._writer.line(text)
        if "method" not in message:
            self._forget(ident)

    def _forget(self, ident: object) -> None:
        if isinstance(ident, int | str):
            self._pending.pop(ident, None)

    def _refuse(self, code: int, message: str) -> None:
        error = {"code": code, "message": message}
        for ident in list(self._pending):
            self._writer.line(json.dumps({"jsonrpc": "2.0", "id": ident, "error": error}))
        self._pending.clear()
