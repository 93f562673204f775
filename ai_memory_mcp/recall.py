"""Recall: a question becomes ranked hits within a token budget; the last pages; documents to read.

Pages come first; observations are the evidence below them: asked when pages miss or when `kinds` names them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timezone

from ai_memory_mcp import markdown, pages, sessions
from ai_memory_mcp.errors import NotFoundError
from ai_memory_mcp.index import rows, search
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.index.search import Match
from ai_memory_mcp.model import Answer, Document, Hit, Page, Project, Query
from ai_memory_mcp.ranking import Question, snippet, take_apart, tokens
from ai_memory_mcp.resources import Resources

PAGE_KINDS = (
    "session",
    "handoff",
    "decision",
    "gotcha",
    "procedure",
    "concept",
    "note",
    "rule",
    "slot",
    "lint",
    "project",
    "index",
)
AUTHORITY = {"rule": 1.25, "decision": 1.2, "gotcha": 1.2, "procedure": 1.2, "concept": 1.1, "handoff": 0.8}
HIDDEN = ("index", "project")
SUPERSEDED = 0.3  # a superseded page stays findable, but below what replaced it
FEW = 3  # with fewer page hits than this, observations are asked as well
PER_SESSION = 3  # observations of one session among the hits
HIT_OVERHEAD = 30  # tokens that a hit costs beside title and snippet


def answer(db: sqlite3.Connection, projects: Sequence[Project], query: Query, here: Project | None) -> Answer:
    """Rank pages and observations of the projects for a query."""
    question = take_apart(query.text)
    names = {project.id: project.name for project in projects}
    ids = [project.id for project in projects]
    wanted = query.kinds or question.kinds
    page_kinds = [kind for kind in wanted if kind in PAGE_KINDS]
    other_kinds = [kind for kind in wanted if kind not in PAGE_KINDS]
    hits: list[Hit] = []
    searched = []
    if ids and (page_kinds or not wanted):
        found = search.pages(db, question, ids, page_kinds, query.limit * 3)
        hits += _page_hits(found, question, names, bool(page_kinds))
        searched.append("pages")
    if ids and (other_kinds or (not wanted and len(hits) < FEW)):
        kinds = [] if "observation" in other_kinds else other_kinds
        evidence = search.observations(db, question, ids, kinds, query.limit * 4)
        hits += _observation_hits(db, evidence, question, names, below=min((hit.score for hit in hits), default=0.0))
        searched.append("observations")
    hits = _within(hits[: query.limit] if query.limit else hits, query.max_tokens)
    where = here.name if here else None
    return Answer(
        query=query.text,
        project=where,
        hits=tuple(hits),
        searched=f"{' and '.join(searched) or 'nothing'} of {', '.join(sorted(names.values())) or 'no project'}",
        hint="" if hits else _hint(question, query),
    )


def recent(db: sqlite3.Connection, projects: Sequence[Project], kinds: Sequence[str], limit: int) -> tuple[Hit, ...]:
    """Return the pages changed last, newest first."""
    names = {project.id: project.name for project in projects}
    found = rows.recent_pages(db, list(names), kinds, limit)
    hits = []
    for project_id, path in found:
        page = rows.page_record(db, project_id, path)
        if page:
            hits.append(_hit(page, names.get(project_id, ""), page.summary, 0.0, "recent"))
    return tuple(hits)


def read_page(res: Resources, db: sqlite3.Connection, project: Project, path: str, *, links: bool) -> Document:
    """Return a page with, on request, its links both ways."""
    page, text = pages.load(res, project, path)
    return Document(
        ref=path,
        title=page.title,
        text=text,
        page=page,
        links=markdown.links(page.body) if links else (),
        backlinks=tuple(rows.backlinks(db, project.id, path, page.title)) if links else (),
    )


def read_session(res: Resources, row: SessionRow, project: Project, *, observations: bool) -> Document:
    """Return a session: its page when it has one, and its observations when asked or when there is no page."""
    text = ""
    page: Page | None = None
    if row.page:
        try:
            page, text = pages.load(res, project, row.page)
        except NotFoundError:
            text = ""
    seen = sessions.read_observations(res, row) if observations or not text else []
    lines = [f"{one.at.strftime('%H:%M:%S')} {one.kind} {one.title}" for one in seen]
    if lines:
        text = f"{text}\n\n## Observations\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"
    return Document(
        ref=row.id,
        title=row.title or f"{row.agent} session",
        text=text.strip() + "\n",
        page=page,
        session=row.plain(),
        observations=tuple(seen) if observations else (),
    )


def _page_hits(found: Sequence[Match], question: Question, names: dict[str, str], asked: bool) -> list[Hit]:
    hits = []
    for match in found:
        if match.kind in HIDDEN and not asked:
            continue
        page = Page.model_validate({**json.loads(match.record), "body": ""})
        if question.agent and page.agent != question.agent:
            continue
        weight = AUTHORITY.get(match.kind, 1.0)
        reasons = [f"words match ({match.score:.1f})"]
        if weight > 1.0:
            reasons.append(f"{match.kind} counts more")
        if page.status == "superseded":
            weight *= SUPERSEDED
            reasons.append(f"superseded by {page.superseded_by or 'a newer page'}")
        text = snippet(_without_path(match), question.terms)
        hits.append(_hit(page, names.get(match.project, ""), text, match.score * weight, ", ".join(reasons)))
    return sorted(hits, key=lambda hit: (-hit.score, hit.path))


def _observation_hits(
    db: sqlite3.Connection, found: Sequence[Match], question: Question, names: dict[str, str], *, below: float
) -> list[Hit]:
    """Return observations as hits, scored to stand below the pages; a few per session, the same title once."""
    top = max((match.score for match in found), default=1.0) or 1.0
    ceiling = below * 0.95 if below > 0 else top
    per_session: dict[str, int] = {}
    titles: set[tuple[str, str]] = set()
    hits = []
    for match in found:
        row = rows.session(db, match.session)
        agent = row.agent if row else ""
        if (question.agent and agent != question.agent) or (match.session, match.title) in titles:
            continue
        if per_session.get(match.session, 0) >= PER_SESSION:
            continue
        per_session[match.session] = per_session.get(match.session, 0) + 1
        titles.add((match.session, match.title))
        hits.append(
            Hit(
                id=match.id,
                path=row.page if row and row.page else f"session:{match.session}",
                title=match.title,
                kind=match.kind,
                project=names.get(match.project, ""),
                snippet=snippet(match.body, question.terms),
                score=round(match.score / top * ceiling, 4),
                why="seen in a session",
                agent=agent,
                session=match.session,
                date=datetime.fromtimestamp(match.at / 1000, timezone.utc),
            )
        )
    return hits


def _hit(page: Page, project: str, text: str, score: float, why: str) -> Hit:
    return Hit(
        id=page.id,
        path=page.path,
        title=page.title,
        kind=page.kind,
        project=project,
        snippet=text,
        score=round(score, 4),
        why=why,
        agent=page.agent,
        session=page.session,
        date=page.updated,
    )


def _without_path(match: Match) -> str:
    """The indexed body ends with a line of tags and path, which is no evidence to show."""
    return match.body.rpartition("\n")[0]


def _within(hits: Sequence[Hit], budget: int) -> list[Hit]:
    """Keep hits while they fit the budget of tokens; the first one is shortened rather than left out."""
    kept: list[Hit] = []
    left = budget
    for hit in hits:
        price = HIT_OVERHEAD + tokens(hit.title) + tokens(hit.snippet)
        if price > left and not kept:
            room = max(0, left - HIT_OVERHEAD - tokens(hit.title)) * 2
            kept.append(hit.model_copy(update={"snippet": hit.snippet[:room]}))
        if price > left:
            break
        kept.append(hit)
        left -= price
    return kept


def _hint(question: Question, query: Query) -> str:
    if not question.terms and not question.phrases:
        return "the question has no words to look for"
    if question.phrases:
        return "quoted words must stand together; try without the quotes"
    if question.kinds or query.kinds or question.agent or question.before or question.after or question.path:
        return "try without the filters"
    return "try other words, fewer words, or a search everywhere"
