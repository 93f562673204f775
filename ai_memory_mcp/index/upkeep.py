"""What upkeep asks of the index: all pages of a project at once, with what became of them."""

from __future__ import annotations

import posixpath
import sqlite3

from ai_memory_mcp.index import facts, rows
from ai_memory_mcp.model import Feedback, Link, Page

SOME = 500  # ids of one question


def pages(db: sqlite3.Connection, project_id: str) -> dict[str, tuple[Page, int]]:
    """Return every page of a project without its body, and its bytes on disk, by path."""
    found = db.execute("SELECT record, size FROM pages WHERE project = ? ORDER BY path", (project_id,))
    return {page.path: (page, row["size"]) for row in found for page in [rows.page_of(row["record"])]}


def links(db: sqlite3.Connection, project_id: str) -> dict[str, list[Link]]:
    """Return the links of every page, as they are written and what they lead to."""
    found: dict[str, list[Link]] = {}
    led: dict[tuple[str, str], str] = {}  # what is written alike in one folder leads to one page
    sql = "SELECT source, target FROM links WHERE project = ? ORDER BY source, target"
    for row in db.execute(sql, (project_id,)).fetchall():
        key = (row["target"], posixpath.dirname(row["source"]))
        if key not in led:
            led[key] = facts.resolve(db, project_id, row["target"], row["source"])
        found.setdefault(row["source"], []).append(Link(target=row["target"], path=led[key]))
    return found


def successor(db: sqlite3.Connection, page: Page) -> str:
    """Return the path of the page that superseded a page, '' when it says none that is there."""
    named = facts.resolve(db, page.project, page.superseded_by, page.path) if page.superseded_by else ""
    if named:
        return named
    known_as = (page.path, page.path.removesuffix(".md"), page.id, page.title)
    return next(iter(facts.having(db, page.project, facts.SUPERSEDES, known_as)), "")


def moved_to(db: sqlite3.Connection, project_id: str, source: str, link: str) -> str:
    """Return where the page is now that a broken link in the page `source` led to, '' when that is not certain.

    It is the one page that had the text of the one which was there, or the only one with its file name.
    """
    whole = link if link.endswith(".md") else f"{link}.md"
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(source), whole))
    here: set[str] = set()
    for gone in dict.fromkeys((beside, posixpath.normpath(whole))):
        found = db.execute(
            "SELECT DISTINCT p.path FROM revisions g JOIN revisions r ON r.blob = g.blob AND r.project = g.project"
            " JOIN pages p ON p.project = r.project AND p.path = r.path"
            " WHERE g.project = ? AND g.path = ? AND g.blob <> x''",
            (project_id, gone),
        )
        here = {row["path"] for row in found}
        if here:
            break
    stem = posixpath.basename(whole).removesuffix(".md")
    here = here or {path for path in facts.named(db, project_id, stem) if posixpath.basename(path) == f"{stem}.md"}
    return here.pop() if len(here) == 1 else ""


def uses(db: sqlite3.Connection, project_id: str) -> dict[str, tuple[int, int]]:
    """Return how often and when last (Unix ms) each page of a project was opened; no entry for never."""
    found = db.execute("SELECT id, count, last FROM uses WHERE project = ?", (project_id,))
    return {row["id"]: (row["count"], row["last"]) for row in found}


def verdicts(db: sqlite3.Connection, project_id: str) -> dict[str, list[Feedback]]:
    """Return the verdicts that stand of each page and observation of a project."""
    told = db.execute("SELECT DISTINCT target FROM feedback WHERE project = ? ORDER BY target", (project_id,))
    ids = [row["target"] for row in told]
    found: dict[str, list[Feedback]] = {}
    for start in range(0, len(ids), SOME):
        for one in rows.standing(db, ids[start : start + SOME]):
            found.setdefault(one.target, []).append(one)
    return found
