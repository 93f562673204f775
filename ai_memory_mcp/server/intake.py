"""The one thread of a server that sees to it that what waits in the spool is taken in, and what follows is settled.
Requests that are to know of it wait here, without a thread of their own.

Events are taken in at once, for searches wait for that. Settling costs much more and pays for many events as well as
for a few: it is done for one project after the other, between which events are taken in, and has pauses.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ai_memory_mcp.errors import AiMemoryError, BusyError
from ai_memory_mcp.local_base import READ_WAIT
from ai_memory_mcp.server.hands import Hands
from ai_memory_mcp.spool import Spool

TICK = 5.0  # seconds between looks at the spool: agents on this machine write into it as well
AGAIN = 0.2  # seconds after which is tried again what another process was at
GATHER = 0.02, 0.5  # seconds at least and at most in which more may come: as long as it took the last time
SHARE = 2  # times as long as it took to settle everything, nothing is settled again that nobody waits for
REMEMBERED = 10_000  # callers
EVENTS, ALL = "events", "all"  # what is waited for; else the settling of one project (id)

_log = logging.getLogger(__name__)


class Intake:
    """Takes in and settles what is in a spool, from `start` to `stop`. `hands` is called in the thread that works."""

    def __init__(self, home: Path, hands: Callable[[], Hands]) -> None:
        self._hands = hands
        self._spool = Spool(home)
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()  # of who waits
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._stored, self._known = 0, 0  # times something was stored, and how many of them are taken in
        self._last: dict[str, int] = {}  # by who did it
        self._taken, self._settled = 1, 0  # times; equal when nothing is left to settle
        self._gather = GATHER[0]
        self._next = 0.0  # when to settle again (monotonic)
        self._idle = 0.0  # when to look for sessions that nothing is heard of
        self._hindered = False  # whether another process is at it

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, once what is just being done is done."""
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def stored(self, who: str) -> None:
        """Say that somebody has stored something."""
        self._stored += 1
        self._last.pop(who, None)
        self._last[who] = self._stored
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        self._wake.set()

    async def taken_in(self, who: str | None) -> None:
        """Return when what `who` (None: anybody) has stored is taken in, at the latest after READ_WAIT."""
        if who is None or self._stored == self._known:  # also of agents on this machine
            behind = bool(self._spool.names())
        else:
            behind = self._last.get(who, 0) > self._known
        if behind:
            await self._wait(EVENTS)

    async def settled(self, project: str = "") -> None:
        """Return when what follows from all that was taken in is settled, in one project (id) if one is named; at the
        latest after READ_WAIT."""
        if self._taken != self._settled:
            await self._wait(project or ALL)

    async def _wait(self, what: str) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting[what].add(done)
        self._wake.set()
        try:
            await asyncio.wait([done], timeout=READ_WAIT)
        finally:
            with self._lock:
                self._waiting[what].discard(done)
                if not self._waiting[what]:
                    del self._waiting[what]

    def _run(self) -> None:
        hands, rest = self._hands(), 0.0
        while not self._ended.is_set():
            self._wake.wait(rest)
            if EVENTS not in self._waiting:
                self._ended.wait(self._gather)
            self._wake.clear()
            rest = TICK
            try:
                self._round(hands)
                rest = self._rest()
            except AiMemoryError as error:  # the next round may succeed; what was delivered is safe in the spool
                _log.warning("taking in what waits failed: %s", error)
            except Exception:
                _log.exception("taking in what waits failed")
        hands.close()

    def _rest(self) -> float:
        """Return the seconds until there is something to do that nobody says."""
        if self._hindered:
            return AGAIN
        if ALL in self._waiting or self._taken != self._settled:
            return max(0.0, self._next - time.monotonic())
        return TICK

    def _round(self, hands: Hands) -> None:
        self._hindered = False
        if time.monotonic() >= self._next:
            with self._serving(ALL):
                self._take_in(hands)
                self._settle_all(hands)
        else:
            self._take_in(hands)
        for project in self._asked_for():
            self._settle(hands, project)

    def _take_in(self, hands: Hands) -> None:
        begun, stored = time.monotonic(), self._stored
        with self._serving(EVENTS):
            if self._spool.names():
                self._taken += 1
                hands.take_in()
            self._known = stored
        self._gather = min(GATHER[1], max(GATHER[0], time.monotonic() - begun))

    def _settle_all(self, hands: Hands) -> None:
        begun, taken = time.monotonic(), self._taken
        idle = begun >= self._idle
        try:
            due = hands.unsettled(idle=idle)
            while due and not self._ended.is_set():
                asked = [project for project in self._asked_for() if project in due]
                project = (asked or due)[0]
                due.remove(project)
                self._settle(hands, project)
                if self._wake.is_set():
                    self._take_in(hands)
            self._settled = taken
            if idle:
                self._idle = begun + TICK
                hands.upkeep()
        finally:
            self._next = time.monotonic() + SHARE * (time.monotonic() - begun)

    def _settle(self, hands: Hands, project: str) -> None:
        with self._serving(project):
            hands.settle([project])

    def _asked_for(self) -> list[str]:
        with self._lock:
            return [what for what in self._waiting if what not in (EVENTS, ALL)]

    @contextmanager
    def _serving(self, what: str) -> Iterator[None]:
        """Release who waits for something at the beginning when this is done; where another process is at it, they go
        on waiting."""
        with self._lock:
            served = self._waiting.pop(what, set())
        try:
            yield
        except BusyError:
            self._hindered = True
            with self._lock:
                self._waiting[what] |= {done for done in served if not done.done()}
            served = set()
        finally:
            _release(served)


def _release(waiting: set[asyncio.Future[None]]) -> None:
    for done in waiting:
        loop = done.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_end, done)


def _end(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
