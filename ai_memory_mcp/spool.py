"""The spool: events waiting for ingest, named so that sorting by name is sorting by time. Each has a file of its own;
those that another machine delivered together share one (`MANY`).

`emit` writes entries on its own (it may import nothing); this is the reader. An entry leaves the spool only after
what it said is durable elsewhere. An unreadable one is set aside with its reason, never deleted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from pydantic import ValidationError

from ai_memory_mcp.files import private_dir, remove, replace, storage_error, sync_folder, write_atomic
from ai_memory_mcp.model import Event

MANY = ".events"  # ending of a file with an event in each line


@dataclass(frozen=True)
class Entry:
    """One spooled event: its file, and either the event or why it cannot be read."""

    path: Path
    event: Event | None
    problem: str = ""

    @property
    def id(self) -> str:
        """The event's id; of an unreadable entry its file name says it."""
        return self.event.id if self.event else self.path.stem.rpartition("-")[0] or self.path.stem


class Spool:
    """The folder `spool/` of AI_MEMORY_HOME."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "spool"
        self.aside = self.folder / "set-aside"

    def names(self) -> list[str]:
        """Return the waiting entries' file names, oldest first; empty where there is no spool yet."""
        try:
            return sorted(
                name for name in os.listdir(self.folder) if name.endswith((".json", MANY)) and not name.startswith(".")
            )
        except FileNotFoundError:
            return []

    def pending(self) -> int:
        """Count the events that wait."""
        return sum(map(_count, self.names()))

    def oldest(self) -> float | None:
        """Return the age in seconds of the oldest waiting entry, None when nothing waits."""
        names = self.names()
        if not names:
            return None
        try:
            return max(0.0, time.time() - os.stat(self.folder / names[0]).st_mtime)
        except FileNotFoundError:
            return None

    def read(self, names: list[str]) -> list[Entry]:
        """Read entries; they stay in the spool until `drop`."""
        return [entry for name in names for entry in self._read(self.folder / name)]

    def size(self, name: str) -> int:
        """Return the bytes of a file, 0 when it is gone."""
        try:
            return os.stat(self.folder / name).st_size
        except FileNotFoundError:
            return 0

    def add(self, events: Sequence[Event]) -> None:
        """Store events of another machine, in their order: all are on the disk when this returns.

        They share a file, because the disk takes one as fast as any number. Raises StorageError, then none is stored.
        """
        private_dir(self.folder)
        lines = [event.model_dump_json() for event in events]
        mark = blake2b("".join(event.id for event in events).encode(), digest_size=8).hexdigest()
        path = self.folder / f"{events[0].id}-{mark}-{len(events)}{MANY}"
        write_atomic(path, ("\n".join(lines) + "\n").encode(), durable=True)
        with _translated("write", path):
            sync_folder(self.folder)

    def drop(self, entries: list[Entry]) -> None:
        """Remove entries whose content is durable elsewhere; of a file with several all of them are given."""
        for path in {entry.path: None for entry in entries}:
            with _translated("remove", path):
                remove(path)

    def set_aside(self, entry: Entry, reason: str) -> None:
        """Keep an unreadable entry for a person to look at, with the reason beside it."""
        private_dir(self.aside)
        shared = entry.path.suffix == MANY and entry.event is not None
        name = f"{entry.id}-far.json" if shared else entry.path.name
        write_atomic(self.aside / f"{name}.reason", f"{reason}\n".encode("utf-8", "replace"))
        if shared and entry.event:
            write_atomic(self.aside / name, entry.event.model_dump_json().encode(), durable=True)
            return
        with _translated("move", entry.path), suppress(FileNotFoundError):  # with another entry of its file
            replace(entry.path, self.aside / name)

    def retry(self) -> int:
        """Put what was set aside back into the spool, to be tried again. Returns how many."""
        count = 0
        for name, _ in self.kept_aside():
            with _translated("move", self.aside / name):
                if (self.aside / name).exists():
                    replace(self.aside / name, self.folder / name)
                    count += 1
                remove(self.aside / (name + ".reason"))
        return count

    def kept_aside(self) -> Iterator[tuple[str, str]]:
        """Yield (file name, reason) of the entries set aside."""
        for path in sorted(self.aside.glob("*.reason")):
            yield path.name.removesuffix(".reason"), path.read_text(encoding="utf-8", errors="replace").strip()

    def _read(self, path: Path) -> list[Entry]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # another ingest was faster
            return []
        except OSError as error:
            return [Entry(path, None, f"cannot be read: {error.strerror}")]
        return [_entry(path, line) for line in (path.suffix == MANY and data.splitlines()) or [data]]


def _entry(path: Path, data: bytes) -> Entry:
    try:
        return Entry(path, Event.model_validate_json(data))
    except ValidationError as error:
        return Entry(path, None, f"not an event: {error.errors(include_input=False)[0]['msg']}")


def _count(name: str) -> int:
    """Return how many events a file holds, by its name."""
    told = name.removesuffix(MANY).rpartition("-")[2]
    return int(told) if name.endswith(MANY) and told.isdigit() else 1


@contextmanager
def _translated(action: str, path: Path) -> Iterator[None]:
    """Turn what the system says into a StorageError."""
    try:
        yield
    except OSError as error:
        raise storage_error(action, path, error) from error
