"""The index's rows about history: each commit of a project once, and each page that it touched.

A page's revisions are in order of `depth` (a commit's is one more than the largest of its parents'), not of time: a
session's page is committed with the time of the session. The newest row of a path always has the text it has in the
commit that was recorded last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ai_memory_mcp.gitlog import Commit, Touch
from ai_memory_mcp.index import rows

HEAD = "head:"  # + project id, among the facts about the index: the commit up to which history is recorded
DEEPEST = LATEST = 2**62
PAGES = 20  # of one commit are told; an import may have thousands
_COLUMNS = "c.number, c.id, c.at, c.author, c.subject, c.depth, c.project"


@dataclass(frozen=True)
class CommitRow:
    """A commit: `at` in Unix milliseconds; `pages` are at most PAGES of the `total` that it touched."""

    number: int
    id: str
    at: int
    author: str
    subject: str
    depth: int
    project: str
    pages: tuple[Touch, ...] = ()
    total: int = 0


def head(db: sqlite3.Connection, project_id: str) -> str:
    """Return the commit up to which a project's history is recorded, '' for none of it."""
    return rows.metas(db, HEAD + project_id).get("", "")


def known(db: sqlite3.Connection, project_id: str) -> set[str]:
    """Return the ids of the project's recorded commits."""
    return {row["id"] for row in db.execute("SELECT id FROM commits WHERE project = ?", (project_id,))}


def put_commits(db: sqlite3.Connection, project_id: str, commits: Sequence[Commit]) -> None:
    """Record commits, parents first, up to the last one; those known already are left as they are."""
    depths: dict[str, int] = {}
    for one in commits:
        depth = depths[one.id] = 1 + max((_depth(db, project_id, parent, depths) for parent in one.parents), default=0)
        done = db.execute(
            "INSERT OR IGNORE INTO commits (project, id, at, depth, author, subject) VALUES (?, ?, ?, ?, ?, ?)",
            (project_id, one.id, one.at * 1000, depth, one.author, one.subject),
        )
        if done.rowcount > 0:
            db.executemany(
                "INSERT INTO revisions (project, path, depth, number, how, blob) VALUES (?, ?, ?, ?, ?, ?)",
                [(project_id, page.path, depth, done.lastrowid, page.how, page.blob) for page in one.pages],
            )
    if commits:
        rows.set_meta(db, HEAD + project_id, commits[-1].id)


def _depth(db: sqlite3.Connection, project_id: str, commit: str, depths: dict[str, int]) -> int:
    if commit not in depths:
        row = db.execute("SELECT depth FROM commits WHERE project = ? AND id = ?", (project_id, commit)).fetchone()
        depths[commit] = row["depth"] if row else 0
    return depths[commit]


def drop(db: sqlite3.Connection, project_id: str) -> None:
    """Forget a project's history: it was rewritten, or the project is gone."""
    for table in ("commits", "revisions"):
        db.execute(f"DELETE FROM {table} WHERE project = ?", (project_id,))
    rows.drop_meta(db, HEAD + project_id)


def of_page(
    db: sqlite3.Connection,
    project_id: str,
    path: str,
    *,
    limit: int,
    below: int = DEEPEST,
    until: int = LATEST,
    merges: bool = False,
) -> list[CommitRow]:
    """Return the commits that touched a page, newest first, each with that page alone.

    Those below a depth, committed until a time (Unix ms); `merges` adds those that took the page from one side.
    """
    found = db.execute(
        f"SELECT {_COLUMNS}, r.path, r.how, r.blob FROM revisions r JOIN commits c ON c.number = r.number"
        " WHERE r.project = ? AND r.path = ? AND r.depth < ? AND c.at <= ? AND (? OR r.how <> 'merged')"
        " ORDER BY r.depth DESC, c.at DESC, c.id LIMIT ?",
        (project_id, path, below, until, merges, limit),
    )
    return [_row(row, (_touch(row),), 1) for row in found]


