"""Pages: the one way to change the wiki and have the index follow, and to notice what was changed by hand.

Files and commit come first, the index second: a crash in between is a difference that `notice_edits` finds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp import handoff as handoffs
from ai_memory_mcp import history, markdown
from ai_memory_mcp.files import private_dir, write_atomic
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.model import Page, Project
from ai_memory_mcp.resources import Resources

AUTHOR = "ai-memory"
ORDINARY = 2_000  # pages; up to so many every look at the memory sees every edit (about 15 ms)
SHARE = 20


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
        recorded = history.record(db, project.id, wiki.made)
    if not recorded:
        history.catch_up(res, project)


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


def notice_edits(res: Resources, project: Project, *, now: datetime, always: bool = True) -> int:
    """Index what changed on disk (editor, git pull, checkout) and commit edits made by hand. Returns how many.

    Pages that vanished leave the index; the wiki's history keeps them: a vanished file is never a deletion.
    Without `always` a project of more than ORDINARY pages is looked through only now and then, so that this takes
    no more than one part in SHARE of anybody's time.
    """
    if not always and not _scan_is_due(res, project, now):
        return 0
    started = time.perf_counter()
    wiki = res.wiki(project)
    with res.index.read() as db:
        known = rows.page_stamps(db, project.id)
    seen = wiki.scan(known)
    if len(known) > ORDINARY:
        _note_scan(res, project, now, time.perf_counter() - started)
    touched = [*seen.changed, *seen.added, *seen.vanished]
    if not touched:
        return 0
    wiki.keep_edits([*seen.changed, *seen.added], when=now)
    with res.index.write() as db:
        for path in touched:
            index_file(db, res, project, path)
        recorded = history.record(db, project.id, wiki.made)
    if not recorded:  # git itself changed the pages
        history.catch_up(res, project)
    return len(touched)


def _scan_is_due(res: Resources, project: Project, now: datetime) -> bool:
    """Tell whether the last look at all files of a large project (the only ones with such a note) is long ago."""
    try:
        told = json.loads(_scan_note(res, project).read_bytes())
        since = now.timestamp() - float(told["at"])
        return not 0 <= since < SHARE * float(told["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _note_scan(res: Resources, project: Project, now: datetime, seconds: float) -> None:
    note = {"at": now.timestamp(), "seconds": round(seconds, 6)}
    private_dir(res.home / "brief")
    write_atomic(_scan_note(res, project), json.dumps(note).encode())


def _scan_note(res: Resources, project: Project) -> Path:
    return res.home / "brief" / f"scan-{project.id}.json"


def load(res: Resources, project: Project, path: str) -> tuple[Page, str]:
    """Read a page from disk: the parsed page and its whole text. Raises NotFoundError."""
    wiki = res.wiki(project)
    text = wiki.read(path).decode("utf-8", "replace")
    try:
        seen = datetime.fromtimestamp((wiki.folder / path).stat().st_mtime, timezone.utc)
    except FileNotFoundError:
        seen = datetime.fromtimestamp(0, timezone.utc)
    return markdown.page_from(path, text, project=project.id, created=seen, updated=seen), text
