"""Opening the index: short-lived read-only connections for readers, one locked connection for writers.

SQLite 3.7.0-3.51.2 can lose a committed transaction when several processes write and checkpoint one WAL file, so
writing, closing and checkpointing all happen under `locks/index.lock`, and readers open read-only (they cannot
checkpoint). A connection never outlives one operation: an index that was deleted or rebuilt is noticed at once.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.files import locked, remove, storage_error
from ai_memory_mcp.index.schema import VERSION, prepare

Connection = sqlite3.Connection  # of one operation; named here so that nobody else needs the driver
PAGE_SIZE = 8_192  # bytes; on SQLite's 4,096 an observation of 2 KB with its terms leaves half a page empty
LOCK_WAIT = 30.0  # seconds; a writer holds the lock for one batch


class Index:
    """The file `index.db` of AI_MEMORY_HOME."""

    def __init__(self, home: Path) -> None:
        self.path = home / "index.db"
        self.lock = home / "locks" / "index.lock"

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

    def discard(self) -> None:
        """Remove the file and its companions; whoever reads next has it rebuilt."""
        with locked(self.lock, timeout=LOCK_WAIT):
            for suffix in ("", "-wal", "-shm"):
                try:
                    remove(f"{self.path}{suffix}")
                except OSError as error:
                    raise storage_error("remove", self.path, error) from error


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        full = "see whether the disk is full or failing; " if isinstance(error, sqlite3.OperationalError) else ""
        raise StorageError(f"{path}: {error}; {full}if this stays, run: ai-memory-mcp reindex") from error
