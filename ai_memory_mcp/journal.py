"""The journal: append-only durable record, one file per session, plus one for events that were not stored.

Every line is a JSON object with a `type`: `session` (the header), `observation`, `offer`, `close`, `alias`; in
`unstored.jsonl`: `unstored`. A torn last line (crash while appending) is cut off by the next writer: its event is
still in the spool.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_memory_mcp.errors import StorageError

UNSTORED = "unstored.jsonl"


class Journal:
    """The folder `journal/` of AI_MEMORY_HOME. Writers hold the ingest lock."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "journal"

    def name_of(self, project: str, session: str) -> str:
        """Return the name of a session's file, relative to the journal."""
        return f"{project}/{session}.jsonl"

    def names(self) -> list[str]:
        """Return every file's name, sessions first, in a stable order."""
        found = sorted(f"{path.parent.name}/{path.name}" for path in self.folder.glob("*/*.jsonl"))
        return found + ([UNSTORED] if (self.folder / UNSTORED).exists() else [])

    def size(self, name: str) -> int:
        """Return a file's size in bytes, 0 when it is not there."""
        try:
            return os.stat(self.folder / name).st_size
        except FileNotFoundError:
            return 0

    def append(self, name: str, lines: list[str]) -> int:
        """Append whole lines durably, after cutting off a torn one. Returns the new size in bytes."""
        path = self.folder / name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        try:
            end = _whole_end(fd)
            os.ftruncate(fd, end)
            os.lseek(fd, end, os.SEEK_SET)
            data = memoryview("".join(line + "\n" for line in lines).encode("utf-8", "replace"))
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
            return os.fstat(fd).st_size
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        finally:
            os.close(fd)

    def read(self, name: str, start: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the records from byte `start` on; lines that are torn or not JSON objects are passed over."""
        try:
            with open(self.folder / name, "rb") as file:
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(record, dict):
                        yield record
        except FileNotFoundError:
            return


def _whole_end(fd: int) -> int:
    """Return the offset just after the last newline."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - 65_536)
        chunk = os.pread(fd, end - start, start) if hasattr(os, "pread") else _read_at(fd, start, end - start)
        at = chunk.rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def _read_at(fd: int, start: int, count: int) -> bytes:
    os.lseek(fd, start, os.SEEK_SET)
    return os.read(fd, count)
