"""Settle: what follows from new observations. Handoffs are accepted, sessions closed, briefs rendered.

Driven by state in the index (dirty and open sessions), not by the events that came in, so that a run which was
killed is made up for by the next one. The caller holds the ingest lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp import brief, handoff, markdown, pages, sessions
from ai_memory_mcp.errors import ConflictError, NotFoundError, StorageError
from ai_memory_mcp.files import locked, sweep
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.ingest import Place
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.llm_queue import Queue
from ai_memory_mcp.model import Handoff, Project
from ai_memory_mcp.resources import Resources

LOCK_WAIT = 10.0
NOTES_KEPT = 30 * 86_400.0  # seconds; a session that is resumed later is told its brief again


@dataclass
class Settled:
    """What was done, and which projects changed."""

    closed: int = 0
    handoffs: int = 0
    projects: dict[str, Project] = field(default_factory=dict)


def unsettled(res: Resources, *, idle: bool) -> list[str]:
    """Return the ids of the projects that `settle` has something to do for, those with the oldest events first; with
    `idle` also those where only time passes while a session is open."""
    with res.index.read() as db:
        waiting = [row.project for row in rows.unsettled(db) if row.dirty or idle]
        known = {project.id: project for project in rows.projects(db)}
        failed = rows.metas(db, rows.TROUBLE)
    others = [one.id for one in known.values() if (one.id in failed and idle) or not brief.is_rendered(res, one)]
    return [one for one in dict.fromkeys([*waiting, *others]) if one in known]


def follows(res: Resources, project: Project, *, now: datetime) -> bool:
    """Tell whether `settle` would close a session of the project or accept a handoff, as far as it can."""
    with res.index.read() as db:
        if project.id in rows.metas(db, rows.TROUBLE):
            return False
        mine = rows.unsettled(db, project.id)
        if any(row.dirty and rows.offers(db, row.id) for row in mine):
            return True
    return any(_is_over(res, row, mine, now) for row in mine)


def settle(
    res: Resources,
    places: Sequence[Place],
    *,
    now: datetime,
    always: bool = True,
    only: Sequence[str] | None = None,
    look: Callable[[Project], bool] = lambda project: True,
) -> Settled:
    """Accept, close and expire what is due; then render the briefs of the projects that changed.

    A project whose wiki refuses (a merge in progress, damage, a full disk) does not keep the others waiting: its
    sessions stay unsettled for the next run, and `rows.troubles` says why. The place seen last comes first: a session
    start may be waiting for its brief. With `always` the projects of these places are looked through for edits by
    hand whatever their size. With `only` no other projects (ids) are settled than these; `look` says of each whether
    it is to be looked through at all.
    """
    done = Settled(projects={place.project.id: place.project for place in places})
    with res.index.read() as db:
        open_rows = rows.unsettled(db)
        known = {project.id: project for project in rows.projects(db)}
        failed = rows.metas(db, rows.TROUBLE)
    due = {row.project for row in open_rows} | set(failed) | set(done.projects)
    note_places(res, places)
    seen = {place.project.id: number for number, place in enumerate(places)}
    wanted = [one for one in known.values() if only is None or one.id in only]
    for project in sorted(wanted, key=lambda one: -seen.get(one.id, -1)):
        if project.id in due or not brief.is_rendered(res, project):
            edits = look(project) or project.id in failed
            error = _settle_project(res, project, open_rows, done, now, edits, always=always and project.id in seen)
            if error != failed.get(project.id, ""):
                _note_trouble(res, project, error)
            if project.id in done.projects:
                brief.render(res, project, now=now)
    return done


def note_places(res: Resources, places: Sequence[Place]) -> None:
    """Have the hooks find the project of these places at once."""
    here = [place for place in places if not place.identity.told]  # the hooks of another machine look there
    brief.note_places(res.home, [(place.root, place.marker, place.project.id, place.identity.stamps) for place in here])


def _note_trouble(res: Resources, project: Project, error: str) -> None:
    with res.index.write() as db:
        if error:
            rows.set_meta(db, rows.TROUBLE + project.id, error)
        else:
            rows.drop_meta(db, rows.TROUBLE + project.id)


def _settle_project(
    res: Resources,
    project: Project,
    open_rows: list[SessionRow],
    done: Settled,
    now: datetime,
    edits: bool,
    *,
    always: bool,
) -> str:
    """Settle one project, and look for `edits` by hand; returns why it could not be, '' when all is well."""
    mine = [row for row in open_rows if row.project == project.id]
    noticed = 0
    try:
        if edits:
            with handoff_lock(res, project):
                noticed = pages.notice_edits(res, project, now=now, always=always)
        if noticed or not brief.is_rendered(res, project):
            done.projects[project.id] = project
        _accept_offers(res, project, mine, done)
        over = {row.id: row for row in mine if _is_over(res, row, mine, now)}
        _note_settled(res, project, [row for row in mine if row.dirty and row.id not in over], done)
        for row in over.values():
            _close(res, project, row, done)
        expire(res, project, now=now)
    except StorageError as error:
        return str(error)
    return ""


def _is_over(res: Resources, row: SessionRow, others: list[SessionRow], now: datetime) -> bool:
    """Tell whether a session is to be closed, or was and has got an answer that came in after the end."""
    if row.state == "closed":
        return row.dirty
    return row.state == "open" and sessions.is_over(row, others, res.config.session, now=now)


def _note_settled(res: Resources, project: Project, settled: list[SessionRow], done: Settled) -> None:
    """Note of sessions that go on that nothing follows from what they have done."""
    if settled:
        with res.index.write() as db:
            for row in settled:
                rows.put_session(db, row.model_copy(update={"dirty": False}))
        done.projects[project.id] = project


def _close(res: Resources, project: Project, row: SessionRow, done: Settled) -> None:
    with handoff_lock(res, project):
        # nobody is to go on from work of long ago that an import brought in, nor is a model to read it unasked
        closed, made = sessions.close(res, project, row, over=not row.past)
    _record_close(res, closed)
    if closed.page and res.config.llm.by_itself and not row.past:
        Queue(res.home).add(row.id, project.id)
    done.closed += 1
    done.handoffs += made is not None
    done.projects[project.id] = project


def _record_close(res: Resources, row: SessionRow) -> None:
    """Note in the journal that the session is closed: with that line a rebuilt index knows it too."""
    record = {
        "type": "close",
        "session": row.id,
        "at": row.last.isoformat(),
        "page": row.page,
        "title": row.title,
    }
    name = res.journal.name_of(row.project, row.id)
    with res.index.write() as db:
        ledger = Ledger(db)
        ledger.apply(record)
        size = res.journal.append(name, [json.dumps(record, ensure_ascii=False)])
        ledger.flush()
        rows.set_file_size(db, name, size)


# --- handoffs: every change of state happens here


def _accept_offers(res: Resources, project: Project, mine: list[SessionRow], done: Settled) -> None:
    """Give each waiting handoff to the first session that was shown it and went on to work (see `rows.goes_on`)."""
    claims: list[tuple[int, str, str, SessionRow]] = []
    with res.index.read() as db:
        for row in mine:
            for handoff_id, at in rows.offers(db, row.id) if row.dirty else ():
                begun = rows.goes_on(db, row.id, at)
                if begun is not None:
                    claims.append((begun, row.id, handoff_id, row))
        waiting = {one.id: one for one in rows.handoffs(db, project.id) if handoff.waiting(one)} if claims else {}
    for begun, _, handoff_id, row in sorted(claims, key=lambda claim: claim[:3]):
        one = waiting.pop(handoff_id, None)
        if one is None:
            continue
        if one.from_session == row.id or not handoff.for_agent(one, row.agent):
            waiting[handoff_id] = one
            continue
        with suppress(ConflictError, NotFoundError):
            accepted = datetime.fromtimestamp(begun / 1000, timezone.utc)
            take(res, project, handoff_id, by=f"{row.agent} {row.id}", now=accepted)
            done.projects[project.id] = project


def take(res: Resources, project: Project, handoff_id: str, *, by: str, now: datetime) -> Handoff:
    """Accept a handoff for `by`. Exactly one caller succeeds: ConflictError for the others."""
    return _change(res, project, handoff_id, {"state": "accepted", "accepted": now, "accepted_by": by}, "accepted", now)


def finish(res: Resources, project: Project, handoff_id: str, *, now: datetime) -> Handoff:
    """Close a handoff, so that it is offered no more."""
    return _change(res, project, handoff_id, {"state": "closed"}, "closed", now)


def expire(res: Resources, project: Project, *, now: datetime) -> None:
    """Close what has waited too long, so that nobody is handed stale work."""
    with res.index.read() as db:
        waiting = rows.handoffs(db, project.id)
    for one in waiting:
        if handoff.expired(one, res.config.handoff.expires_days, now):
            _change(res, project, one.id, {"state": "expired"}, "expired", now)


def _change(
    res: Resources, project: Project, handoff_id: str, keys: dict[str, object], word: str, now: datetime
) -> Handoff:
    """Change a handoff's state under the project's handoff lock, after another look at its page."""
    with res.index.read() as db:
        found = [one for one in rows.handoffs(db, project.id) if one.id == handoff_id]
    if not found:
        raise NotFoundError(f"there is no handoff {handoff_id}; `ai-memory-mcp handoff list --all` shows them")
    with handoff_lock(res, project):
        page, text = pages.load(res, project, found[0].path)
        one = handoff.from_page(page, markdown.parse(text)[0])
        if not handoff.waiting(one):
            who = f" by {one.accepted_by}" if one.accepted_by else ""
            raise ConflictError(f"handoff {handoff_id[:8]} is already {one.state}{who}")
        changes: dict[str, str | None] = {one.path: markdown.set_keys(text, keys)}
        changes |= _same_origin(res, project, one) if word == "accepted" else {}
        pages.save(res, project, changes, f"Handoff {word}: {page.title}", when=now)
        page, text = pages.load(res, project, found[0].path)
        return handoff.from_page(page, markdown.parse(text)[0])


def handoff_lock(res: Resources, project: Project) -> AbstractContextManager[bool]:
    """Return the lock under which the project's handoffs change. Order: ingest, handoff, wiki, index."""
    return handoff_lock_of(res, project.id)


