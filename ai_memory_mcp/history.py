"""History: who changed which page when, and a page as it was. Git is the truth, the index has its rows.

Rows are recorded when we commit; what came by git itself (pull, merge, checkout, a commit by hand) is recorded by
`follow`, which goes back from the commit checked out to those known. So the rows depend on that commit alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, time, timezone

from ai_memory_mcp import markdown
from ai_memory_mcp.errors import InputError, NotFoundError, StorageError
from ai_memory_mcp.gitlog import Commit
from ai_memory_mcp.index import past, rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.index.past import CommitRow
from ai_memory_mcp.model import Document, Project, Revision, Touched
from ai_memory_mcp.resources import Resources

TRIES = 3  # another process may record at the same time
MAX_DIFF = 5_000  # lines of a page; comparing longer ones can take seconds


def record(db: Connection, project_id: str, made: Sequence[Commit]) -> bool:
    """Record the commits that a writer has just made; False when there may be others: then `follow` does it."""
    for one in made:
        if past.head(db, project_id) != "".join(one.parents):
            return False
        past.put_commits(db, project_id, [one])
    return bool(made)


def follow(res: Resources, project: Project) -> None:
    """Record what led to the commit that is checked out. Raises StorageError where git cannot be read."""
    wiki = res.wiki(project)
    for _ in range(TRIES):
        with res.index.read() as db:
            before = past.head(db, project.id)
            if wiki.head() == before:
                return
            known = past.known(db, project.id)
        found = wiki.walk(known)
        rewritten = before != "" and before not in found.met
        if rewritten:
            found = wiki.walk()
        with res.index.write() as db:
            if past.head(db, project.id) == before:
                if rewritten:
                    past.drop(db, project.id)
                past.put_commits(db, project.id, found.commits)
                return


def catch_up(res: Resources, project: Project) -> None:
    """Follow as far as git can be read: whoever asks for the history tries again, and is told why not."""
    with suppress(StorageError):
        follow(res, project)


def rebuild(db: Connection, res: Resources, project: Project) -> None:
    """Record the whole history of a project of which nothing is recorded. Raises StorageError."""
    past.put_commits(db, project.id, res.wiki(project).walk().commits)


def find_path(db: Connection, project: Project, ref: str) -> str:
    """Return the path of the page that `ref` names, one that is gone by its path or file name; '' for none."""
    found = rows.find_pages(db, ref, project.id)
    if found:
        return found[0][1]
    sessions = [row.page for row in rows.find_sessions(db, ref, project.id) if row.page]
    return next(iter(sessions or past.paths_named(db, project.id, ref)), "")


def of_page(
    db: Connection, res: Resources, project: Project, path: str, *, limit: int, diff: bool
) -> tuple[Revision, ...]:
    """Return the newest revisions of a page, newest first; under its earlier path too, where it was moved as it was."""
    found: list[CommitRow] = []
    below = past.DEEPEST
    while path and len(found) < limit:
        found += past.of_page(db, project.id, path, limit=limit - len(found), below=below)
        path, below = past.moved_from(db, project.id, path)
    return _told(db, res, project, found, diff=diff)


def recent(db: Connection, res: Resources, project: Project, *, limit: int, diff: bool) -> tuple[Revision, ...]:
    """Return a project's newest commits, newest first."""
    return _told(db, res, project, past.recent(db, project.id, limit), diff=diff)


def as_of(db: Connection, res: Resources, project: Project, path: str, at: str) -> Document:
    """Return a page as it was on a date, at a time or in a commit. Raises InputError, NotFoundError."""
    commit, when = _moment(at)
    if when is None:
        text, row = _in_commit(db, res, project, path, commit)
    else:
        text, row = _on_date(db, res, project, path, when)
    made = datetime.fromtimestamp(row.at / 1000, timezone.utc)
    page = markdown.page_from(path, text, project=project.id, created=made, updated=made)
    return Document(ref=path, title=page.title, text=text, page=page, revision=_revision(row, project, ()))


