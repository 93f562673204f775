"""How many bytes each part of the memory takes on the disk, and took on earlier days: `cache/sizes.jsonl`.

Looking through a large memory takes a while, so it is done once a day and noted, a line each time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from ai_memory_mcp.files import is_recent, private_dir, write_atomic
from ai_memory_mcp.model import Value

FILE = "cache/sizes.jsonl"
PARTS = ("spool", "journal", "wiki", "backups", "logs", "brief", "cache", "bin", "llm", "sync")  # the folders
DAILY = timedelta(hours=20)
KEPT = 400  # lines


class Measured(Value):
    """Bytes by part, at a time."""

    at: datetime
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        """All bytes."""
        return sum(self.sizes.values())


def measure(home: Path) -> dict[str, int]:
    """Return the bytes of each part; of 20,000 files in about 0.2 s."""
    files = {"vectors": _taken(home / "vectors.db"), "index": of_index(home)}
    return {part: _taken(home / part) for part in PARTS} | files


def of_index(home: Path) -> int:
    """Return the bytes of the index."""
    return sum(_taken(home / f"index.db{end}") for end in ("", "-wal", "-shm"))


def note(home: Path, now: datetime, *, after: timedelta = DAILY) -> None:
    """Measure and note it, if that was not done for so long. Raises StorageError."""
    if is_recent(home / FILE, after.total_seconds(), now=now.timestamp()):
        return
    lines = [one.model_dump_json() for one in (*noted(home)[1 - KEPT :], Measured(at=now, sizes=measure(home)))]
    private_dir(home / "cache")
    write_atomic(home / FILE, "".join(f"{line}\n" for line in lines).encode())


def noted(home: Path) -> list[Measured]:
    """Return what was measured, the newest last; lines that are damaged are passed over."""
    found = []
    with suppress(OSError):
        for line in (home / FILE).read_bytes().splitlines():
            with suppress(ValidationError):
                found.append(Measured.model_validate_json(line))
    return found


def grown(known: list[Measured], span: timedelta) -> int | None:
    """Return by how many bytes the memory has grown in a span that ends with the last measuring; None: not known."""
    if not known:
        return None
    last = known[-1]
    before = [one for one in known if one.at <= last.at - span + timedelta(hours=4)]  # days are never quite as long
    return last.total - before[-1].total if before else None


def readable(size: float) -> str:
    """Return bytes as people read them."""
    for unit in ("bytes", "KB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} GB"


def _taken(path: Path) -> int:
    """The bytes in a file or in all files below a folder; 0 where there is none."""
    if not path.is_dir():
        return path.lstat().st_size if path.exists() else 0
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
