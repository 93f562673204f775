"""Which calls of the memory took long: `logs/slow.log`, a line each with when, what and for how many seconds.

Nothing is said of what was asked for, or in which project.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timezone
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.files import private_dir, write_atomic
from ai_memory_mcp.model import Slow

FILE = "logs/slow.log"
LONG = 1.0  # seconds
LARGE = 64 * 1024  # bytes; of a larger file the newer half is kept

T = TypeVar("T")


def watched(names: Iterable[str]) -> Callable[[type[T]], type[T]]:
    """Return what has these methods of a class noted when they take long; its objects have the home in `res`."""

    def watch(kind: type[T]) -> type[T]:
        for name in names:
            setattr(kind, name, _timed(name, getattr(kind, name)))
        return kind

    return watch


def _timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        try:
            return method(self, *args, **kwargs)
        finally:
            seconds = time.monotonic() - started
            if seconds >= LONG:
                note(self.res.home, name, seconds)

    return timed


def note(home: Path, what: str, seconds: float) -> None:
    """Note that something took long; on a disk that refuses nothing happens."""
    path = home / FILE
    line = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ} {what} {seconds:.1f}\n"
    with suppress(OSError, StorageError):
        private_dir(path.parent)
        if path.exists() and path.stat().st_size > LARGE:
            kept = path.read_bytes()[-LARGE // 2 :]
            write_atomic(path, kept[kept.find(b"\n") + 1 :])
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)


def noted(home: Path) -> list[Slow]:
    """Return what took long, the newest last; lines that are damaged are passed over."""
    found = []
    with suppress(OSError):
        for line in (home / FILE).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                at, what, seconds = line.split()
                when = datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
                found.append(Slow(at=when, what=what, seconds=float(seconds)))
    return found
