"""Projects under another name, in another workspace, or made one of two. What they were called leads to them as before.

It stands in the front page (`earlier_names`, `earlier_ids`), so that a rebuilt index knows it. What is to be done is
noted first (`changing.json`) and each step can be repeated: killed anywhere, the next command ends it. Where a wiki
was, a small file stays for a while, so that nobody who knew the old place writes to it.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from ai_memory_mcp import backup, consolidate, formats, ingest, markdown, pages, registry, reindex
from ai_memory_mcp.errors import ConflictError, InputError, NotFoundError
from ai_memory_mcp.files import locked, private_dir, remove, storage_error, write_atomic
from ai_memory_mcp.importing_places import Links
from ai_memory_mcp.index import rows
from ai_memory_mcp.journal import UNSTORED, USES
from ai_memory_mcp.llm_queue import Queue
from ai_memory_mcp.model import Project, Value
from ai_memory_mcp.project import GENERAL, workspace_id
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.wiki import ProjectWiki

LOCK_WAIT = 60.0  # seconds; a language model may be at work
MAX_NAME = 100
FEEDBACK = "feedback.jsonl"


class Change(Value):
    """What is to be done, as `changing.json` keeps it. `before` and `after` are the project; of a merge, the one that
    goes and the one that has everything then, and `places` says where its pages go."""

    what: Literal["rename", "move", "merge"]
    before: Project
    after: Project
    places: dict[str, str] = Field(default_factory=dict)
    at: datetime


def rename(res: Resources, project: Project, name: str, *, now: datetime) -> Project:
    """Give a project another name. Raises InputError, ConflictError for one that is taken, NotFoundError."""
    with _alone(res):
        known = _known(res)
        before = _current(project, known)
        after = before.model_copy(update={"name": _name(name), "earlier_names": _earlier(before)})
        return _begin(res, Change(what="rename", before=before, after=_unless_taken(after, known), at=now))


def move(res: Resources, project: Project, workspace: str, *, now: datetime) -> Project:
    """Put a project into another workspace, a new one too. Raises InputError, ConflictError where it has one of that
    name, NotFoundError."""
    with _alone(res):
        known = _known(res)
        before = _current(project, known)
        there = _name(workspace)
        if there == before.workspace:
            return before
        told = {"workspace": there, "workspace_id": workspace_id(there), "earlier_names": _earlier(before)}
        after = _unless_taken(before.model_copy(update=told), known)
        pages.notice_edits(res, before, now=now)
        return _begin(res, Change(what="move", before=before, after=after, at=now))


def merge(res: Resources, project: Project, into: Project, *, now: datetime) -> Project:
    """Make one project of two: everything of the first is of the second then. Raises InputError, NotFoundError."""
    with _alone(res):
        known = _known(res)
        before, target = _current(project, known), _current(into, known)
        if before.id == target.id:
            raise InputError(f"{before.name} and {target.name} are the same project")
        for one in (before, target):
            pages.notice_edits(res, one, now=now)
        after = target.model_copy(
            update={
                "roots": _both(target.roots, before.roots),
                "remotes": _both(target.remotes, before.remotes),
                "earlier_names": _both(target.earlier_names, _earlier(before)),
                "earlier_ids": _both(target.earlier_ids, (before.id, *before.earlier_ids)),
            }
        )
        places = _places(res, before, target)
        return _begin(res, Change(what="merge", before=before, after=after, places=places, at=now))


def finish(res: Resources, wait: float = LOCK_WAIT) -> None:
    """End what somebody was killed at. Raises StorageError, BusyError where it is being done just now."""
    with _alone(res, wait):
        pass


# --- doing it


@contextmanager
def _alone(res: Resources, wait: float = LOCK_WAIT) -> Iterator[None]:
    """Keep others from ingesting, consolidating, syncing, backing up and making projects known; ends what was begun
    first."""
    with (
        locked(res.home / "locks" / "sync.lock", timeout=wait),
        consolidate.lock(res, wait),
        backup.lock(res.home, wait),
        ingest.lock(res, wait),
        locked(res.home / "locks" / "projects.lock", timeout=wait),
    ):
        begun = _waits(res)
        if begun:
            _carry_out(res, begun)
        yield


def _waits(res: Resources) -> Change | None:
    path = res.home / formats.CHANGING
    try:
        return Change.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", path, error) from error
    except ValidationError:  # it was written in one step: of another version, or of somebody else
        remove(path)
        return None


def _begin(res: Resources, change: Change) -> Project:
    write_atomic(res.home / formats.CHANGING, change.model_dump_json().encode("utf-8", "replace"), durable=True)
    return _carry_out(res, change)


def _carry_out(res: Resources, change: Change) -> Project:
    """Do what was noted, however much of it is done by now. The caller is alone."""
    try:
        if change.what == "merge":
            _merge(res, change)
        else:
            _rename(res, change)
        _forget_briefs(res, change.before)
        remove(res.home / formats.CHANGING)
    except OSError as error:
        raise storage_error(f"{change.what} projects in", res.home, error) from error
    if change.what == "merge":
        reindex.rebuild(res)
    return change.after


def _rename(res: Resources, change: Change) -> None:
    old, new = res.wiki(change.before), res.wiki(change.after)
    if change.what == "move":
        remove(res.home / "sync" / f"{change.before.id}.json")  # a branch of another workspace is begun
        old.move_to(new, f"{change.after.workspace}/{change.after.name}")
    registry.record(res, change.after, now=change.at)


def _merge(res: Resources, change: Change) -> None:
    """Pages and history, then the journal, then the old place goes: until then all of it is somewhere whole."""
    before, after = change.before, change.after
    theirs, ours = res.wiki(before), res.wiki(after)
    committed = ours.read_at(registry.FRONT_PAGE, ours.head()).decode("utf-8", "replace")
    if before.id not in registry.from_front_page(committed, after.id, after.workspace_id).earlier_ids:
        texts = dict(_pages(theirs, change.places))
        front = registry.front_page(after, ours.read(registry.FRONT_PAGE).decode("utf-8", "replace"), now=change.at)
        texts[registry.FRONT_PAGE] = front.encode("utf-8", "replace")
        message = f"Merge {before.workspace}/{before.name} into {after.name}"
        ours.absorb(theirs, texts, message, author=pages.AUTHOR, when=change.at)
    if registry.own_roots(ours.folder) is not None:
        registry.keep_own_roots(ours.folder, after.roots)
    _move_journal(res, before.id, after.id)
    queue = Queue(res.home)
    for one in queue.every():
        if one.project == before.id:
            queue.add(one.session, after.id, asked=one.asked)
    stones = [one for one in res.tombstones.of(before.id) if one.project == before.id]
    res.tombstones.add(one.model_copy(update={"project": after.id}) for one in stones)
    remove(res.home / "sync" / f"{before.id}.json")
    theirs.leave(f"{after.workspace}/{after.name}")
    res.index.discard()


def _places(res: Resources, project: Project, into: Project) -> dict[str, str]:
    """Return where each page of a project goes: to its own path, or one like it where another page is there."""
    theirs, ours = res.wiki(project), res.wiki(into)
    taken = {path.casefold(): path for path in ours.paths()}
    places: dict[str, str] = {}
    for path in sorted(theirs.paths()):
        if path == registry.FRONT_PAGE:
            continue
        there = taken.get(path.casefold())
        if there is None or (there == path and theirs.read(path) == ours.read(path)):
            places[path] = path
        else:
            marks = (f"-{markdown.slug(project.name)}{more}" for more in ("", f"-{project.id[:8]}", f"-{project.id}"))
            told = (markdown.tame_path(path, mark) for mark in marks)
            places[path] = next(one for one in told if one.casefold() not in taken)
        taken[places[path].casefold()] = places[path]
    return places


def _pages(theirs: ProjectWiki, places: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield the pages as they are to be there: links between them stay right."""
    links = Links({path: place for path, place in places.items() if path != place})
    for path, place in places.items():
        data = theirs.read(path)
        body = markdown.parse(data.decode("utf-8", "surrogateescape"))[1]
        plain = body.encode("utf-8", "surrogateescape")
        linked = links.in_body(body, path, place).encode("utf-8", "surrogateescape")
        yield place, data[: len(data) - len(plain)] + linked if data.endswith(plain) else data


