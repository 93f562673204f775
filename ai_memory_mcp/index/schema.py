"""The index's tables. sqlite-utils is imported here only: creating is rare, opening is not.

The index is made from files and never migrated: one of another VERSION is thrown away and built anew.

Full-text tables hold `terms` (see terms.py), not text: what FTS5 finds and what ranking counts are the same. Rows are
numbered so that a number says where it belongs, without a look-up: see PASSAGE_BITS and SEQ_BITS.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 4
TOKENIZE = "unicode61 remove_diacritics 0 categories 'L* N* M* Co' tokenchars '_'"  # terms are one token each
PASSAGE_BITS = 12  # passages.rowid = page's number << 12 | place in the page
SEQ_BITS = 24  # observations.rowid = session's number << 24 | place in the session: neighbours are one apart


def create(db: Database) -> None:
    """Create every table."""
    db.table("meta").create({"key": str, "value": str}, pk="key", if_not_exists=True)
    db.table("projects").create({"id": str, "name": str, "workspace": str, "record": str}, pk="id", if_not_exists=True)
    sessions = db.table("sessions").create(
        {
            "id": str,
            "number": int,
            "project": str,
            "agent": str,
            "native_id": str,
            "state": str,
            "last": int,
            "observations": int,
            "dirty": int,
            "record": str,
        },
        pk="id",
        if_not_exists=True,
    )
    sessions.create_index(["project", "last"], if_not_exists=True)
    sessions.create_index(["number"], unique=True, if_not_exists=True)
    sessions.create_index(["agent", "native_id"], if_not_exists=True)
    sessions.create_index(["dirty", "state"], if_not_exists=True)
    db.table("files").create({"name": str, "size": int}, pk="name", if_not_exists=True)
    observations = db.table("observations").create(
        {
            "rowid": int,
            "id": str,
            "session": str,
            "project": str,
            "at": int,
            "kind": str,
            "real": int,
            "key": str,
            "title": str,
            "text": str,
            "body": str,
            "length": int,
            "scope": str,
        },
        pk="rowid",
        if_not_exists=True,
    )
    observations.create_index(["id"], unique=True, if_not_exists=True)
    observations.create_index(["session", "key"], if_not_exists=True)
    observations.create_index(["project", "kind"], if_not_exists=True)
    observations.enable_fts(["body", "scope"], tokenize=TOKENIZE, create_triggers=True, replace=True)
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
            "title": str,
            "record": str,
        },
        pk="rowid",
        if_not_exists=True,
    )
    pages.create_index(["project", "path"], unique=True, if_not_exists=True)
    pages.create_index(["id"], if_not_exists=True)
    pages.create_index(["project", "kind", "updated"], if_not_exists=True)
    passages = db.table("passages").create(
        {"rowid": int, "project": str, "text": str, "title": str, "body": str, "length": int, "scope": str},
        pk="rowid",
        if_not_exists=True,
    )
    passages.enable_fts(["title", "body", "scope"], tokenize=TOKENIZE, create_triggers=True, replace=True)
    db.table("sizes").create(
        {"project": str, "of": str, "rows": int, "terms": int}, pk=("project", "of"), if_not_exists=True
    )
    for name in ("observations", "passages"):  # how many rows of how many terms: ranking asks at every question
        for when, sign in (("INSERT", "+"), ("DELETE", "-")):
            row = "new" if when == "INSERT" else "old"
            db.execute(
                f"CREATE TRIGGER IF NOT EXISTS {name}_sizes_{when} AFTER {when} ON {name} BEGIN"
                f" INSERT INTO sizes (project, of, rows, terms) VALUES ({row}.project, '{name}', 1, {row}.length)"
                f" ON CONFLICT (project, of) DO UPDATE SET rows = rows {sign} 1, terms = terms {sign} {row}.length; END"
            )
    for name in ("observations", "passages"):  # signs of embeddings, see vectors.py; one whose row goes goes with it
        db.execute(
            f"CREATE TABLE IF NOT EXISTS {name}_signs (project TEXT, row INTEGER, piece INTEGER, id BLOB, bits BLOB,"
            " PRIMARY KEY (project, row, piece)) WITHOUT ROWID"
        )
        db.execute(
            f"CREATE TRIGGER IF NOT EXISTS {name}_signs_DELETE AFTER DELETE ON {name} BEGIN"
            f" DELETE FROM {name}_signs WHERE project = old.project AND row = old.rowid; END"
        )
    db.table("vocabulary").create({"word": str, "grams": str}, if_not_exists=True)
    db.table("vocabulary").create_index(["word"], unique=True, if_not_exists=True)
    db.table("vocabulary").enable_fts(["grams"], tokenize=TOKENIZE, create_triggers=True, replace=True)
    db.table("links").create(
        {"project": str, "source": str, "target": str}, pk=("project", "source", "target"), if_not_exists=True
    )
    db.table("handoffs").create(
        {"id": str, "project": str, "state": str, "session": str, "automatic": int, "created": int, "record": str},
        pk="id",
        if_not_exists=True,
    )
    db.table("handoffs").create_index(["project", "state"], if_not_exists=True)
    _create_past_and_opinions(db)


def _create_past_and_opinions(db: Database) -> None:
    """What commits did to pages, what pages are found by beside their words, and what readers made of them."""
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


def prepare(connection: sqlite3.Connection) -> None:
    """Create what is missing. sqlite-utils commits on its own, so a crash half-way is mended by the next start."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found == VERSION:
        return
    if found:
        raise sqlite3.DatabaseError(f"is of version {found}, not {VERSION}")
    from sqlite_utils import Database

    create(Database(connection, execute_plugins=False))
    connection.execute(f"PRAGMA user_version = {VERSION}")
