"""Opening the index: short-lived read-only connections for readers, one locked connection for writers.

SQLite 3.7.0-3.51.2 can lose a committed transaction when several processes write and checkpoint one WAL file, so
writing, closing and checkpointing all happen under `locks/index.lock`, and readers open read-only (they cannot
checkpoint). A connection that asks anything never outlives one operation: an index that was deleted or rebuilt is
noticed at once.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from ai_memory_mcp.errors import BusyError, StorageError
from ai_memory_mcp.files import locked, remove, replace, storage_error
from ai_memory_mcp.index.schema import VERSION, prepare

Connection = sqlite3.Connection  # of one operation; named here so that nobody else needs the driver
PAGE_SIZE = 8_192  # bytes; on SQLite's 4,096 an observation of 2 KB with its terms leaves half a page empty
LOCK_WAIT = 30.0  # seconds; a writer holds the lock for one batch
READERS_WAIT = 20.0  # seconds; a reader has it open for one question


class Index:
    """The file `index.db` of AI_MEMORY_HOME."""

    def __init__(self, home: Path, name: str = "index") -> None:
        self._home = home
        self.path = home / f"{name}.db"
        self.lock = home / "locks" / f"{name}.lock"

    def ready(self) -> bool:
        """Tell whether the index is there, of this version and completely built."""
        try:
            with self.read() as db:
                return db.execute("SELECT 1 FROM meta WHERE key = 'complete'").fetchone() is not None
        except StorageError:
            return False

    def damage(self) -> str:
        """Say what SQLite's own quick check finds wrong with the file ('' for nothing); it reads the whole file."""
        try:
            with self.read() as db:
                found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except StorageError as error:
            return str(error)
        return "" if found == "ok" else f"{self.path} is damaged: {found}"

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Open for reading. Raises StorageError when there is no index, or one of another version."""
        try:
            connection = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=5.0)
        except sqlite3.Error as error:
            raise StorageError(f"{self.path} cannot be opened: {error}; run: ai-memory-mcp reindex") from error
        with closing(connection), _translated(self.path):
            connection.row_factory = sqlite3.Row
            if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                raise StorageError(f"{self.path} is of another version; run: ai-memory-mcp reindex")
            yield connection

    def hold(self) -> Connection | None:
        """Keep the index open until what this returns is closed, and do nothing with it; None where it cannot be.

        Who closes it last brings the log into the file and removes it: in a process that uses it all the time that is
        a quarter of what storing an event costs. Not on Windows: there an open file is in the way of a new one.
        """
        if os.name != "posix":
            return None
        with suppress(sqlite3.Error), ExitStack() as stack:
            connection = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=5.0)
            stack.callback(connection.close)
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # before, it is in nobody's count
            stack.pop_all()
            return connection
        return None

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open one transaction under the writers' lock: committed at the end, rolled back on any error."""
        with locked(self.lock, timeout=LOCK_WAIT), _translated(self.path):
            connection = sqlite3.connect(self.path, timeout=5.0, isolation_level=None)
            with closing(connection):
                connection.row_factory = sqlite3.Row
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # counts for a new file only
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                try:
                    os.chmod(self.path, 0o600)
                except OSError as error:
                    raise storage_error("use", self.path, error) from error
                prepare(connection)
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()

    def beside(self) -> Index:
        """Return an index of the same home, to be built while this one still answers."""
        return Index(self._home, "index-new")

    def become(self, other: Index, finish: Callable[[], None]) -> None:
        """Put the content of a complete index in place of this one's, and remove that. `finish` runs just before.

        Who reads meanwhile reads the old content to the end. Nothing of that stays in the file or beside it: raises
        BusyError where a reader hinders that for long.
        """
        with locked(self.lock, timeout=LOCK_WAIT):
            finish()
            if self.ready():
                with _translated(self.path), closing(sqlite3.connect(self.path, timeout=5.0)) as here:
                    with closing(sqlite3.connect(other.path, timeout=5.0)) as there:
                        there.backup(here)
                    self._shrink(here)
            else:
                _remove(self.path)
                with _translated(other.path), closing(sqlite3.connect(other.path)) as there:
                    there.execute("PRAGMA journal_mode = DELETE")  # what is moved has no companions
                replace(other.path, self.path)
        other.discard()

    def _shrink(self, db: sqlite3.Connection) -> None:
        """Have what was committed in the file itself, and an empty log beside it."""
        until = time.monotonic() + READERS_WAIT
        while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > until:
                raise BusyError(f"somebody reads {self.path} since {READERS_WAIT:g} s; end that, and try again")
            time.sleep(0.05)

    def discard(self) -> None:
        """Remove the file and its companions; whoever reads next has it rebuilt."""
        with locked(self.lock, timeout=LOCK_WAIT):
            _remove(self.path)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        try:
            remove(f"{path}{suffix}")
        except OSError as error:
            raise storage_error("remove", path, error) from error


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise sqlite_error(path, error, "run: ai-memory-mcp reindex") from error


def sqlite_error(path: Path, error: sqlite3.Error, mended: str) -> StorageError:
    """Return what SQLite says of a file as an error of ours; `mended` is how the file is made anew."""
    full = "see whether the disk is full or failing; " if isinstance(error, sqlite3.OperationalError) else ""
    return StorageError(f"{path}: {error}; {full}if this stays, {mended}")
