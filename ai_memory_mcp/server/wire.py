"""Standard input and output of the stdio server: one reader, one writer, whole lines.

Both descriptors are moved away at the start: 0 then reads as empty and 1 goes to stderr, so neither a stray
print nor a child process can touch the protocol.
"""

from __future__ import annotations

import os
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO


def claim_stdio() -> tuple[BinaryIO, int]:
    """Move stdin and stdout to private descriptors; returns a reader and the descriptor to write to."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # started without stderr
        os.dup2(null, 1)
    os.close(null)
    sys.stdout = sys.stderr
    return os.fdopen(source, "rb", 1 << 16), sink


class Writer:
    """Writes whole lines to one descriptor, from any thread. Calls `on_broken` when nobody reads any more."""

    def __init__(self, sink: int, on_broken: Callable[[], None]) -> None:
        self._sink = sink
        self._on_broken = on_broken
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Write one line (a missing line end is added)."""
        data = memoryview((text.rstrip("\n") + "\n").encode("utf-8", "replace"))
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._sink, data) :]
            except OSError:
                self._on_broken()
