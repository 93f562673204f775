"""Looking into SQLite files of other programs: read only, and nothing of theirs is changed or kept open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ai_memory_mcp.errors import StorageError

_WAL = b"\x02\x02"  # of the header, which writing and reading go by a log beside the file


def rows(path: Path, sql: str, args: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query by their columns' names. Raises StorageError for what is no such database."""
    try:
        with closing(sqlite3.connect(_address(path), uri=True, timeout=5.0)) as db:
            db.row_factory = sqlite3.Row
            for row in db.execute(sql, tuple(args)):
                yield dict(row)
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def columns(path: Path, table: str) -> frozenset[str]:
    """Return the names of a table's columns; none where there is no such table. Raises StorageError as `rows` does."""
    real = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1"  # a view may never end
    sql = f"SELECT name FROM pragma_table_info(?1) WHERE EXISTS ({real})"
    return frozenset(str(row["name"]) for row in rows(path, sql, (table,)))


def _address(path: Path) -> str:
    """A file that was closed in order has no log, and whoever opened it even to read would leave an empty one."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with open(path, "rb") as file:
            closed = file.read(20)[18:] == _WAL and not Path(f"{path}-wal").exists()
    except OSError:  # SQLite says what is wrong with it
        closed = False
    return f"{uri}&immutable=1" if closed else uri
