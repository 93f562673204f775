"""The threads that do the server's work, with a memory of its own in each; `intake` sees to what was delivered.

Requests wait for a thread in their order. Questions, briefs, what may take minutes and the storing of events have
threads of their own, so that none keeps the others waiting. Who would have to wait for long is told to come again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import LifoQueue
from typing import TypeVar

from ai_memory_mcp.errors import AiMemoryError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Scope
from ai_memory_mcp.server.access import EVERYBODY, Access
from ai_memory_mcp.server.guard import Busy
from ai_memory_mcp.server.hands import Hands
from ai_memory_mcp.server.intake import Intake

T = TypeVar("T")
SEARCHERS = max(2, min(4, (os.cpu_count() or 1) - 1))  # processes, begun when they are needed
THREADS = {"search": SEARCHERS, "ask": 4, "brief": 1, "store": 2, "long": 2}
# at work or waiting for it, before others are told to come again: three searches of one process take as long as three
MOST = {"search": 3 * SEARCHERS, "ask": 8, "brief": 250, "store": 250, "long": 8}
FIRST = b'{"scope":{},"query":{"text":"first"}}'  # asked before anybody asks, for somebody to be there and warm

_log = logging.getLogger(__name__)


class Workers:
    """The threads of one server. `open_memory` makes a memory, `hands` what does the larger work: one takes in what
    waits, others search. Each is used by one thread at a time.
    """

    def __init__(self, home: Path, open_memory: Callable[[], LocalMemory], hands: Callable[[], Hands]) -> None:
        self._open = open_memory
        self._pools = {kind: ThreadPoolExecutor(count, thread_name_prefix=kind) for kind, count in THREADS.items()}
        self._searchers = [hands() for _ in range(THREADS["search"])]
        self._free: LifoQueue[Hands] = LifoQueue()  # the one that was last at work is warm
        self._begun: Counter[str] = Counter()
        self._own = threading.local()
        self._looked: dict[str, float] = {}  # of all threads, see `LocalBase`
        self._ended = threading.Event()
        self._syncing = threading.Thread(target=self._sync, name="sync", daemon=True)
        self._stamped: LocalMemory | None = None
        self._intake = Intake(home, hands)

    def start(self) -> None:
        """Begin to take in what waits."""
        for searcher in self._searchers:
            self._free.put(searcher)
        self._pools["search"].submit(self._search, EVERYBODY, FIRST)
        self._intake.start()
        self._syncing.start()

    async def caught_up(self, who: str, *, settled: bool) -> None:
        """Return when what `who` has delivered is taken in; with `settled` also what follows from what anybody has."""
        await self._intake.taken_in(who)
        if settled:
            await self._intake.settled()

    async def search(self, access: Access, body: bytes) -> bytes:
        """Search for somebody; the arguments and what it returns are JSON. Raises Busy, and what the search raises."""
        return await self._do("search", lambda: self._search(access, body))

    async def ask(self, work: Callable[[LocalMemory], T], *, long: bool = False) -> T:
        """Run work on a memory in one of the threads for that, or of those for what may take `long`. Raises Busy."""
        return await self._do("long" if long else "ask", lambda: work(self._memory()))

    async def brief(self, work: Callable[[LocalMemory, bool], T | str]) -> T:
        """Do work on a brief that knows of all that anybody has delivered. Told that not all of it is settled, the work
        may give the project that has to be, to be done again then. Raises Busy."""
        await self._intake.taken_in(None)
        told = await self._do("brief", lambda: work(self._memory(), False))
        if isinstance(told, str):
            await self._intake.settled(told)
            told = await self._do("brief", lambda: work(self._memory(), True))
        assert not isinstance(told, str)
        return told

    async def store(self, work: Callable[[LocalMemory], T], who: str = "") -> T:
        """Run work in one of the threads for events, and have what `who` stored taken in soon. Raises Busy."""
        try:
            return await self._do("store", lambda: work(self._memory()))
        finally:
            self._intake.stored(who)

    async def _do(self, kind: str, work: Callable[[], T]) -> T:
        if self._begun[kind] >= MOST[kind]:
            raise Busy(1.0)
        self._begun[kind] += 1
        done = asyncio.get_running_loop().run_in_executor(self._pools[kind], work)
        done.add_done_callback(lambda _: self._begun.subtract([kind]))  # also when nobody waits for it any more
        return await asyncio.shield(done)

    def stamp(self) -> object:
        """Return what changes with what the memory would answer, see `LocalMemory.stamp`; takes microseconds."""
        if self._stamped is None:
            self._stamped = self._open()
        return self._stamped.stamp()

    def stop(self) -> None:
        """End all threads once they have done what they are at."""
        self._ended.set()
        for pool in self._pools.values():
            pool.shutdown()
        for searcher in self._searchers:
            searcher.close()
        self._intake.stop()
        if self._syncing.is_alive():
            self._syncing.join()

    def _search(self, access: Access, body: bytes) -> bytes:
        searcher = self._free.get()
        try:
            return searcher.search(access, body)
        finally:
            self._free.put(searcher)

    def _memory(self) -> LocalMemory:
        if not hasattr(self._own, "memory"):
            self._own.memory = self._open()
            self._own.memory.read_wait = None  # what waits is taken in elsewhere
            self._own.memory.looked = self._looked
        memory: LocalMemory = self._own.memory
        return memory

    def _sync(self) -> None:
        """Sync every project with its remote, now and again; told to stop, what git is at is ended."""
        memory = self._open()
        config = memory.res.config.sync
        if not config.every_minutes or not (config.remote or config.remotes):
            return
        memory.read_wait = None
        while not self._ended.is_set():
            try:
                told = memory.sync(Scope(), every=True, wait=0.0, stopped=self._ended.is_set)
                for one in told.projects:
                    if one.state == "failed":
                        _log.warning("sync of %s/%s failed: %s", one.workspace, one.project, one.note)
            except AiMemoryError as error:
                _log.warning("sync failed: %s", error)
            except Exception:  # the next round may succeed
                _log.exception("sync failed")
            self._ended.wait(60.0 * config.every_minutes)
        memory.close()
