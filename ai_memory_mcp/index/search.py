"""Asking FTS5: ranked pages and observations for a question, with bounded work.

bm25 is paid for every match, so observations are ranked within the newest WINDOW matches only (6 ms at 100k and
16 ms at a million rows instead of 34 and 343). Rows come back raw; `recall` makes hits of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ai_memory_mcp.index.rows import millis
from ai_memory_mcp.ranking import Question, match_expression, scope_token

WINDOW = 2000
PAGE_WEIGHTS = "8.0, 1.0, 0.7, 0.0"  # title, body, terms, scope
OBSERVATION_WEIGHTS = "2.0, 1.0, 0.7, 0.0"


@dataclass(frozen=True)
class Match:
    """One ranked row: `score` is positive, higher is better; `record` is JSON of the page, '' for observations."""

    id: str
    project: str
    path: str
    title: str
    kind: str
    body: str
    score: float
    at: int
    session: str = ""
    record: str = ""


def pages(
    db: sqlite3.Connection, question: Question, project_ids: Sequence[str], kinds: Sequence[str], limit: int
) -> list[Match]:
    """Rank pages of the projects (all when empty)."""
    found: list[Match] = []
    for scope in [scope_token(project) for project in project_ids] or [""]:
        expression = match_expression(question, scope)
        if not expression:
            continue
        narrow, args = _narrow(question, "updated", kinds or question.kinds)
        if question.path:
            narrow += " AND p.path LIKE ? ESCAPE '\\'"
            args.append("%" + question.path.replace("%", "\\%").replace("_", "\\_") + "%")
        rows = db.execute(
            f"SELECT p.*, bm25(pages_fts, {PAGE_WEIGHTS}) AS rank_ FROM pages_fts f JOIN pages p ON p.rowid = f.rowid"
            f" WHERE pages_fts MATCH ? {narrow} ORDER BY rank_, p.path LIMIT ?",
            (expression, *args, limit),
        )
        found += [
            Match(
                id=row["id"],
                project=row["project"],
                path=row["path"],
                title=row["title"],
                kind=row["kind"],
                body=row["body"],
                score=-row["rank_"],
                at=row["updated"],
                record=row["record"],
            )
            for row in rows
        ]
    return found


def observations(
    db: sqlite3.Connection, question: Question, project_ids: Sequence[str], kinds: Sequence[str], limit: int
) -> list[Match]:
    """Rank observations of the projects (all when empty) within the newest WINDOW matches of each."""
    found: list[Match] = []
    for scope in [scope_token(project) for project in project_ids] or [""]:
        expression = match_expression(question, scope)
        if not expression:
            continue
        edge = db.execute(
            "SELECT rowid FROM observations_fts WHERE observations_fts MATCH ? ORDER BY rowid DESC LIMIT 1 OFFSET ?",
            (expression, WINDOW - 1),
        ).fetchone()
        narrow, args = _narrow(question, "at", kinds or question.kinds)
        if question.path:
            narrow += " AND p.title LIKE ? ESCAPE '\\'"
            args.append("%" + question.path.replace("%", "\\%").replace("_", "\\_") + "%")
        rows = db.execute(
            f"SELECT p.*, bm25(observations_fts, {OBSERVATION_WEIGHTS}) AS rank_ FROM observations_fts f"
            f" JOIN observations p ON p.rowid = f.rowid WHERE observations_fts MATCH ? AND f.rowid >= ? {narrow}"
            " ORDER BY rank_, p.at DESC, p.id LIMIT ?",
            (expression, edge["rowid"] if edge else 0, *args, limit),
        )
        found += [
            Match(
                id=row["id"],
                project=row["project"],
                path="",
                title=row["title"],
                kind=row["kind"],
                body=row["body"],
                score=-row["rank_"],
                at=row["at"],
                session=row["session"],
            )
            for row in rows
        ]
    return found


def _narrow(question: Question, column: str, kinds: Sequence[str]) -> tuple[str, list[object]]:
    """Return the SQL for kinds and dates, with its arguments."""
    sql = ""
    args: list[object] = []
    if kinds:
        sql += f" AND p.kind IN ({','.join('?' * len(kinds))})"
        args += list(kinds)
    for when, sign in ((question.before, "<"), (question.after, ">=")):
        if isinstance(when, datetime):
            sql += f" AND p.{column} {sign} ?"
            args.append(millis(when))
    return sql, args
