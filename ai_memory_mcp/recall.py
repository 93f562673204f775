"""Recall: a question becomes ranked hits within a token budget; the last pages; documents to read.

Pages come first; observations are the evidence below them: asked when pages miss or when `kinds` names them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from ai_memory_mcp import history, pages, related
from ai_memory_mcp.errors import NotFoundError
from ai_memory_mcp.index import rows, search
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.index.search import Db, Match
from ai_memory_mcp.model import Answer, Document, Hit, Page, Project, Query
from ai_memory_mcp.ranking import PAGE_KINDS, Question, clip, kind_named, snippet, take_apart, tokens
from ai_memory_mcp.resources import Resources

AUTHORITY = {"rule": 1.25, "decision": 1.2, "gotcha": 1.2, "procedure": 1.2, "concept": 1.1, "handoff": 0.8}
HIDDEN = ("index", "project")
SUPERSEDED = 0.3  # a superseded page stays findable, but below what is current
FEW = 3  # with fewer page hits than this, observations are asked as well
PER_SESSION = 3  # observations of one session among the hits, where they only fill up
LATEST = 10  # revisions of a page that are told with its links
NAMED = 3  # projects that an answer names one by one
FRAME = "00 hits in project  (); memory.read opens a `ref`.\n<memory-data>\n</memory-data>\n"  # round an answer's hits
SEPARATORS = 48  # characters of a hit beside its facts, title and snippet


def answer(db: Db, projects: Sequence[Project], query: Query, here: Project | None) -> Answer:
    """Rank pages and observations of the projects for a query; hits cost at most `max_tokens` when rendered."""
    question = take_apart(query.text)
    told = [kind_named(kind) for kind in query.kinds]
    wanted = [kind for kind in told if kind] or ([] if query.kinds else list(question.kinds))
    hits, searched = ([], []) if query.kinds and not wanted else _look(db, projects, question, wanted, query.limit)
    hint = "" if hits else _hint(question, query, wanted)
    if not hits and question.phrases:
        hits, searched = _look(db, projects, replace(question, phrases=()), wanted, query.limit)
        hint = "nothing has the quoted words together; these hits have some of them" if hits else hint
    names = sorted({project.name for project in projects})
    where = ", ".join(names) if 0 < len(names) <= NAMED else f"{len(names)} projects" if names else "no project"
    looked = f"{' and '.join(searched) or 'pages'} of {where}" if names else "an empty memory"
    name = here.name if here else None
    kept = _within(hits, query.max_tokens - tokens(FRAME + looked + (name or "") + hint), name)
    if hits and not kept:
        hint = "there are hits, but not one fits; ask with a larger max_tokens"
    return Answer(query=query.text, project=name, hits=tuple(kept), searched=looked, hint=hint)


def _look(
    db: Db, projects: Sequence[Project], question: Question, wanted: Sequence[str], limit: int
) -> tuple[list[Hit], list[str]]:
    """Return hits, pages before observations, and the words for where was looked."""
    names = {project.id: project.name for project in projects}
    page_kinds = [kind for kind in wanted if kind in PAGE_KINDS]
    other_kinds = [kind for kind in wanted if kind not in PAGE_KINDS]
    hits: list[Hit] = []
    searched = []
    if names and (page_kinds or not wanted):
        found = search.pages(db, question, list(names), page_kinds, limit * 3, HIDDEN)
        hits = _page_hits(found, question, names, limit)
        searched.append("pages")
    if names and (other_kinds or (not wanted and len(hits) < FEW)):
        evidence = search.observations(db, question, list(names), other_kinds, limit * 4)
        per_session = limit if other_kinds else PER_SESSION
        lowest = min((hit.score for hit in hits), default=0.0)
        hits += _observation_hits(db, evidence, question, names, below=lowest, per_session=per_session)
        searched.append("observations")
    return hits[:limit], searched


def recent(db: Db, projects: Sequence[Project], kinds: Sequence[str], limit: int) -> tuple[Hit, ...]:
    """Return the pages changed last, newest first."""
    names = {project.id: project.name for project in projects}
    found = rows.recent_pages(db, list(names), kinds, limit)
    hits = []
    for project_id, path in found:
        page = rows.page_record(db, project_id, path)
        if page:
            hits.append(_hit(page, names.get(project_id, ""), page.summary, 0.0, "recent"))
    return tuple(hits)


def read_page(res: Resources, db: Db, project: Project, path: str, *, links: bool) -> Document:
    """Return a page with the verdicts on it and, on request, what belongs to it and its newest revisions."""
    page, text = pages.load(res, project, path)
    more: dict[str, Any] = {"feedback": tuple(rows.standing(db, [page.id]))}
    if links:
        more |= related.of_page(db, page)
        more["history"] = history.of_page(db, res, project, path, limit=LATEST, diff=False)
    return Document(ref=path, title=page.title, text=text, page=page, **more)


def read_session(res: Resources, row: SessionRow, project: Project, *, observations: bool) -> Document:
    """Return a session: its page when it has one, and its observations when asked or when there is no page."""
    from ai_memory_mcp import sessions  # not at the top: it brings all that compiles sessions, 50 ms

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


def _page_hits(found: Sequence[Match], question: Question, names: dict[str, str], limit: int) -> list[Hit]:
    """Return the best pages as hits: by words and authority, whatever is superseded below all that is current."""
    ranked = sorted(
        ((_superseded(match), -match.score * AUTHORITY.get(match.kind, 1.0), match.path, match) for match in found),
        key=lambda one: one[:3],
    )[:limit]
    lowest = min((-score for old, score, _, _ in ranked if not old), default=float("inf"))
    hits = []
    for old, score, _, match in ranked:
        page = Page.model_validate({**json.loads(match.record), "body": ""})
        reasons = [f"words match ({match.score:.1f})"]
        if AUTHORITY.get(match.kind, 1.0) > 1.0:
            reasons.append(f"{match.kind} counts more")
        if old:
            reasons.append(f"superseded by {page.superseded_by or 'a newer page'}")
        score = min(-score * SUPERSEDED, lowest) if old else -score
        text = snippet(_without_path(match), page.title, question.terms)
        hits.append(_hit(page, names.get(match.project, ""), text, score, ", ".join(reasons)))
    return hits


def _superseded(match: Match) -> bool:
    return bool(json.loads(match.record).get("status") == "superseded")


def _observation_hits(
    db: Db,
    found: Sequence[Match],
    question: Question,
    names: dict[str, str],
    *,
    below: float,
    per_session: int,
) -> list[Hit]:
    """Return observations as hits, scored to stand below the pages; a few per session, the same text once."""
    top = max((match.score for match in found), default=1.0) or 1.0
    ceiling = below * 0.95 if below > 0 else top
    taken: dict[str, int] = {}
    seen: set[tuple[str, str, str]] = set()
    hits = []
    for match in found:
        row = rows.session(db, match.session)
        agent = row.agent if row else ""
        same = (match.session, match.title, match.body)
        if same in seen or taken.get(match.session, 0) >= per_session:
            continue
        taken[match.session] = taken.get(match.session, 0) + 1
        seen.add(same)
        hits.append(
            Hit(
                id=match.id,
                path=row.page if row and row.page else f"session:{match.session}",
                title=match.title,
                kind=match.kind,
                project=names.get(match.project, ""),
                snippet=snippet(match.body, match.title, question.terms),
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


def _within(hits: Sequence[Hit], budget: int, here: str | None) -> list[Hit]:
    """Keep hits while they fit the budget of tokens; the first one is shortened rather than left out."""
    kept: list[Hit] = []
    for hit in hits:
        price = _price(hit, here)
        if price > budget and not kept:
            hit = _shortened(hit, budget, here)
            price = _price(hit, here)
        if price > budget:
            break
        kept.append(hit)
        budget -= price
    return kept


def _price(hit: Hit, here: str | None) -> int:
    """Return what a hit costs when it is rendered with its facts, in tokens (see server/render.py)."""
    facts = f"{hit.title[:200]}{hit.kind}{hit.path}{hit.agent}{hit.why}{hit.project if hit.project != here else ''}"
    return tokens(f"{facts}{hit.snippet}{' ' * SEPARATORS}")


def _shortened(hit: Hit, budget: int, here: str | None) -> Hit:
    """Cut the snippet, then the title, as far as the budget asks."""
    for key in ("snippet", "title"):
        bare = hit.model_copy(update={key: ""})
        hit = hit.model_copy(update={key: clip(getattr(hit, key), max(0, budget - _price(bare, here) - 1))})
    return hit


def _hint(question: Question, query: Query, wanted: Sequence[str]) -> str:
    if query.kinds and not wanted:
        return f"there is no kind {', '.join(query.kinds)[:60]}; known are {', '.join(PAGE_KINDS)} and observations"
    if not question.terms and not question.phrases:
        return "the question has no words to look for"
    if question.phrases:
        return "quoted words must stand together; try without the quotes"
    if wanted or question.agent or question.before or question.after or question.path:
        return "try without the filters"
    return "try other words, fewer words, or a search everywhere"
