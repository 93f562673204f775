"""Taking one commit back: its pages become again what they were before it. What has changed since then stays."""

from __future__ import annotations

import re
from datetime import datetime

from ai_memory_mcp import history, pages, settle
from ai_memory_mcp.consolidate import AUTHOR
from ai_memory_mcp.errors import ConflictError, InputError, NotFoundError
from ai_memory_mcp.index import past, rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.index.past import CommitRow
from ai_memory_mcp.model import Project, Reverted
from ai_memory_mcp.resources import Resources


def revert(res: Resources, project: Project, ref: str, *, now: datetime) -> Reverted:
    """Take back a commit (the beginning of its id), or the consolidation of a session, in a commit of its own.

    A page that was changed since is left as it is. Raises NotFoundError, InputError, and ConflictError where that is
    so for every page.
    """
    history.follow(res, project)
    with settle.handoff_lock(res, project):
        with res.index.read() as db:
            row = _commit(db, project, ref)
            touched = past.pages_of(db, row.number)
            earlier = {one.path: past.before(db, project.id, one.path, row.depth) for one in touched}
        wiki = res.wiki(project)
        texts = wiki.texts({*earlier.values(), *(one.blob for one in touched)})
        changes: dict[str, str | None] = {}
        for one in touched:
            file = wiki.folder / one.path
            if (file.read_bytes() if file.exists() else b"") == texts[one.blob]:
                before = texts[earlier[one.path]]
                changes[one.path] = before.decode("utf-8", "surrogateescape") if earlier[one.path] else None
        if not changes:
            raise ConflictError(f"every page of commit {row.id[:10]} was changed since; nothing is taken back")
        pages.save(res, project, changes, f"Revert: {row.subject}", when=now, author="user")
    kept = tuple(one.path for one in touched if one.path not in changes)
    return Reverted(commit=row.id, message=row.subject, pages=tuple(changes), kept=kept)


def _commit(db: Connection, project: Project, ref: str) -> CommitRow:
    found = past.commits_named(db, project.id, ref.lower()) if re.fullmatch(r"[0-9a-fA-F]{4,40}", ref) else []
    if len(found) > 1:
        raise InputError(f"several commits begin with {ref}; give more of the id")
    if found:
        return found[0]
    for session in rows.find_sessions(db, ref, project.id):
        made = past.of_page(db, project.id, session.page or "", limit=50)
        for row in made:
            if row.author == AUTHOR:
                return row
    raise NotFoundError(
        f"there is no commit and no consolidated session '{ref}'; `ai-memory-mcp history` lists commits"
    )
