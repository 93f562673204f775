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


def resolve(db: sqlite3.Connection, project_id: str, link: str, source: str) -> str:
    """Return the path of the page that a link in the page `source` leads to, '' when it leads nowhere.

    It is read relative to its own folder, to the wiki, and as a name, in this order; with dots only the first.
    """
    dotted = link.startswith(("./", "../"))
    for path in [_near(source, link)] if dotted else [_near(source, link), _near("", link)]:
        if db.execute("SELECT 1 FROM pages WHERE project = ? AND path = ?", (project_id, path)).fetchone():
            return path
    names = [] if dotted else named(db, project_id, link)
    return names[0] if names else ""


def backlinks(db: sqlite3.Connection, page: Page) -> list[str]:
    """Return the paths of pages that link to a page, however they name it: by path or its end, id or title."""
    parts = page.path.removesuffix(".md").split("/")
    ends = ["/".join(parts[first:]) for first in range(len(parts))]
    spelled = (*ends, *(f"{end}.md" for end in ends), page.id, page.title)
    found = set(having(db, page.project, NEAR, [page.path]))
    alike: dict[tuple[str, str], set[str]] = {}  # what is written alike in one folder leads to one page
    for row in _any(db, "source, target FROM links WHERE project = ? AND target", (page.project,), spelled):
        alike.setdefault((row["target"], posixpath.dirname(row["source"])), set()).add(row["source"])
    for (target, _), sources in alike.items():
        if resolve(db, page.project, target, min(sources)) == page.path:  # a name may be another page's as well
            found |= sources
    return sorted(found - {page.path})


def having(db: sqlite3.Connection, project_id: str, fact: str, values: Iterable[str]) -> list[str]:
    """Return the paths of pages of which a fact has one of these values."""
    found = _any(db, "path FROM facts WHERE project = ? AND fact = ? AND value", (project_id, fact), values)
    return sorted({row["path"] for row in found})


def _any(db: sqlite3.Connection, query: str, args: tuple[str, ...], values: Iterable[str]) -> list[sqlite3.Row]:
    """Select what has one of these values. No order is asked for, which would keep SQLite from the index by value."""
    wanted = tuple(dict.fromkeys(values))
    marks = ",".join("?" * len(wanted))
    return db.execute(f"SELECT {query} COLLATE NOCASE IN ({marks})", (*args, *wanted)).fetchall()
