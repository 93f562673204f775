"""When and how the stdio server ends: always with status 0, within a second, whatever else is going on.

A thread of its own waits on a pipe. Signals (by the C-level wakeup descriptor, so even while the main
thread is stuck), end of input, a broken output and the parent's death all write to it. Nothing is joined:
`os._exit` ends hanging calls.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from ai_memory_mcp.alive import WHENEVER, ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 0.95  # seconds from the reason to end to the end
_PARENT_POLL = 1.0


class Lifetime:
    """The end of this process. `finish` runs once, before the end, and may be cut off at the deadline."""

    def __init__(self, finish: Callable[[], None]) -> None:
        self._finish = finish
        self._wait, self._ring = os.pipe()
        if hasattr(os, "set_blocking"):  # Windows has none before Python 3.12, and a pipe with room for thousands
            os.set_blocking(self._ring, False)

    def watch(self) -> None:
        """Begin to listen for signals and for the parent's death. Main thread only."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: None)
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        threading.Thread(target=self._end, daemon=True).start()
        threading.Thread(target=self._watch_parent, args=(os.getppid(),), daemon=True).start()

    def end(self) -> None:
        """Ask for the end. Any thread, any number of times."""
        try:
            os.write(self._ring, b"e")
        except BlockingIOError:  # full of requests to end
            return

    def _watch_parent(self, parent: int) -> None:
        if sys.platform == "win32":  # the number of a parent that died stays
            if not ended(parent, WHENEVER):
                return
        else:
            while os.getppid() == parent:
                time.sleep(_PARENT_POLL)
        self.end()

    def _end(self) -> None:
        os.read(self._wait, 1)
        threading.Thread(target=_exit_after, args=(DEADLINE,), daemon=True).start()
        try:
            self._finish()
        except Exception as error:  # the last thing this process does: nobody else can report it
            complain("could not finish", error)
        os._exit(0)


def complain(what: str, error: BaseException) -> None:
    """Say in one line on stderr what went wrong."""
    if sys.stderr is not None:
        sys.stderr.write(f"ai-memory-mcp serve: {what}: {type(error).__name__}: {error}\n")


def _exit_after(seconds: float) -> None:
    time.sleep(seconds)
    os._exit(0)
