"""The index's rows about how pages are found and hang together, beside their words: names, links, sessions, successors.

A link is kept as it is written; what it leads to is decided when asked, since pages come and go.
"""

from __future__ import annotations

import posixpath
import sqlite3
from collections.abc import Iterable, Iterator

from ai_memory_mcp.model import Page

NAME, NEAR, SESSION, SUPERSEDES, SUPERSEDED_BY = "name", "near", "session", "supersedes", "superseded_by"


def put(db: sqlite3.Connection, page: Page, links: Iterable[str]) -> None:
    """Keep the facts of a page in place of the earlier ones."""
    drop(db, page.project, page.path)
    db.executemany(
        "INSERT INTO facts (project, path, fact, value) VALUES (?, ?, ?, ?)",
        [(page.project, page.path, fact, value) for fact, value in dict.fromkeys(_facts(page, links)) if value],
    )


def drop(db: sqlite3.Connection, project_id: str, path: str) -> None:
    """Forget the facts of a page."""
    db.execute("DELETE FROM facts WHERE project = ? AND path = ?", (project_id, path))


def _facts(page: Page, links: Iterable[str]) -> Iterator[tuple[str, str]]:
    stem = _stem(page.path)
    yield NAME, stem
    if page.title.lower() != stem.lower():
        yield NAME, page.title
    yield SESSION, page.session
    if page.kind == "session":
        yield SESSION, page.id
    yield SUPERSEDED_BY, page.superseded_by
    for ref in page.supersedes:
        yield SUPERSEDES, ref
    for link in links:
        near = _near(page.path, link)
        if near != link and ("/" in link or link.endswith(".md")):
            yield NEAR, near


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".md")


def _near(path: str, link: str) -> str:
    """Return the path that a link means when it is read relative to the folder of the page that has it."""
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return whole if whole.endswith(".md") else f"{whole}.md"


def named(db: sqlite3.Connection, project_id: str, ref: str) -> list[str]:
    """Return the paths of pages whose path (or its end), id, file name or title is `ref`; best match first."""
    path = ref if ref.endswith(".md") else f"{ref}.md"
    found = db.execute(
        "SELECT path, id, title, status, updated FROM pages WHERE project = :project AND path = :path"
        " UNION SELECT path, id, title, status, updated FROM pages WHERE id = :ref AND project = :project"
        " UNION SELECT p.path, p.id, p.title, p.status, p.updated FROM facts f JOIN pages p"
        " ON p.project = f.project AND p.path = f.path WHERE f.project = :project AND f.fact = 'name'"
        " AND f.value COLLATE NOCASE IN (:ref, :stem)",
        {"project": project_id, "ref": ref, "path": path, "stem": _stem(path)},
    ).fetchall()
    if "/" in ref:  # its end alone was looked up
        end = f"/{path}".lower()
        found = [row for row in found if f"/{row['path']}".lower().endswith(end) or ref in (row["id"], row["title"])]
    found.sort(key=lambda row: (row["path"] != path, row["id"] != ref, row["status"], -row["updated"], row["path"]))
    return [row["path"] for row in found]


def resolve(db: sqlite3.Connection, project_id: str, link: str, source: str = "") -> str:
    """Return the path of the page that a link in the page `source` leads to, '' when it leads nowhere."""
    whole = link if link.endswith(".md") else f"{link}.md"
    for path in (whole, _near(source, link)):
        if db.execute("SELECT 1 FROM pages WHERE project = ? AND path = ?", (project_id, path)).fetchone():
            return path
    return next(iter(named(db, project_id, link)), "")


def backlinks(db: sqlite3.Connection, page: Page) -> list[str]:
    """Return the paths of pages that link to a page by path, file name or title."""
    whole, stem = page.path.removesuffix(".md"), _stem(page.path)
    spelled = dict.fromkeys((page.path, whole, stem, f"{stem}.md", page.title))
    targets = db.execute(
        f"SELECT DISTINCT target FROM links WHERE project = ? AND target COLLATE NOCASE IN ({_marks(spelled)})",
        (page.project, *spelled),
    ).fetchall()
    meant = [row["target"] for row in targets if resolve(db, page.project, row["target"]) == page.path]
    found = db.execute(
        f"SELECT source FROM links WHERE project = ? AND target COLLATE NOCASE IN ({_marks(meant)})"
        " UNION SELECT path FROM facts WHERE project = ? AND fact = 'near' AND value COLLATE NOCASE = ? ORDER BY 1",
        (page.project, *meant, page.project, page.path),
    )
    return [row["source"] for row in found if row["source"] != page.path]


def having(db: sqlite3.Connection, project_id: str, fact: str, values: Iterable[str]) -> list[str]:
    """Return the paths of pages of which a fact has one of these values."""
    wanted = tuple(dict.fromkeys(values))
    found = db.execute(
        "SELECT DISTINCT path FROM facts WHERE project = ? AND fact = ?"
        f" AND value COLLATE NOCASE IN ({_marks(wanted)}) ORDER BY path",
        (project_id, fact, *wanted),
    )
    return [row["path"] for row in found]


def _marks(values: Iterable[object]) -> str:
    return ",".join("?" for _ in values)
