"""What a server does with its memory for everybody: taking in, settling, searching. `Here` does it in this process,
`Apart` in one of its own: a process computes in one thread at a time, and all others would wait meanwhile.

The process ends when its input does, whatever becomes of the server; what it was at is then as after any crash.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from ai_memory_mcp import errors
from ai_memory_mcp.errors import AiMemoryError, InputError, StorageError
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.processes import Conversation, conversation, of_ours
from ai_memory_mcp.server.access import Access, answer, arguments, malformed
from ai_memory_mcp.waking import wake_worker

if TYPE_CHECKING:
    from ai_memory_mcp.local import LocalMemory

LIMIT = 3600.0  # seconds: a reindex or a sweep of a large memory takes long
SEARCHING = 60.0
CLOSING = 10.0


class Hands(Protocol):
    """Who does the work. Not for several threads at once; all methods may raise AiMemoryError."""

    def take_in(self) -> None:
        """Take in what waits. Raises BusyError when another process is at it."""

    def unsettled(self, *, idle: bool) -> list[str]:
        """Return the projects (ids) that there is something to settle for, see `settle.unsettled`."""

    def settle(self, projects: Sequence[str]) -> None:
        """Settle these projects. Raises BusyError."""

    def upkeep(self) -> None:
        """Do what is due now and then."""

    def search(self, access: Access, body: bytes) -> bytes:
        """Search for somebody, as things are; the arguments and what it returns are JSON. Raises AiMemoryError."""

    def close(self) -> None:
        """Finish what was put off, and end."""


class Here:
    """A memory, as `Hands`."""

    def __init__(self, memory: LocalMemory) -> None:
        self._memory = memory
        self._held: Connection | None = None
        memory.read_wait = None
        memory.looked = {}
        self.take_in, self.unsettled = memory.take_in, memory.unsettled
        self.settle = memory.settle

    def close(self) -> None:
        """Finish what was put off."""
        self._hold(None)
        self._memory.close()

    def upkeep(self) -> None:
        """Do what is due now and then."""
        self._hold(self._memory.res.index.hold())  # anew: it may be another file by now
        self._memory.tidy()
        wake_worker(self._memory)
        self._memory.once_a_day()

    def _hold(self, index: Connection | None) -> None:
        if self._held is not None:
            self._held.close()
        self._held = index

    def search(self, access: Access, body: bytes) -> bytes:
        """Search for somebody."""
        return answer(self._memory, access, "search", arguments(access, "search", body))


class Apart:
    """`Hands` in a process, which is started when it is needed. Raises StorageError where it has gone; the next
    question starts another."""

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self._home = home
        self._env = env
        self._stack = ExitStack()
        self._talk: Conversation | None = None

    def take_in(self) -> None:
        """Take in what waits."""
        self._ask("take_in")

    def unsettled(self, *, idle: bool) -> list[str]:
        """Return the projects that there is something to settle for."""
        found: list[str] = self._ask("unsettled", idle=idle)
        return found

    def settle(self, projects: Sequence[str]) -> None:
        """Settle these projects."""
        self._ask("settle", projects=list(projects))

    def upkeep(self) -> None:
        """Do what is due now and then."""
        self._ask("upkeep")

    def search(self, access: Access, body: bytes) -> bytes:
        """Search for somebody; where the process goes meanwhile, in another."""
        asked = {"access": access, "body": body.decode("utf-8", "surrogateescape")}
        try:
            return str(self._ask("search", SEARCHING, **asked)).encode()
        except StorageError:
            return str(self._ask("search", SEARCHING, **asked)).encode()

    def close(self) -> None:
        """Let it finish what it has put off, and end it."""
        with suppress(AiMemoryError):  # who starts next finds what is left
            if self._talk is not None:
                self._ask("close", CLOSING)
        self._end()

    def _ask(self, method: str, limit: float = LIMIT, **params: Any) -> Any:
        try:
            if self._talk is None:
                command = of_ours("ai_memory_mcp.server.hands", str(self._home))
                begun = conversation(command, env=self._env, cwd=Path(sys.prefix), heard=True)
                self._talk = self._stack.enter_context(begun)
            told = self._talk.ask(method, params, time.monotonic() + limit)
        except (OSError, ValueError) as error:  # it was killed, or ran out of memory
            self._end()
            raise StorageError(f"a process of the server has failed at '{method}': {error}") from error
        if "error" in told:
            raise getattr(errors, told["error"], RuntimeError)(told["message"])
        return told["value"]

    def _end(self) -> None:
        self._talk = None
        self._stack.close()


class _There(Here):
    def search(self, access: Sequence[Any], body: str) -> str:  # type: ignore[override] # as JSON has it
        name, read_only, workspaces = access
        asker = Access(name, read_only, tuple(workspaces))
        return super().search(asker, body.encode("utf-8", "surrogateescape")).decode()


def main(home: str) -> None:
    """Be the process: answer requests until the input ends."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)  # a service manager tells all processes; ours says when it is time
    from ai_memory_mcp.local import open_local

    there = _There(open_local(Path(home)))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = {"value": getattr(there, request["method"])(**request["params"])}
        except AiMemoryError as error:
            result = {"error": type(error).__name__, "message": str(error)}
        except ValidationError as error:
            result = {"error": InputError.__name__, "message": malformed(error)}
        except Exception:
            result = {"error": "", "message": traceback.format_exc()}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\n")
        sys.stdout.flush()
