"""Asking FTS5: ranked pages and observations for a question, with bounded work.

bm25 is paid for every match, so ranking looks at the newest WINDOW matches only (at a million rows 16 ms instead of
343); with filters, at those that pass among the newest REACH. Rows come back raw; `recall` makes hits of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ai_memory_mcp.index.rows import millis
from ai_memory_mcp.ranking import OBSERVATIONS, Question, match_expression, scope_token

Db = sqlite3.Connection  # named for those who only pass it on
WINDOW = 2_000
PAGE_WINDOW = 10_000
REACH = 20  # windows
CANDIDATES = 500
PAGE_WEIGHTS = "4.0, 1.0, 0.7, 0.0"  # title, body, terms, scope
OBSERVATION_WEIGHTS = "0.5, 1.0, 0.7, 0.0"  # the title repeats the text
NEIGHBOURS = ((1, 0.3), (2, 0.15))  # what stands next to an observation in its session says what it is about
OF_SESSION = 0.25


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
    db: sqlite3.Connection,
    question: Question,
    project_ids: Sequence[str],
    kinds: Sequence[str],
    limit: int,
    hidden: Sequence[str] = (),
) -> list[Match]:
    """Rank pages of the projects (all when empty), current ones first; without `kinds`, none of the `hidden` kinds."""
    narrow, args = _narrow(question, "updated", kinds)
    if question.agent:
        narrow += " AND (json_extract(p.record, '$.agent') = ? OR json_extract(p.record, '$.agent') LIKE ?)"
        args += _agent(question.agent)
    if question.path:
        narrow += " AND p.path LIKE ? ESCAPE '\\'"
        args.append(_within(question.path))
    ranked = _ranked(db, "pages", question, project_ids, (narrow, args), limit, hide=() if kinds else hidden)
    return [
        Match(
            id=row["id"],
            project=row["project"],
            path=row["path"],
            title=row["title"],
            kind=row["kind"],
            body=row["body"],
            score=score,
            at=row["updated"],
            record=row["record"],
        )
        for score, row in _rows(db, "pages", ranked)
    ]


def observations(
    db: sqlite3.Connection, question: Question, project_ids: Sequence[str], kinds: Sequence[str], limit: int
) -> list[Match]:
    """Rank observations of the projects (all when empty), the best with their neighbours first."""
    narrow, args = _narrow(question, "at", [kind for kind in kinds if kind not in OBSERVATIONS])
    if question.agent:
        narrow += " AND p.session IN (SELECT id FROM sessions WHERE agent = ? OR agent LIKE ?)"
        args += _agent(question.agent)
    if question.path:
        narrow += " AND (p.title LIKE ? ESCAPE '\\' OR p.body LIKE ? ESCAPE '\\')"
        args += [_within(question.path)] * 2
    ranked = _ranked(db, "observations", question, project_ids, (narrow, args), CANDIDATES)
    ranked = _with_context(db, ranked)[:limit]
    return [
        Match(
            id=row["id"],
            project=row["project"],
            path="",
            title=row["title"],
            kind=row["kind"],
            body=row["body"],
            score=score,
            at=row["at"],
            session=row["session"],
        )
        for score, row in _rows(db, "observations", ranked)
    ]


def _ranked(
    db: sqlite3.Connection,
    table: str,
    question: Question,
    project_ids: Sequence[str],
    narrow: tuple[str, list[object]],
    limit: int,
    hide: Sequence[str] = (),
) -> list[tuple[int, float]]:
    """Return (rowid, score) of the best matches within the window."""
    expression = match_expression(question, [scope_token(project) for project in project_ids])
    if not expression:
        return []
    weights, window = (PAGE_WEIGHTS, PAGE_WINDOW) if table == "pages" else (OBSERVATION_WEIGHTS, WINDOW)
    condition, args = narrow
    newest = f"SELECT rowid AS id FROM {table}_fts WHERE {table}_fts MATCH ? ORDER BY rowid DESC"
    values: list[object] = [expression]
    if condition:
        newest = f"SELECT p.rowid AS id FROM ({newest} LIMIT {window * REACH}) n JOIN {table} p ON p.rowid = n.id"
        newest += f" WHERE 1 {condition} ORDER BY n.id DESC"
        values += args
    edge = db.execute(f"{newest} LIMIT 1 OFFSET {window - 1}", values).fetchone()
    condition += f" AND p.kind NOT IN ({','.join('?' * len(hide))})"
    order = "p.status, rank_" if table == "pages" else "rank_"
    found = db.execute(
        f"SELECT f.rowid AS id, bm25({table}_fts, {weights}) AS rank_ FROM {table}_fts f JOIN {table} p"
        f" ON p.rowid = f.rowid WHERE {table}_fts MATCH ? AND f.rowid >= ? {condition}"
        f" ORDER BY {order}, f.rowid DESC LIMIT ?",
        (expression, edge["id"] if edge else 0, *args, *hide, limit),
    )
    return [(row["id"], -row["rank_"]) for row in found]


def _with_context(db: sqlite3.Connection, ranked: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Add to each observation's score shares of its neighbours' scores and of its session's."""
    alone = dict(ranked)
    marks = ",".join("?" * len(alone))
    found = db.execute(f"SELECT rowid AS id, session, seq FROM observations WHERE rowid IN ({marks})", list(alone))
    spots = {row["id"]: (row["session"], row["seq"]) for row in found}
    at = {spot: alone[row] for row, spot in spots.items()}
    of_session: dict[str, float] = {}
    for (session, _), score in at.items():
        of_session[session] = of_session.get(session, 0.0) + score
    top, best = max(alone.values(), default=1.0) or 1.0, max(of_session.values(), default=1.0) or 1.0
    scores = {}
    for row, score in alone.items():
        session, seq = spots[row]
        near = sum(share * at.get((session, seq + step), 0.0) for far, share in NEIGHBOURS for step in (-far, far))
        scores[row] = score + near + OF_SESSION * top * of_session[session] / best
    return sorted(scores.items(), key=lambda pair: (-pair[1], -pair[0]))


def _rows(db: sqlite3.Connection, table: str, ranked: Sequence[tuple[int, float]]) -> list[tuple[float, sqlite3.Row]]:
    """Read the ranked rows, in their order."""
    marks = ",".join("?" * len(ranked))
    found = {
        row["rowid"]: row
        for row in db.execute(f"SELECT * FROM {table} WHERE rowid IN ({marks})", [row for row, _ in ranked])
    }
    return [(score, found[row]) for row, score in ranked]


def _narrow(question: Question, column: str, kinds: Sequence[str]) -> tuple[str, list[object]]:
    """Return the SQL for kinds and dates, with its arguments."""
    sql = ""
    args: list[object] = []
    if kinds:
        sql += f" AND p.kind IN ({','.join('?' * len(kinds))})"
        args += list(kinds)
    for when, sign in ((question.before, "<"), (question.after, ">=")):
        if when:
            sql += f" AND p.{column} {sign} ?"
            args.append(millis(when))
    return sql, args


def _agent(name: str) -> list[object]:
    """`claude` means `claude-code` too."""
    return [name.lower(), name.lower().replace("%", "").replace("_", "") + "-%"]


def _within(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
