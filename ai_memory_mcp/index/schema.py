"""The index's tables as numbered migrations. sqlite-utils is imported here only: creating is rare, opening is not.

A migration may also just drop everything: the index is rebuilt from files when `meta.complete` is missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

TOKENIZE = "porter unicode61 remove_diacritics 2"


def m001_initial(db: Database) -> None:
    """Create every table of the first version."""
    db.table("meta").create({"key": str, "value": str}, pk="key", if_not_exists=True)
    db.table("projects").create({"id": str, "name": str, "workspace": str, "record": str}, pk="id", if_not_exists=True)
    sessions = db.table("sessions").create(
        {
            "id": str,
            "project": str,
            "agent": str,
            "native_id": str,
            "state": str,
            "last": int,
            "dirty": int,
            "record": str,
        },
        pk="id",
        if_not_exists=True,
    )
    sessions.create_index(["project", "last"], if_not_exists=True)
    sessions.create_index(["agent", "native_id"], if_not_exists=True)
    sessions.create_index(["dirty", "state"], if_not_exists=True)
    db.table("files").create({"name": str, "size": int}, pk="name", if_not_exists=True)
    observations = db.table("observations").create(
        {
            "rowid": int,
            "id": str,
            "session": str,
            "project": str,
            "seq": int,
            "at": int,
            "kind": str,
            "real": int,
            "key": str,
            "title": str,
            "body": str,
            "terms": str,
            "scope": str,
        },
        pk="rowid",
        if_not_exists=True,
    )
    observations.create_index(["id"], unique=True, if_not_exists=True)
    observations.create_index(["session", "key"], if_not_exists=True)
    observations.create_index(["project", "kind"], if_not_exists=True)
    observations.enable_fts(["title", "body", "terms", "scope"], tokenize=TOKENIZE, create_triggers=True, replace=True)
    db.table("unstored").create({"id": str, "why": str, "project": str}, pk="id", if_not_exists=True)
    db.table("offers").create({"id": str, "session": str, "handoff": str, "at": int}, pk="id", if_not_exists=True)
    db.table("offers").create_index(["session"], if_not_exists=True)
    db.table("offers").create_index(["handoff"], if_not_exists=True)
    pages = db.table("pages").create(
        {
            "rowid": int,
            "project": str,
            "path": str,
            "id": str,
            "kind": str,
            "status": str,
            "pinned": int,
            "updated": int,
            "mtime": int,
            "size": int,
            "record": str,
            "title": str,
            "body": str,
            "terms": str,
            "scope": str,
        },
        pk="rowid",
        if_not_exists=True,
    )
    pages.create_index(["project", "path"], unique=True, if_not_exists=True)
    pages.create_index(["id"], if_not_exists=True)
    pages.create_index(["project", "kind", "updated"], if_not_exists=True)
    pages.enable_fts(["title", "body", "terms", "scope"], tokenize=TOKENIZE, create_triggers=True, replace=True)
    db.table("links").create(
        {"project": str, "source": str, "target": str}, pk=("project", "source", "target"), if_not_exists=True
    )
    db.table("links").create_index(["project", "target"], if_not_exists=True)
    db.table("handoffs").create(
        {"id": str, "project": str, "state": str, "session": str, "automatic": int, "created": int, "record": str},
        pk="id",
        if_not_exists=True,
    )
    db.table("handoffs").create_index(["project", "state"], if_not_exists=True)


def m002_past_and_opinions(db: Database) -> None:
    """Add what commits did to pages, what pages are found by beside their words, and what readers made of them."""
    commits = db.table("commits").create(
        {
            "number": int,
            "project": str,
            "id": str,
            "at": int,
            "depth": int,  # more than that of any commit before it
            "author": str,
            "subject": str,
        },
        pk="number",
        if_not_exists=True,
    )
    commits.create_index(["project", "id"], unique=True, if_not_exists=True)
    commits.create_index(["project", "at"], if_not_exists=True)
    revisions = db.table("revisions").create(
        {"project": str, "path": str, "depth": int, "number": int, "how": str, "blob": bytes}, if_not_exists=True
    )
    revisions.create_index(["project", "path", "depth"], if_not_exists=True)
    revisions.create_index(["number"], if_not_exists=True)
    revisions.create_index(["blob"], if_not_exists=True)
    db.table("facts").create({"project": str, "path": str, "fact": str, "value": str}, if_not_exists=True)
    db.table("facts").create_index(["project", "path"], if_not_exists=True)
    db.execute("CREATE INDEX IF NOT EXISTS facts_by_value ON facts (project, fact, value COLLATE NOCASE)")
    db.execute("DROP INDEX IF EXISTS idx_links_project_target")
    db.execute("CREATE INDEX IF NOT EXISTS links_by_target ON links (project, target COLLATE NOCASE, source)")
    db.table("feedback").create(
        {"target": str, "by": str, "project": str, "verdict": str, "at": int, "record": str},
        pk=("target", "by"),
        if_not_exists=True,
    )
    db.table("uses").create(
        {"id": str, "project": str, "count": int, "last": int}, pk=("id", "project"), if_not_exists=True
    )
    db.table("uses").create_index(["project"], if_not_exists=True)


MIGRATIONS: tuple[Callable[[Database], None], ...] = (m001_initial, m002_past_and_opinions)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date; `user_version` counts what was applied.

    sqlite-utils commits on its own, so each step can be repeated: a crash half-way is mended by the next start.
    """
    done = connection.execute("PRAGMA user_version").fetchone()[0]
    if done >= len(MIGRATIONS):
        return
    from sqlite_utils import Database

    db = Database(connection, execute_plugins=False)
    for step in MIGRATIONS[done:]:
        step(db)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
