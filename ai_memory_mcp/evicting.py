"""Taking pages out of a wiki so that nothing brings them back by itself: a commit without them, and tombstones.

Git's history keeps their text. The tombstones come first: after a crash in between, the page is still due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from ai_memory_mcp import pages
from ai_memory_mcp.model import Page, Project
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.tombstones import Tombstone, path_mark


def save(
    res: Resources,
    project: Project,
    texts: Mapping[str, str | None],
    message: str,
    gone: Iterable[Page],
    *,
    now: datetime,
) -> None:
    """Commit pages as `pages.save` does; those that it removes (None) are `gone`, and do not come back."""
    res.tombstones.add(stone for page in gone for stone in _stones(page, now))
    pages.save(res, project, texts, message, when=now)


def evict(res: Resources, project: Project, gone: Iterable[Page], message: str, *, now: datetime) -> None:
    """Take pages out in one commit, however many. Raises StorageError."""
    leaving = list(gone)
    res.tombstones.add(stone for page in leaving for stone in _stones(page, now))
    pages.save_many(res, project, dict.fromkeys(page.path for page in leaving), message, when=now)


def gone(res: Resources, project: Project, path: str, page_id: str) -> Tombstone | None:
    """Return the tombstone of a page that somebody brings in, None when it may come."""
    mark = path_mark(project.id, path)
    return res.tombstones.has("path", mark, project.id) or res.tombstones.has("page", page_id, project.id)


def _stones(page: Page, now: datetime) -> Iterator[Tombstone]:
    yield Tombstone(kind="page", id=page.id, project=page.project, why="evicted", at=now)
    yield Tombstone(kind="path", id=path_mark(page.project, page.path), project=page.project, why="evicted", at=now)
