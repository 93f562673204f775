"""The spool: events waiting for ingest, one file each, named so that sorting by name is sorting by time.

`emit` writes entries on its own (it may import nothing); this is the reader. An entry leaves the spool only after
what it said is durable elsewhere. An unreadable one is set aside with its reason, never deleted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ai_memory_mcp.files import private_dir, remove, replace, storage_error, write_atomic, write_many
from ai_memory_mcp.model import Event


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
                name for name in os.listdir(self.folder) if name.endswith(".json") and not name.startswith(".")
            )
        except FileNotFoundError:
            return []

    def pending(self) -> int:
        """Count what waits."""
        return len(self.names())

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
        return [entry for name in names if (entry := self._read(self.folder / name))]

    def add(self, events: Sequence[Event]) -> None:
        """Store events of other machines: all are on the disk when this returns, each once however often it is added.

        Their ids must be fit for file names. Raises StorageError; some may be stored then.
        """
        private_dir(self.folder)
        write_many(self.folder, {f"{event.id}-far.json": event.model_dump_json().encode() for event in events})

    def drop(self, entries: list[Entry]) -> None:
        """Remove entries whose content is durable elsewhere."""
        for entry in entries:
            with _translated("remove", entry.path):
                remove(entry.path)

    def set_aside(self, entry: Entry, reason: str) -> None:
        """Keep an unreadable entry for a person to look at, with the reason beside it."""
        private_dir(self.aside)
        write_atomic(self.aside / (entry.path.name + ".reason"), f"{reason}\n".encode("utf-8", "replace"))
        with _translated("move", entry.path):
            replace(entry.path, self.aside / entry.path.name)

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

    def _read(self, path: Path) -> Entry | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # another ingest was faster
            return None
        except OSError as error:
            return Entry(path, None, f"cannot be read: {error.strerror}")
        try:
            return Entry(path, Event.model_validate_json(data))
        except ValidationError as error:
            return Entry(path, None, f"not an event: {error.errors(include_input=False)[0]['msg']}")


@contextmanager
def _translated(action: str, path: Path) -> Iterator[None]:
    """Turn what the system says into a StorageError."""
    try:
        yield
    except OSError as error:
        raise storage_error(action, path, error) from error