def handoff_lock_of(res: Resources, project_id: str) -> AbstractContextManager[bool]:
    """The same for the project with this id."""
    return locked(res.home / "locks" / f"handoff-{project_id}.lock", timeout=LOCK_WAIT)


def _same_origin(res: Resources, project: Project, taken: Handoff) -> dict[str, str | None]:
    """A handoff left by hand stands for its session: once it is taken, the automatic one is not offered too."""
    if taken.automatic or not taken.from_session:
        return {}
    with res.index.read() as db:
        others = rows.handoffs(db, session_id=taken.from_session)
    changes: dict[str, str | None] = {}
    for other in others:
        if other.automatic and handoff.waiting(other):
            text = pages.load(res, project, other.path)[1]
            changes[other.path] = markdown.set_keys(text, {"state": "superseded", "superseded_by": taken.path})
    return changes


def tidy(res: Resources, projects: Iterable[Project], *, quick: bool = False) -> None:
    """What can wait until nobody waits: git's own index (also where a crash left it behind), packing, sweeping.

    With `quick` the git index of a large project is left to the next run.
    """
    for workspace_id, project_id in res.wiki_folders():
        with suppress(StorageError):  # busy: the next run does it
            res.wiki_at(workspace_id, project_id).refresh_git_index(quick=quick)
    for project in projects:
        with suppress(StorageError):
            res.wiki(project).pack_if_many()
    sweep_home(res.home)


_LEFT_IN_WIKIS = (  # by who did not hold the wiki's lock: its next holder removes the rest at once
    (".git", ".*.tmp"),
    (".git/objects/pack", "tmp_*"),
    (".git/refs/ai-memory", "*.lock"),
)


def sweep_home(home: Path) -> None:
    """Remove what killed writers and sessions of long ago have left."""
    now = datetime.now(timezone.utc).timestamp()
    below = ("spool/set-aside", "sync/erased")
    for folder in ("", "locks", "spool", "journal", "brief", "bin", "cache", "llm", "backups", "sync", *below):
        sweep(home / folder, now=now)
    for journal in (home / "journal").glob("*"):
        sweep(journal, now=now)
    for notes in ("told-*", "late-*"):
        sweep(home / "brief", now=now, pattern=notes, age=NOTES_KEPT)
    for place in (home / "wiki").glob("*/*-*"):
        if place.is_file():  # where a project was, see `renaming`
            sweep(place.parent, now=now, pattern=place.name)
            continue
        for folder, left in _LEFT_IN_WIKIS:
            sweep(place / folder, now=now, pattern=left)
    if any(home.glob(".restore-*")):
        from ai_memory_mcp.backup import sweep_stages

        sweep_stages(home)
