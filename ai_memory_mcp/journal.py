"""The journal: append-only durable record, one file per session, plus one for events that were not stored.

Every line is a JSON object with a `type`: `session` (the header), `observation`, `offer`, `end` (told by the agent
in another project), `close`; in `unstored.jsonl`: `unstored`; in a project's `feedback.jsonl`: `feedback`. A torn last
line (crash while appending) is cut off by the next writer: its event is still in the spool. `uses.log` beside them
counts how often pages were opened; it is written without a lock and may lose some.

Old files are compressed to `.jsonl.gz`: they are read under either name, and unpacked again by who appends to them.
Where both are there (a crash came in between), the plain one counts.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.files import private_dir, remove, storage_error, sync_folder, write_atomic

UNSTORED = "unstored.jsonl"
USES = "uses.log"
PACKED = ".gz"
MANY = 1_000  # lines of such a log; when most of them repeat what it says of other lines, they are summed up


class Journal:
    """The folder `journal/` of AI_MEMORY_HOME. Writers hold the ingest lock (of feedback: the index's)."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "journal"

    def name_of(self, project: str, session: str) -> str:
        """Return the name of a session's file, relative to the journal."""
        return f"{project}/{session}.jsonl"

    def sizes(self) -> dict[str, int]:
        """Return every file's name with its size in bytes, compressed ones as they are; sessions first, in order."""
        found: dict[str, int] = {}
        unstored: dict[str, int] = {}
        for entry in _listed(self.folder):
            if entry.name == UNSTORED:
                unstored[UNSTORED] = entry.stat().st_size
            elif entry.is_dir():
                inner = {file.name: file for file in _listed(entry.path)}
                for name, file in inner.items():
                    plain = name.removesuffix(PACKED)
                    if plain.endswith(".jsonl") and (name == plain or plain not in inner):
                        found[f"{entry.name}/{name}"] = file.stat().st_size
        return found | unstored

    def size(self, name: str) -> int:
        """Return the bytes of a file as it is on disk, 0 where there is none."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def begun(self, name: str) -> tuple[bool, str]:
        """Return what sorts files by the time their session began, events that were not stored last."""
        header = next(self.read(name), {})
        return name == UNSTORED, str(header.get("started", ""))

    def whole_size(self, name: str) -> int:
        """Return how many bytes (unpacked) of a file are whole lines: what the next writer goes on from."""
        if name.endswith(PACKED):
            with self._opened(name) as file:
                return sum(len(line) for line in file or () if line.endswith(b"\n"))
        try:
            with open(self.folder / name, "rb") as file:
                return _whole_end(file.fileno())
        except FileNotFoundError:
            return 0

    def append(self, name: str, lines: list[str]) -> int:
        """Append whole lines durably, after cutting off a torn one. Returns the new size in bytes.

        Raises StorageError when the disk refuses; then the file is as long as before.
        """
        path = self.folder / name
        private_dir(path.parent)
        self._unpack(name)
        data = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            try:
                end = _whole_end(fd)
                _put(fd, end, data)
            finally:
                os.close(fd)
            if end == 0:
                sync_folder(path.parent)
        except OSError as error:
            raise storage_error("write", path, error) from error
        return end + len(data)

    def note_use(self, project: str, page: str, at: int) -> None:
        """Note that a page was opened (Unix ms). Nobody waits for it; on a disk that refuses nothing happens."""
        path = self.folder / project / USES
        with suppress(OSError, StorageError):
            private_dir(path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            fd = os.open(path, flags, 0o600)
            try:
                os.write(fd, _use(page, 1, at))
            finally:
                os.close(fd)

    def uses_sizes(self) -> dict[str, int]:
        """Return the bytes of each project's log of uses."""
        found = {}
        for entry in _listed(self.folder):
            with suppress(OSError):
                found[entry.name] = os.stat(os.path.join(entry.path, USES)).st_size
        return found

    def uses(self, project: str) -> dict[str, tuple[int, int]]:
        """Return how often and when last (Unix ms) each page of a project was opened; sums up a long log."""
        path = self.folder / project / USES
        found: dict[str, tuple[int, int]] = {}
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            with suppress(ValueError, TypeError, OverflowError):  # torn, or damaged
                page, count, at = json.loads(line)
                times, last = found.get(str(page), (0, 0))
                found[str(page)] = (times + int(count), max(last, int(at)))
        if len(lines) > MANY and len(lines) > 4 * len(found):
            with suppress(StorageError):  # what is noted in this very moment is lost: it is a count, not a record
                write_atomic(path, b"".join(_use(page, *use) for page, use in found.items()))
        return found

    def pack(self, name: str) -> int:
        """Compress a file. Returns the new size in bytes. Raises StorageError; then it is as before."""
        path = self.folder / name
        try:
            data = gzip.compress(path.read_bytes(), compresslevel=6, mtime=0)
            write_atomic(f"{path}{PACKED}", data, durable=True)
            remove(path)
        except OSError as error:
            raise storage_error("compress", path, error) from error
        return len(data)

    def replace(self, name: str, lines: list[str]) -> int:
        """Put these lines in place of a whole file. Returns its size in bytes. Raises StorageError."""
        path = self.folder / name
        data = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
        write_atomic(path, data, durable=True)
        remove(f"{path}{PACKED}")
        return len(data)

    def _unpack(self, name: str) -> None:
        """Make a compressed file a plain one again."""
        path = self.folder / name
        packed = f"{path}{PACKED}"
        if not path.exists() and os.path.exists(packed):
            with self._opened(name) as file:
                write_atomic(path, file.read() if file else b"", durable=True)
        if os.path.exists(packed):
            remove(packed)

    def read(self, name: str, start: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the records from byte `start` on; lines that are torn or not JSON objects are passed over."""
        with self._opened(name) as file:
            if file is None:
                return
            with suppress(EOFError, zlib.error, gzip.BadGzipFile):  # damaged: what stands before it is read
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

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes] | None]:
        """Open a file to read, under the name that it has at the moment; None where there is none."""
        plain = self.folder / name.removesuffix(PACKED)
        for path in (plain, Path(f"{plain}{PACKED}"), plain):  # it may be compressed or unpacked just now
            try:
                raw = open(path, "rb")  # noqa: SIM115 - closed below
            except FileNotFoundError:
                continue
            with raw:
                if path == plain:
                    yield raw
                else:
                    with gzip.GzipFile(fileobj=raw) as file:
                        yield cast(IO[bytes], file)
            return
        yield None


def _use(page: str, count: int, at: int) -> bytes:
    return json.dumps([page, count, at]).encode() + b"\n"


def _put(fd: int, end: int, data: bytes) -> None:
    """Write at `end`, dropping what stood behind it, and sync; on failure nothing is left behind `end`."""
    os.ftruncate(fd, end)
    os.lseek(fd, end, os.SEEK_SET)
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, end)
        raise


def _listed(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return a folder's entries by name, none where it is missing."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


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