def _move_journal(res: Resources, project: str, into: str) -> None:
    """Put the journal of a project into that of the other; each file is whole in one of them, or in both."""
    source, target = res.journal.folder / project, res.journal.folder / into
    unstored = res.journal.folder / UNSTORED
    if unstored.exists():
        write_atomic(unstored, b"".join(_changed(unstored.read_bytes(), project, into)), durable=True)
    for path in sorted(source.glob("[!.]*")) if source.is_dir() else ():
        there = private_dir(target) / path.name
        data = path.read_bytes()
        if path.name in (FEEDBACK, USES):
            mine = there.read_bytes() if there.exists() else b""
            data = b"".join(dict.fromkeys((*_changed(mine, project, into), *_changed(data, project, into))))
        elif path.suffix == ".gz":
            data = gzip.compress(b"".join(_changed(gzip.decompress(data), project, into)), mtime=0)
        else:
            data = b"".join(_changed(data, project, into))
        write_atomic(there, data, durable=True)
        remove(path)
    if source.is_dir():
        shutil.rmtree(source)


def _changed(data: bytes, project: str, into: str) -> Iterator[bytes]:
    """Yield the lines of a journal as those of another project; what is no record stays as it is."""
    for line in data.splitlines(keepends=True):
        if project.encode() in line and line.endswith(b"\n"):
            with suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("project") == project:
                    line = json.dumps(record | {"project": into}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        yield line


# --- names


def _current(project: Project, known: Iterable[Project]) -> Project:
    """Return a project as it is recorded by now. Raises NotFoundError, InputError for one that stays what it is."""
    found = next((one for one in known if one.id == project.id), None)
    if found is None:
        raise NotFoundError(f"the project {project.name} has no memory yet")
    if found.name == GENERAL:
        raise InputError(f"'{GENERAL}' is what a workspace keeps for no project; it stays what it is")
    return found


def _known(res: Resources) -> list[Project]:
    with res.index.read() as db:
        return rows.projects(db)


def _name(name: str) -> str:
    told = name.strip()
    if not told or len(told) > MAX_NAME or not told.isprintable() or "/" in told or "\\" in told or told == GENERAL:
        raise InputError(f"'{name}' is no name for it; give a short one without slashes")
    return told


def _earlier(project: Project) -> tuple[str, ...]:
    """Return the names that a project has had, with the one it has."""
    return _both(project.earlier_names, (f"{project.workspace}/{project.name}",))


def _unless_taken(project: Project, known: Iterable[Project]) -> Project:
    """Return a project under its new name. Raises ConflictError where another one is known by it."""
    name = f"{project.workspace}/{project.name}"
    for other in known:
        if other.id != project.id and name in _earlier(other):
            raise ConflictError(
                f"{name} leads to the project {other.workspace}/{other.name}; take another name, or make the two one"
                " (ai-memory-mcp merge-projects)"
            )
    return project.model_copy(update={"earlier_names": tuple(one for one in project.earlier_names if one != name)})


def _both(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _forget_briefs(res: Resources, project: Project) -> None:
    """Have where folders belong noted anew with the next event, and the brief rendered by who changed the project."""
    for path in [*(res.home / "brief").glob("root-*.json"), res.home / "brief" / f"{project.id}.json"]:
        remove(path)
