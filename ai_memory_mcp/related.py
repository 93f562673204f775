"""What belongs to a page: its links both ways, the other pages of its session, what came before and after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ai_memory_mcp import markdown
from ai_memory_mcp.index import facts, rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.model import Link, Page

LONGEST = 20  # pages of a chain of successors


def of_page(db: Connection, page: Page) -> dict[str, Any]:
    """Return the fields of a `Document` that say what belongs to a page."""
    return {
        "links": tuple(
            Link(target=target, path=facts.resolve(db, page.project, target, page.path))
            for target in markdown.links(page.body)
        ),
        "backlinks": tuple(facts.backlinks(db, page)),
        "same_session": tuple(_same_session(db, page)),
        "supersedes": tuple(_chain(db, page, facts.SUPERSEDES, facts.SUPERSEDED_BY)),
        "superseded_by": tuple(_chain(db, page, facts.SUPERSEDED_BY, facts.SUPERSEDES)),
    }


def _same_session(db: Connection, page: Page) -> list[str]:
    """Pages name their session by the agent's own id or by ours: both are looked for."""
    ids = {page.session, page.id} if page.kind == "session" else {page.session}
    known = [rows.session(db, one) for one in ids if one]
    known += [row for one in ids if one for row in rows.native_sessions(db, page.agent, one)]
    ids |= {one for row in known if row and row.project == page.project for one in (row.id, row.native_id)}
    return [path for path in facts.having(db, page.project, facts.SESSION, ids - {""}) if path != page.path]


def _chain(db: Connection, page: Page, forth: str, back: str) -> Iterator[str]:
    """Follow from a page to those that it names and those that name it, the nearest first, each once."""
    seen, waiting = {page.path}, [page]
    while waiting and len(seen) <= LONGEST:
        one = waiting.pop(0)
        for path in _next(db, one, forth, back):
            if path and path not in seen:
                seen.add(path)
                yield path
                found = rows.page_record(db, page.project, path)
                waiting += [found] if found else []


def _next(db: Connection, page: Page, forth: str, back: str) -> Iterable[str]:
    named = page.supersedes if forth == facts.SUPERSEDES else (page.superseded_by,)
    yield from (facts.resolve(db, page.project, ref, page.path) for ref in named if ref)
    known_as = (page.path, page.path.removesuffix(".md"), page.id, page.title)
    yield from facts.having(db, page.project, back, known_as)