def _moment(at: str) -> tuple[str, datetime | None]:
    """Return what `at` says: the beginning of a commit's id, or a time; of a day it is the end, times are UTC."""
    told = at.strip()
    if re.fullmatch(r"[0-9a-fA-F]{4,40}", told):
        return told.lower(), None
    day = bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", told))
    try:
        when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", told))
        if day:
            when = datetime.combine(when, time.max)
        return "", when.replace(tzinfo=when.tzinfo or timezone.utc).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise InputError(
            f"'{at}' is neither a date (2026-11-01), a time (2026-11-01T17:30, in UTC) nor the id of a commit"
        ) from None


def _on_date(db: Connection, res: Resources, project: Project, path: str, when: datetime) -> tuple[str, CommitRow]:
    until = rows.millis(when)
    older, below = path, past.DEEPEST
    while older:
        found = past.of_page(db, project.id, older, limit=1, below=below, until=until, merges=True)
        if found:
            return _text(res, project, path, found[0]), found[0]
        older, below = past.moved_from(db, project.id, older)
    raise NotFoundError(f"'{path}' did not exist yet then; `ai-memory-mcp history {path}` tells since when it does")


def _text(res: Resources, project: Project, path: str, row: CommitRow) -> str:
    blob = row.pages[0].blob
    if not blob:
        when = datetime.fromtimestamp(row.at / 1000, timezone.utc)
        raise NotFoundError(f"'{path}' was removed before that, {when:%Y-%m-%d %H:%M} UTC; ask for an earlier time")
    return res.wiki(project).texts([blob])[blob].decode("utf-8", "replace")


def _in_commit(db: Connection, res: Resources, project: Project, path: str, commit: str) -> tuple[str, CommitRow]:
    found = past.commits_named(db, project.id, commit)
    if not found:
        raise NotFoundError(f"there is no commit {commit} in the history; `ai-memory-mcp history` lists them")
    if len(found) > 1:
        raise InputError(f"several commits begin with {commit}; give more of the id")
    older = path
    while older:
        with suppress(NotFoundError):
            return res.wiki(project).read_at(older, found[0].id).decode("utf-8", "replace"), found[0]
        older = past.moved_from(db, project.id, older)[0]
    raise NotFoundError(f"there was no page '{path}' in {commit}; `ai-memory-mcp history {path}` tells since when")


def _told(
    db: Connection, res: Resources, project: Project, found: Sequence[CommitRow], *, diff: bool
) -> tuple[Revision, ...]:
    """Make values of rows; with `diff` the texts before and after are read from git."""
    if not diff:
        return tuple(_revision(row, project, [""] * len(row.pages)) for row in found)
    pairs = [[(past.before(db, project.id, page.path, row.depth), page.blob) for page in row.pages] for row in found]
    texts = res.wiki(project).texts({blob for some in pairs for pair in some for blob in pair})
    return tuple(
        _revision(
            row,
            project,
            [_diff(page.path, texts[old], texts[new]) for page, (old, new) in zip(row.pages, some, strict=True)],
        )
        for row, some in zip(found, pairs, strict=True)
    )


def _revision(row: CommitRow, project: Project, diffs: Sequence[str]) -> Revision:
    return Revision(
        commit=row.id,
        at=datetime.fromtimestamp(row.at / 1000, timezone.utc),
        author=row.author,
        message=row.subject,
        project=project.name,
        pages=tuple(
            Touched.model_validate({"path": page.path, "change": page.how, "diff": diff})
            for page, diff in zip(row.pages, diffs, strict=False)
        ),
        total=row.total,
    )


def _diff(path: str, old: bytes, new: bytes) -> str:
    import difflib  # 8 ms, for this only

    before, after = (text.decode("utf-8", "replace").splitlines() for text in (old, new))
    if max(len(before), len(after)) > MAX_DIFF:
        return f"({len(before)} lines before, {len(after)} after: too long to compare)"
    lines = difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="")
    return "\n".join(lines)
