"""The threads that do the server's work: a memory of its own in each, and one that takes in what was delivered.

Requests wait for a thread in their order; how many may wait is the guard's business. Events are stored by threads of
their own, so that a slow search keeps no machine from delivering.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ai_memory_mcp.errors import AiMemoryError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.local_base import READ_WAIT
from ai_memory_mcp.model import Scope
from ai_memory_mcp.waking import wake_worker

T = TypeVar("T")
ASKING = 4  # threads
STORING = 2
TICK = 5.0  # seconds between looks at the spool: agents on this machine write into it as well
GATHER = 0.5  # seconds in which more may come: taking in many events costs little more than taking in one
AGAIN = 0.2  # seconds after which what is left is taken in

_log = logging.getLogger(__name__)


class Workers:
    """The threads of one server. `open_memory` makes a memory; each is used by one thread."""

    def __init__(self, open_memory: Callable[[], LocalMemory]) -> None:
        self._open = open_memory
        self._asking = ThreadPoolExecutor(ASKING, thread_name_prefix="ask")
        self._storing = ThreadPoolExecutor(STORING, thread_name_prefix="store")
        self._own = threading.local()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._syncing = threading.Thread(target=self._sync, name="sync", daemon=True)
        self._stamped: LocalMemory | None = None
        self._upkeep = threading.Thread(target=self._keep_up, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin to take in what waits."""
        self._upkeep.start()
        self._syncing.start()

    async def ask(self, work: Callable[[LocalMemory], T], *, fresh: bool = False) -> T:
        """Run work on a memory in one of the threads for questions.

        A `fresh` answer knows of all that was stored before. Others do not wait for what is just being taken in, or
        one machine that delivers a lot would keep all others waiting.
        """

        def run() -> T:
            memory = self._memory()
            memory.read_wait = READ_WAIT if fresh else None
            return work(memory)

        return await asyncio.get_running_loop().run_in_executor(self._asking, run)

    async def store(self, work: Callable[[LocalMemory], T]) -> T:
        """Run work in one of the threads for events, and have what it stored taken in soon."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._storing, lambda: work(self._memory()))
        finally:
            self._wake.set()

    def stamp(self) -> object:
        """Return what changes with what the memory would answer, see `LocalMemory.stamp`; takes microseconds."""
        if self._stamped is None:
            self._stamped = self._open()
        return self._stamped.stamp()

    def stop(self) -> None:
        """End all threads once they have done what they are at."""
        self._ended.set()
        self._wake.set()
        self._storing.shutdown()
        self._asking.shutdown()
        for thread in (self._upkeep, self._syncing):
            if thread.is_alive():
                thread.join()

    def _memory(self) -> LocalMemory:
        if not hasattr(self._own, "memory"):
            self._own.memory = self._open()
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

    def _keep_up(self) -> None:
        memory = self._open()
        left = 0
        while not self._ended.is_set():
            self._wake.wait(AGAIN if left else TICK)
            time.sleep(GATHER)
            self._wake.clear()
            try:
                memory.tick()
                wake_worker(memory)
                memory.once_a_day()
                left = memory.res.spool.pending()
            except AiMemoryError as error:  # the next round may succeed; what was delivered is safe in the spool
                _log.warning("taking in what waits failed: %s", error)
            except Exception:
                _log.exception("taking in what waits failed")
        memory.close()
