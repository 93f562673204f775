"""What holds of every AI_MEMORY_HOME whatever has happened to it, and how to look at one from outside."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TABLES = """projects observations unstored offers pages passages sizes links handoffs files facts commits revisions
    feedback uses"""


def rows_of(home: Path) -> dict[str, list[str]]:
    """Return the index's contents; what only says where indexing stands, or in which order rows came, is left out."""
    db = sqlite3.connect(home / "index.db")
    found = {}
    for table in TABLES.split():
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in ("rowid", "number")]
        found[table] = sorted(
            row for row in map(repr, db.execute(f"SELECT {', '.join(columns)} FROM {table}")) if ", 0, 0)" not in row
        )
    sessions = [json.loads(row[0]) for row in db.execute("SELECT record FROM sessions ORDER BY id")]
    found["sessions"] = [
        repr({key: value for key, value in one.items() if key not in ("dirty", "number")}) for one in sessions
    ]
    db.close()
    return found


def events(home: Path) -> Counter[str]:
    """Count, by event id, what was stored of events: an observation, an offer, or why not. None may be there twice."""
    found: Counter[str] = Counter()
    for path in journals(home):
        records = (json.loads(line) for line in said(path).splitlines())
        found.update(one["id"] for one in records if one["type"] in ("observation", "offer", "unstored"))
    return found


def journals(home: Path) -> list[Path]:
    """Return the files of the journal, compressed ones where there is no plain one."""
    found = sorted((home / "journal").rglob("*.jsonl*"))
    return [path for path in found if path.suffix in (".jsonl", ".gz") and path.with_suffix("") not in found]


def said(path: Path) -> bytes:
    """Return what a file of the journal says: a last line that is torn is nobody's, the next writer cuts it off."""
    data = path.read_bytes()
    whole = gzip.decompress(data) if path.suffix == ".gz" else data
    return whole[: whole.rfind(b"\n") + 1]


def spooled(home: Path) -> set[str]:
    """Return the ids of the events that wait, by the names of their files."""
    return {path.name.rpartition("-")[0] for path in (home / "spool").glob("[!.]*.json")}


def pages(home: Path) -> dict[str, str]:
    """Return the pages of all wikis, as they are on disk."""
    found = (path for path in (home / "wiki").rglob("*.md") if ".git" not in path.parts)
    return {str(path.relative_to(home)): path.read_text(encoding="utf-8") for path in found}


def wikis(home: Path) -> list[Path]:
    return [path.parent for path in sorted((home / "wiki").glob("*/*/.git"))]


def git_problems(wiki: Path) -> str:
    """Return what git finds wrong or uncommitted, '' when all is well."""
    checks = (["fsck", "--strict", "--no-dangling"], ["status", "--porcelain"])
    done = [subprocess.run(["git", "-C", wiki, *one], capture_output=True, text=True, check=False) for one in checks]
    return "".join(one.stdout + one.stderr for one in done if one.stdout.strip() or one.returncode)


def leftovers(home: Path) -> Iterator[Path]:
    """Yield what nobody needs once nobody is at work: unfinished files, git's locks, marks of who holds a lock."""
    for path in home.rglob("*"):
        inside = path.relative_to(home)
        unfinished = path.name.startswith((".", "tmp_")) and path.name.endswith((".tmp", ".pack", ".idx"))
        lock = path.name.endswith(".lock") and ".git" in inside.parts
        temporary = path.name.startswith("tmp_") or path.name in (".git-new", "ai-memory-index", "ai-memory-writing")
        if unfinished or lock or temporary or path.name.endswith(".holder"):
            yield path
