"""Looking into SQLite files of other programs: read only, and nothing of theirs is changed or kept open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ai_memory_mcp.errors import StorageError


def rows(path: Path, sql: str, args: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query by their columns' names. Raises StorageError for what is no such database."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
            db.row_factory = sqlite3.Row
            for row in db.execute(sql, tuple(args)):
                yield dict(row)
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
