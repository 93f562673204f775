"""Pages: the one way to change the wiki and have the index follow, and to notice what was changed by hand.

Files and commit come first, the index second: a crash in between is a difference that `notice_edits` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from ai_memory_mcp import handoff as handoffs
from ai_memory_mcp import markdown
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.model import Page, Project
from ai_memory_mcp.resources import Resources

AUTHOR = "ai-memory"


def save(
    res: Resources,
    project: Project,
    texts: Mapping[str, str | None],
    message: str,
    *,
    when: datetime,
    author: str = AUTHOR,
) -> None:
    """Commit pages (None deletes) and index them. Files that already read so make no commit."""
    wiki = res.wiki(project)
    changes = {path: None if text is None else text.encode("utf-8", "replace") for path, text in texts.items()}
    wiki.commit(changes, message, author=author, when=when)
    with res.index.write() as db:
        for path in changes:
            index_file(db, res, project, path)


def index_file(db: Connection, res: Resources, project: Project, path: str) -> None:
    """Make the index say of one page what the file says now (nothing, when it is gone)."""
    file = res.wiki(project).folder / path
    try:
        stat = file.stat()
        text = file.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        page = rows.page_record(db, project.id, path)
        if page and page.kind == "handoff":
            rows.drop_handoff(db, page.id)
        rows.drop_page(db, project.id, path)
        return
    seen = datetime.fromtimestamp(stat.st_mtime, timezone.utc)
    page = markdown.page_from(path, text, project=project.id, created=seen, updated=seen)
    rows.put_page(db, page, stat.st_mtime_ns, stat.st_size, markdown.links(page.body))
    if page.kind == "handoff":
        rows.put_handoff(db, handoffs.from_page(page, markdown.parse(text)[0]))


def notice_edits(res: Resources, project: Project, *, now: datetime) -> int:
    """Index what changed on disk (editor, git pull, checkout) and commit edits made by hand. Returns how many.

    Pages that vanished leave the index; the wiki's history keeps them: a vanished file is never a deletion.
    """
    wiki = res.wiki(project)
    with res.index.read() as db:
        known = rows.page_stamps(db, project.id)
    seen = wiki.scan(known)
    touched = [*seen.changed, *seen.added, *seen.vanished]
    if not touched:
        return 0
    wiki.keep_edits([*seen.changed, *seen.added], when=now)
    with res.index.write() as db:
        for path in touched:
            index_file(db, res, project, path)
    return len(touched)


def load(res: Resources, project: Project, path: str) -> tuple[Page, str]:
    """Read a page from disk: the parsed page and its whole text. Raises NotFoundError."""
    wiki = res.wiki(project)
    text = wiki.read(path).decode("utf-8", "replace")
    try:
        seen = datetime.fromtimestamp((wiki.folder / path).stat().st_mtime, timezone.utc)
    except FileNotFoundError:
        seen = datetime.fromtimestamp(0, timezone.utc)
    return markdown.page_from(path, text, project=project.id, created=seen, updated=seen), text
