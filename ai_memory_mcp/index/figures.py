"""What `status` counts, in one pass over each table: nothing is read of what was said."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from datetime import datetime, timedelta

from ai_memory_mcp.index import rows
from ai_memory_mcp.model import Activity, Junk

FORGOTTEN = timedelta(days=90)  # a page that nobody has opened for so long after its last change was never recalled
_NAMED = "p.status = 'current' AND p.kind NOT IN ('session', 'handoff')"  # a title is to be there once
_NOT_NEEDED = f"""
    SELECT p.status = 'superseded' AS old,
        {_NAMED} AND row_number() OVER (PARTITION BY p.project, {_NAMED}, lower(p.title) ORDER BY p.path) > 1 AS again,
        p.updated < ? AND NOT EXISTS (SELECT 1 FROM uses u WHERE u.id = p.id) AS never
    FROM pages p WHERE {rows.WRITTEN}"""


def activity(db: sqlite3.Connection, projects: Collection[str] | None, since: datetime) -> Activity:
    """Count the sessions that went on since a time, all that was observed in them, and the pages changed since."""
    which, args = rows.within(projects)
    at = rows.millis(since)
    sessions, observations = db.execute(
        f"SELECT count(*), coalesce(sum(observations), 0) FROM sessions WHERE last >= ?{which}", (at, *args)
    ).fetchone()
    pages = db.execute(f"SELECT count(*) FROM pages WHERE updated >= ? AND {rows.WRITTEN}{which}", (at, *args))
    return Activity(sessions=sessions, observations=observations, pages=pages.fetchone()[0])


def junk(db: sqlite3.Connection, projects: Collection[str] | None, now: datetime) -> Junk:
    """Count the pages that nobody needs: superseded, one more with the same title, never recalled."""
    which, args = rows.within(projects)
    pages, old, again, never, either = db.execute(
        "SELECT count(*), coalesce(sum(old), 0), coalesce(sum(again), 0), coalesce(sum(never), 0),"
        f" coalesce(sum(max(old, again, never)), 0) FROM ({_NOT_NEEDED}{which})",
        (rows.millis(now - FORGOTTEN), *args),
    ).fetchone()
    share = round(either / pages, 4) if pages else 0.0
    return Junk(pages=pages, superseded=old, duplicates=again, never_recalled=never, rate=share)
