"""Writing pages and handoffs on purpose: an agent through MCP, a person through the command line."""

from __future__ import annotations

import uuid
from datetime import datetime

from ai_memory_mcp import handoff as handoffs
from ai_memory_mcp import markdown, pages
from ai_memory_mcp.errors import InputError, NotFoundError
from ai_memory_mcp.index import rows
from ai_memory_mcp.model import Draft, Handoff, HandoffDraft, Page, Project
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources

MAX_BODY = 1_000_000  # characters; a page is to be read
FOLDERS = {
    "session": "sessions",
    "decision": "decisions",
    "gotcha": "gotchas",
    "procedure": "procedures",
    "concept": "concepts",
    "note": "notes",
    "rule": "rules",
    "slot": "slots",
}


def write(res: Resources, project: Project, draft: Draft, redactor: Redactor, *, now: datetime) -> Page:
    """Create or replace a page, redacted and committed. What it supersedes is marked so in the same commit."""
    title = redactor.text(" ".join(draft.title.split()))[:200]
    body = redactor.text(draft.body)
    if not title or not body.strip():
        raise InputError("a page needs a title and a body")
    if len(body) > MAX_BODY:
        raise InputError(f"the page is longer than {MAX_BODY:,} characters; split it")
    if draft.kind not in FOLDERS:
        raise InputError(f"pages of kind '{draft.kind}' are not written by hand; use one of {', '.join(FOLDERS)}")
    draft = draft.model_copy(
        update={
            "path": redactor.text(draft.path),
            "summary": redactor.text(draft.summary),
            "agent": redactor.text(draft.agent),
            "session": redactor.text(draft.session),
            "tags": tuple(redactor.text(tag) for tag in draft.tags),
        }
    )
    path = markdown.safe_path(draft.path or f"{FOLDERS[draft.kind]}/{markdown.slug(title)}.md")
    previous = _previous(res, project, path)
    page = _page(project, draft, title, body, path, previous, now)
    texts: dict[str, str | None] = {path: markdown.text_from(page, previous)}
    for ref in draft.supersedes:
        old_path = _find(res, project, ref)
        if old_path == path:
            continue
        text = pages.load(res, project, old_path)[1]
        texts[old_path] = markdown.set_keys(text, {"status": "superseded", "superseded_by": path})
    word = "Update" if previous else "Add"
    pages.save(res, project, texts, f"{word} {draft.kind}: {title}", when=now, author=draft.agent or pages.AUTHOR)
    return page


def _page(project: Project, draft: Draft, title: str, body: str, path: str, previous: str, now: datetime) -> Page:
    old = markdown.page_from(path, previous, project=project.id, created=now, updated=now) if previous else None
    return Page(
        id=old.id if old else str(uuid.uuid4()),
        path=path,
        title=title,
        kind=draft.kind,
        project=project.id,
        body=body if body.endswith("\n") else body + "\n",
        tags=draft.tags or (old.tags if old else ()),
        pinned=draft.pinned if draft.pinned is not None else bool(old and old.pinned),
        created=old.created if old else now,
        updated=now,
        agent=draft.agent,
        session=draft.session,
        supersedes=draft.supersedes,
        summary=draft.summary,
    )


def leave(res: Resources, project: Project, draft: HandoffDraft, redactor: Redactor, *, now: datetime) -> Handoff:
    """Leave a handoff by hand."""
    if not draft.summary.strip():
        raise InputError("a handoff needs a summary of where things stand")
    lists = {
        name: tuple(redactor.text(item)[:1500] for item in getattr(draft, name) if item.strip())[:20]
        for name in handoffs.SECTIONS
    }
    made = Handoff(
        id=str(uuid.uuid4()),
        project=project.id,
        summary=redactor.text(draft.summary.strip())[:6000],
        from_agent=redactor.text(draft.from_agent) or "user",
        from_session=redactor.text(draft.from_session),
        to_agent=redactor.text(draft.to_agent) or "any",
        automatic=False,
        created=now,
    ).model_copy(update=lists)
    title = " ".join(made.summary.split())[:80]
    made = made.model_copy(update={"path": handoffs.page_path(made, title)})
    text = handoffs.to_text(made, f"Handoff: {title}")
    pages.save(res, project, {made.path: text}, f"Handoff left by {made.from_agent}: {title}", when=now)
    return made


def _previous(res: Resources, project: Project, path: str) -> str:
    try:
        return res.wiki(project).read(path).decode("utf-8", "replace")
    except NotFoundError:
        return ""


def _find(res: Resources, project: Project, ref: str) -> str:
    with res.index.read() as db:
        found = rows.find_pages(db, ref, project.id)
    if not found:
        raise NotFoundError(f"there is no page '{ref}' to supersede; search for it first")
    return found[0][1]
