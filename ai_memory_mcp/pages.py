"""Pages: the one way to change the wiki and have the index follow, and to notice what was changed by hand.

Files and commit come first, the index second: a crash in between is a difference that `notice_edits` finds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from ai_memory_mcp import handoff as handoffs
from ai_memory_mcp import history, markdown
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.files import holder_file, locked, private_dir, write_atomic
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.model import Page, Project
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.tombstones import Kind, path_mark
from ai_memory_mcp.wiki import Seen

AUTHOR = "ai-memory"
ORDINARY = 2_000  # pages; up to so many every look at the memory sees every edit (about 15 ms)
SHARE = 20
LOCK_WAIT = 30.0
BATCH = 500  # pages per index transaction: nobody is kept waiting long (about 0.2 s)


class Look(NamedTuple):
    """What one look at a page's file found; no page where there is no file."""

    path: str
    page: Page | None = None
    text: str = ""
    stamp: tuple[int, int] | None = None  # ns and bytes


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
        written = [page for path in texts if (page := rows.page_record(db, project.id, path))]
    _lift(res, project, written, when)
    if not recorded:
        history.catch_up(res, project)


def _lift(res: Resources, project: Project, written: Iterable[Page], when: datetime) -> None:
    """Who writes a page that was evicted wants it back."""
    names: list[tuple[Kind, str]] = [
        name for page in written for name in (("page", page.id), ("path", path_mark(project.id, page.path)))
    ]
    stones = [stone for kind, name in names if (stone := res.tombstones.has(kind, name, project.id))]
    res.tombstones.lift([stone for stone in stones if stone.why == "evicted"], when)


def save_many(
    res: Resources,
    project: Project,
    texts: Mapping[str, bytes | None],
    message: str,
    *,
    when: datetime,
    author: str = AUTHOR,
    indexed: Callable[[int], None] = lambda _: None,
) -> None:
    """Save pages (None deletes), of which there may be more than fit in memory, in one commit; the index follows in
    batches.

    `indexed` is told how many of them are in the index so far. Meanwhile nobody else takes them for edits by hand
    and does the work as well.
    """
    with locked(_many_lock(res, project), timeout=LOCK_WAIT):
        wiki = res.wiki(project)
        wiki.commit(texts, message, author=author, when=when)
        _index_files(res, project, list(texts), indexed)
        with res.index.write() as db:
            recorded = history.record(db, project.id, wiki.made)
        if not recorded:
            history.catch_up(res, project)


def _many_lock(res: Resources, project: Project) -> Path:
    return res.home / "locks" / f"pages-{project.id}.lock"


def _many_under_way(res: Resources, project: Project) -> bool:
    """Tell whether somebody saves many pages just now. Nothing is locked, or loaded for it, where nobody ever did."""
    lock = _many_lock(res, project)
    if not holder_file(lock).exists():
        return False
    try:
        with locked(lock, timeout=0):
            return False  # who held it has died, and what is left to do looks like edits by hand
    except StorageError:
        return True


def index_file(db: Connection, res: Resources, project: Project, path: str, *, kept: bool = True) -> None:
    """Make the index say of one page what the file says now (nothing, when it is gone). One that is not `kept` in
    history yet gets a time below 0: the next `notice_edits` takes it for changed, and commits it."""
    look = _look(res, project, path)
    _index(db, project, look if kept or not look.stamp else look._replace(stamp=(-look.stamp[0], look.stamp[1])))


def is_indexed(known: tuple[int, int], seen: Seen) -> bool:
    """Tell whether a page is indexed as its file is, and only not kept in history yet (see `index_file`)."""
    return known == (-seen.mtime_ns, seen.size)


def _index_files(
    res: Resources, project: Project, paths: Sequence[str], indexed: Callable[[int], None] = lambda _: None
) -> None:
    """Do that for many, each batch a transaction, and read the files before it begins: others have the lock then."""
    for start in range(0, len(paths), BATCH):
        looks = [_look(res, project, path) for path in paths[start : start + BATCH]]
        with res.index.write() as db:
            for look in looks:
                changed = look.stamp != _stamp(res.wiki(project).folder / look.path)
                _index(db, project, _look(res, project, look.path) if changed else look)
        indexed(start + len(looks))


def _look(res: Resources, project: Project, path: str) -> Look:
    file = res.wiki(project).folder / path
    stamp = _stamp(file)
    try:
        text = file.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        stamp = None
    if stamp is None:
        return Look(path)
    seen = datetime.fromtimestamp(stamp[0] / 1e9, timezone.utc)
    page = markdown.page_from(path, text, project=project.id, created=seen, updated=seen)
    return Look(path, page, text, stamp)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _index(db: Connection, project: Project, look: Look) -> None:
    if look.page is None or look.stamp is None:
        known = rows.page_record(db, project.id, look.path)
        if known and known.kind == "handoff":
            rows.drop_handoff(db, known.id)
        rows.drop_page(db, project.id, look.path)
        return
    rows.put_page(db, look.page, *look.stamp, markdown.links(look.page.body))
    if look.page.kind == "handoff":
        rows.put_handoff(db, handoffs.from_page(look.page, markdown.parse(look.text)[0]))


def notice_edits(res: Resources, project: Project, *, now: datetime, always: bool = True) -> int:
    """Index what changed on disk (editor, git pull, checkout) and commit edits made by hand. Returns how many.

    Pages that vanished leave the index; the wiki's history keeps them: a vanished file is never a deletion.
    Without `always` a project of more than ORDINARY pages is looked through only now and then, so that this takes
    no more than one part in SHARE of anybody's time.
    """
    if (not always and not _scan_is_due(res, project, now)) or _many_under_way(res, project):
        return 0
    started = time.perf_counter()
    wiki = res.wiki(project)
    with res.index.read() as db:
        known = rows.page_stamps(db, project.id)
    seen = wiki.scan(known)
    if len(known) > ORDINARY:
        _note_scan(res, project, now, time.perf_counter() - started)
    touched = [*seen.changed, *seen.added, *seen.vanished]
    if not touched or _many_under_way(res, project):
        return 0
    wiki.keep_edits([*seen.changed, *seen.added], when=now)
    indexed = {path: one for path, one in seen.changed.items() if is_indexed(known[path], one)}
    _index_files(res, project, [path for path in touched if path not in indexed])
    with res.index.write() as db:
        for path, one in indexed.items():
            rows.set_page_stamp(db, project.id, path, *one)
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
