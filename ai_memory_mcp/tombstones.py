"""What was taken out of memory and must not come back: `tombstones.jsonl` in AI_MEMORY_HOME, one line each.

A line holds ids and check sums, never a name, a title or a text: what was erased for good is not kept here either.
The file is only appended to; a later line about the same thing counts. Who brings something in from elsewhere asks
`has` first. Machines that sync tell each other what was erased for good in the message of a commit (`Erasure`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.files import private_dir, storage_error, sync_folder
from ai_memory_mcp.model import Value

FILE = "tombstones.jsonl"
_TOLD = ("page", "path", "project")  # to other machines: sessions stay where they were
_ID = re.compile(r"\S{1,100}")
ERASING = "erasing.json"  # what is being erased just now, or was when somebody was killed
Kind = Literal["page", "path", "session", "project"]
# Of what is "erased" nothing may stay anywhere; what is "forgotten" or "evicted" may stay in git's history.
Why = Literal["forgotten", "erased", "evicted", "lifted"]


class Tombstone(Value):
    """One thing that is gone. `id` is its id; of a path it is `path_mark`. `lifted`: it may come again.

    `project` is '' where the id alone says it all. Of a project, what happened in it up to `at` is gone.
    """

    kind: Kind
    id: str
    project: str = ""
    why: Why
    at: datetime


class Erasure(NamedTuple):
    """One time that something of a project was erased for good, everywhere known by its id. `stones` are the pages and
    the project that went; of a text that was scrubbed there are none."""

    id: str
    at: datetime
    stones: tuple[Tombstone, ...] = ()

    def lines(self) -> str:
        """Return the lines of a commit's message that tell other machines of it."""
        told = [f"{one.kind} {one.id}" for one in self.stones if one.kind in _TOLD and _ID.fullmatch(one.id)]
        return "\n".join([f"Erasure: {self.id} {self.at.isoformat()}", *(f"Erased: {one}" for one in told)])

    def message(self) -> str:
        """Return the message of a commit that does nothing but tell of it."""
        return f"Erase for good\n\n{self.lines()}"


class Tombstones:
    """The file. Safe for concurrent processes; what is damaged in it is passed over."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE
        self._seen: tuple[int, int] | None = None
        self._known: dict[tuple[str, str, str], Tombstone] = {}

    def add(self, stones: Iterable[Tombstone]) -> int:
        """Note what is gone, durably; what is noted so already is not noted twice. Returns how many were new.

        Raises StorageError.
        """
        known = self._read()
        told = {_key(one): one for one in stones}
        fresh = [one for key, one in told.items() if key not in known or known[key].why != one.why]
        if fresh:
            lines = "".join(one.model_dump_json() + "\n" for one in fresh)
            self._append(lines.encode())
        return len(fresh)

    def lift(self, stones: Iterable[Tombstone], at: datetime) -> None:
        """Let things come again: somebody wants them back, and says so."""
        self.add(one.model_copy(update={"why": "lifted", "at": at}) for one in stones)

    def has(self, kind: Kind, id_: str, project: str = "") -> Tombstone | None:
        """Return the tombstone of a thing, None when it may come."""
        found = self._read().get((kind, id_, project))
        return found if found and found.why != "lifted" else None

    def of(self, project: str) -> list[Tombstone]:
        """Return what is noted of a project and of what belonged to it, lifted ones too."""
        return [one for one in self._read().values() if project in (one.project, one.id)]

    def ids(self, kind: Kind) -> frozenset[str]:
        """Return the ids of all gone things of a kind."""
        return frozenset(one.id for one in self._read().values() if one.kind == kind and one.why != "lifted")

    def _read(self) -> dict[tuple[str, str, str], Tombstone]:
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            self._seen, self._known = None, {}
            return self._known
        except OSError as error:
            raise storage_error("read", self.path, error) from error
        if (stat.st_mtime_ns, stat.st_size) != self._seen:
            self._known = {}
            for line in self._lines():
                with suppress(ValidationError):  # torn by a crash, or of a newer version
                    one = Tombstone.model_validate_json(line)
                    self._known[_key(one)] = one
            self._seen = (stat.st_mtime_ns, stat.st_size)
        return self._known

    def _lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().splitlines()
        except OSError as error:
            raise storage_error("read", self.path, error) from error

    def _append(self, data: bytes) -> None:
        private_dir(self.path.parent)
        try:
            new = not self.path.exists()
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
            try:
                data = b"\n" + data  # not into a line that a crash has torn
                if os.write(fd, data) != len(data):
                    raise StorageError(f"Cannot write {self.path}: the disk is full; free some space and try again.")
                os.fsync(fd)
            finally:
                os.close(fd)
            if new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise storage_error("write", self.path, error) from error


def erasures(messages: str, project: str) -> dict[str, Erasure]:
    """Read what the messages of commits tell of a project's erasures: id -> erasure. What is malformed is none."""
    found: dict[str, Erasure] = {}
    last = ""
    for line in messages.splitlines():
        word, _, told = line.partition(": ")
        name, _, rest = told.partition(" ")
        with suppress(ValueError):
            if word == "Erasure":
                last = name
                found.setdefault(name, Erasure(name, datetime.fromisoformat(rest).astimezone(timezone.utc)))
            elif word == "Erased" and last in found and name in _TOLD:
                of = {"project": "" if name == "project" else project, "why": "erased", "at": found[last].at}
                stone = Tombstone.model_validate({"kind": name, "id": rest, **of})
                found[last] = found[last]._replace(stones=(*found[last].stones, stone))
    return found


def path_mark(project: str, path: str) -> str:
    """Return what stands for the path of a page: it says nothing to who does not know the path."""
    return hashlib.sha256(json.dumps([project, path]).encode()).hexdigest()[:32]


def _key(one: Tombstone) -> tuple[str, str, str]:
    return one.kind, one.id, one.project