def before(db: sqlite3.Connection, project_id: str, path: str, depth: int) -> bytes:
    """Return the id of the text that a page had before a commit of this depth, b"" for none."""
    row = db.execute(
        "SELECT blob FROM revisions WHERE project = ? AND path = ? AND depth < ? ORDER BY depth DESC LIMIT 1",
        (project_id, path, depth),
    ).fetchone()
    return row["blob"] if row else b""


def moved_from(db: sqlite3.Connection, project_id: str, path: str) -> tuple[str, int]:
    """Return where a page stood before its first commit, and that commit's depth; ("", 0) where it was new.

    That is the path which had the same text then and is gone since.
    """
    row = db.execute(
        "SELECT r.path, f.depth FROM (SELECT blob, depth FROM revisions WHERE project = :project AND path = :path"
        " ORDER BY depth LIMIT 1) f JOIN revisions r ON r.blob = f.blob AND r.depth < f.depth"
        " WHERE r.project = :project AND r.path <> :path"
        " AND NOT EXISTS (SELECT 1 FROM pages p WHERE p.project = r.project AND p.path = r.path)"
        " ORDER BY r.depth DESC, r.path LIMIT 1",
        {"project": project_id, "path": path},
    ).fetchone()
    return (row["path"], row["depth"]) if row else ("", 0)


def recent(db: sqlite3.Connection, project_id: str, limit: int) -> list[CommitRow]:
    """Return a project's newest commits, each with the pages that it changed."""
    found = db.execute(
        f"SELECT {_COLUMNS} FROM commits c WHERE c.project = ? ORDER BY c.at DESC, c.depth DESC, c.id LIMIT ?",
        (project_id, limit),
    ).fetchall()
    return [_row(row, *_pages(db, row["number"])) for row in found]


def pages_of(db: sqlite3.Connection, number: int) -> list[Touch]:
    """Return every page that a commit changed, by its number here."""
    found = db.execute("SELECT path, how, blob FROM revisions WHERE number = ? AND how <> 'merged'", (number,))
    return [_touch(row) for row in found]


def _pages(db: sqlite3.Connection, number: int) -> tuple[tuple[Touch, ...], int]:
    where = "FROM revisions WHERE number = ? AND how <> 'merged'"
    found = db.execute(f"SELECT path, how, blob {where} ORDER BY path LIMIT {PAGES}", (number,)).fetchall()
    total = len(found) if len(found) < PAGES else db.execute(f"SELECT count(*) {where}", (number,)).fetchone()[0]
    return tuple(map(_touch, found)), total


def commits_named(db: sqlite3.Connection, project_id: str, prefix: str) -> list[CommitRow]:
    """Return the project's commits whose id begins so, at most two, without their pages."""
    found = db.execute(
        f"SELECT {_COLUMNS} FROM commits c WHERE c.project = ? AND c.id >= ? AND c.id < ? ORDER BY c.id LIMIT 2",
        (project_id, prefix, prefix + "g"),
    )
    return [_row(row, (), 0) for row in found]


def paths_named(db: sqlite3.Connection, project_id: str, ref: str) -> list[str]:
    """Return the paths, those of pages that are gone too, that are `ref` or end with it, the last touched first."""
    path = ref if ref.endswith(".md") else ref + ".md"
    exact = db.execute("SELECT 1 FROM revisions WHERE project = ? AND path = ? LIMIT 1", (project_id, path))
    if exact.fetchone():
        return [path]
    inside = path.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    found = db.execute(
        "SELECT path FROM revisions WHERE project = ? AND path LIKE ? ESCAPE '\\'"
        " GROUP BY path ORDER BY max(depth) DESC, path LIMIT 10",
        (project_id, f"%/{inside}"),
    )
    return [row["path"] for row in found]


def _touch(row: sqlite3.Row) -> Touch:
    return Touch(row["path"], row["how"], row["blob"])


def _row(row: sqlite3.Row, pages: tuple[Touch, ...], total: int) -> CommitRow:
    number, commit, at, author, subject, depth, project = tuple(row)[:7]
    return CommitRow(number, commit, at, author, subject, depth, project, pages, total)
