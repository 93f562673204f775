"""The one thread of a server that sees to it that what waits in the spool is taken in, and what follows is settled.
Requests that are to know of it wait here, without a thread of their own.

Events are taken in at once, for searches wait for that. Settling costs much more and pays for many events as well as
for a few: it is done for a few projects at a time, between which events are taken in, and has pauses.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
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
AT_ONCE = 4  # projects that are settled before events are taken in again
SHARE = 1  # times as long as it took to settle everything, nothing is settled again
REMEMBERED = 10_000  # callers
Waiting = set["asyncio.Future[None]"]  # whoever waits

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
        self._for_events: Waiting = set()
        self._for_all: Waiting = set()
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

    async def caught_up(self, who: str | None, *, settled: bool) -> None:
        """Return when what `who` (None for everybody) has stored is taken in, at the latest after READ_WAIT; with
        `settled` all that anybody has, and what follows from it."""
        if settled and self._taken != self._settled:
            behind = True
        elif self._stored == self._known or settled or who is None:  # also of agents on this machine
            behind = bool(self._spool.names())
        else:
            behind = self._last.get(who, 0) > self._known
        if not behind:
            return
        waiting = self._for_all if settled else self._for_events
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            waiting.add(done)
        self._wake.set()
        try:
            await asyncio.wait([done], timeout=READ_WAIT)
        finally:
            with self._lock:
                waiting.discard(done)

    def _run(self) -> None:
        hands, rest = self._hands(), 0.0
        while not self._ended.is_set():
            self._wake.wait(rest)
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
        if self._hindered:
            return AGAIN
        if self._for_all or self._taken != self._settled:
            return max(0.0, self._next - time.monotonic())
        return TICK

    def _round(self, hands: Hands) -> None:
        self._hindered = False
        if time.monotonic() < self._next:
            self._take_in(hands)
            return
        with self._serving(self._for_all):
            self._take_in(hands)
            self._settle(hands)

    def _take_in(self, hands: Hands) -> None:
        begun, stored = time.monotonic(), self._stored
        with self._serving(self._for_events):
            if self._spool.names():
                self._taken += 1
                hands.take_in()
            self._known = stored
        self._gather = min(GATHER[1], max(GATHER[0], time.monotonic() - begun))

    def _settle(self, hands: Hands) -> None:
        begun, taken = time.monotonic(), self._taken
        idle = begun >= self._idle
        try:
            due = hands.unsettled(idle=idle)
            for start in range(0, len(due), AT_ONCE):
                hands.settle(due[start : start + AT_ONCE])
                if self._wake.is_set():
                    self._take_in(hands)
            self._settled = taken
            if idle:
                self._idle = begun + TICK
                hands.upkeep()
        finally:
            self._next = time.monotonic() + SHARE * (time.monotonic() - begun)

    @contextmanager
    def _serving(self, waiting: Waiting) -> Iterator[None]:
        """Release who waits at the beginning when this is done; they go on waiting where another process is at it."""
        with self._lock:
            served = set(waiting)
            waiting.clear()
        try:
            yield
        except BusyError:
            self._hindered = True
            with self._lock:
                waiting |= served
            served = set()
        finally:
            _release(served)


def _release(waiting: Waiting) -> None:
    for done in waiting:
        loop = done.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_end, done)


def _end(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
