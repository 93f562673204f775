"""What every method of LocalMemory stands on: an index that is up to date, the project meant, and what has changed.

What only changes something (ingest, settle, briefs) is imported where it is used: with their hundreds of patterns
they cost a third of what a cold search takes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ai_memory_mcp import formats, history, pages, registry
from ai_memory_mcp.alive import agent_pid
from ai_memory_mcp.errors import (
    BusyError,
    NotFoundError,
    ProjectError,
    StorageError,
)
from ai_memory_mcp.files import private_dir
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.model import (
    IngestReport,
    Project,
    Resolved,
    Scope,
)
from ai_memory_mcp.project import workspace_id
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.tombstones import ERASING

if TYPE_CHECKING:
    from ai_memory_mcp.redact import Redactor

READ_WAIT = 2.0  # seconds a read waits for a running ingest; then it answers from what is there
QUICKLY_DONE = 1_000  # events: more are not taken in while a search waits
READ_EVENTS = 4_000  # events a read takes in itself (about 2 s); the next one goes on
LOOK_EVERY = 1.0  # seconds: so late may a server see an edit by hand
WRITE_WAIT = 30.0
_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]*")


def utc_now() -> datetime:
    """Return the time. Operations are told it; this is where it is read."""
    return datetime.now(timezone.utc)


class LocalBase:
    """Memory in-process, on spool, journal, wiki and index. Holds no open files between calls."""

    def __init__(self, res: Resources) -> None:
        self.res = res
        self.read_wait: float | None = READ_WAIT  # None where another thread takes in what waits all the time
        self.looked: dict[str, float] | None = None  # project -> when for edits (monotonic), where that is to be rare
        self._touched: dict[str, Project] = {}
        self._took_in = False  # whether `close` may take its time: nobody waits behind an ingest
        self._unsettled = False  # whether a search has taken events in and left what follows from them for later
        self._trouble = ""  # why the last read could not be brought up to date
        self._whole()
        private_dir(res.home)

    def _whole(self) -> int:
        """Return the version of the home's files, once they are all in place. Raises StorageError for a newer one."""
        if formats.unfinished(self.res.home):
            from ai_memory_mcp import backup

            backup.finish(self.res.home, READ_WAIT)
        if (self.res.home / formats.CHANGING).exists():
            from ai_memory_mcp import renaming

            renaming.finish(self.res, READ_WAIT)
        return formats.version(self.res.home)

    def ingest(self, scope: Scope | None = None) -> IngestReport:
        """Turn spooled events into observations and settle what follows from them."""
        from ai_memory_mcp import ingest

        self._ready()
        self._took_in = True
        with ingest.lock(self.res, WRITE_WAIT):
            return self._ingest(always=True)

    def tick(self) -> None:
        """Ingest and settle what waits, if nobody else is at it; for long-lived processes between calls."""
        if self.res.spool.pending() or (self.res.index.ready() and self._behind()):
            from ai_memory_mcp import ingest

            try:
                self._ready()
                with ingest.lock(self.res, 0.0):
                    self._ingest(always=True)
            except StorageError:
                return
            self.tidy()

    def take_in(self) -> None:
        """Take in what waits now and leave what follows from it to `settle`. Raises BusyError if somebody is at it."""
        from ai_memory_mcp import ingest

        self._ready()
        waiting = len(self.res.spool.names())  # while these are taken in, more come: they are for the next time
        if waiting:
            with ingest.lock(self.res, 0.0):
                self._ingest(waiting, settled=False)

    def unsettled(self, *, idle: bool) -> list[str]:
        """Return the projects (ids) that `settle` has something to do for, see there."""
        from ai_memory_mcp import settle

        self._ready()
        return settle.unsettled(self.res, idle=idle)

    def settle(self, projects: Sequence[str]) -> None:
        """Settle these projects. Raises BusyError where somebody is taking in what waits."""
        from ai_memory_mcp import ingest, settle

        with ingest.lock(self.res, 0.0):
            done = settle.settle(self.res, [], now=utc_now(), only=projects, look=self._look_is_due)
        self._touched |= done.projects

    def tidy(self) -> None:
        """Do what can wait until nobody waits, for the projects that were settled."""
        from ai_memory_mcp import settle

        settle.tidy(self.res, self._touched.values())
        self._touched.clear()

    def reindex(self) -> None:
        """Build the index anew from wiki and journal."""
        from ai_memory_mcp import ingest, reindex

        with ingest.lock(self.res, WRITE_WAIT):
            reindex.rebuild(self.res)

    def close(self) -> None:
        """Finish what was deferred: sessions, git's own index (that of a large project only after an ingest)."""
        if self._unsettled:
            self._settle_later()
        if not self._touched and not self._took_in:
            return
        from ai_memory_mcp import settle

        settle.tidy(self.res, self._touched.values(), quick=not self._took_in)
        self._touched.clear()

    def _ready(self) -> None:
        """Make sure that there is an index; build it from the files when it is missing or of another version.

        Files of an older version are brought forward, and what somebody was killed at erasing is erased first.
        """
        whole = self._whole() == formats.FORMAT
        if (self.res.home / ERASING).exists():
            from ai_memory_mcp import erasing

            with suppress(StorageError):  # somebody is at it, or the disk refuses: `status` tells
                erasing.finish(self.res)
        if whole and self.res.index.ready():
            return
        from ai_memory_mcp import ingest, reindex

        with ingest.lock(self.res, WRITE_WAIT):
            formats.bring_forward(self.res.home)
            if not self.res.index.ready():  # somebody else may have built it meanwhile
                reindex.rebuild(self.res)

    def _settle_later(self) -> None:
        """Settle what a search has left, unless somebody else is at it: who comes next finds it as well."""
        from ai_memory_mcp import ingest

        with suppress(StorageError), ingest.lock(self.res, 0.0):
            self._ingest(READ_EVENTS)

    def _ingest(self, limit: int | None = None, *, always: bool = False, settled: bool = True) -> IngestReport:
        from ai_memory_mcp import ingest, settle

        now = utc_now()
        report, places = ingest.drain(self.res, now=now, limit=limit)
        self._unsettled = not settled
        if not settled:
            settle.note_places(self.res, places)
            return report
        done = settle.settle(self.res, places, now=now, always=always)
        self._touched |= done.projects
        return report.model_copy(update={"sessions_closed": done.closed, "handoffs": done.handoffs})

    def _fresh(self, scope: Scope | None, *, notice: bool = True, settled: bool = True) -> Resolved:
        """Ingest what was spooled before this call (bounded wait), notice edits by hand, resolve the scope.

        What hinders that (another ingest at work, a full disk) hinders no read: `status` tells it. Without `settled`
        no session is compiled while somebody waits: what happened in it is found in its observations.
        """
        self._ready()
        self._trouble = ""
        try:
            if self.read_wait is not None:
                self._take_in(settled=settled)
        except StorageError as error:
            self._trouble = str(error)
        resolved = registry.resolve(self.res, scope or Scope(workspace="default"))
        if notice:
            self._notice(resolved)
        return resolved

    def _take_in(self, *, settled: bool) -> None:
        """Take in what waits, or wait until somebody else has taken in what was there when this began.

        Where more waits than can be done in that time, nobody is kept waiting for it in vain.
        """
        before = set(self.res.spool.names())
        if not before and not (settled and self._behind()):
            return
        from ai_memory_mcp import ingest

        patient = settled or len(before) <= QUICKLY_DONE
        deadline = time.monotonic() + ((self.read_wait or 0.0) if patient else 0.0)
        while True:
            try:
                with ingest.lock(self.res, 0.0):
                    self._ingest(READ_EVENTS, settled=settled)
                return
            except BusyError:
                if not settled and before.isdisjoint(self.res.spool.names()):
                    return
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.01)

    def _behind(self) -> bool:
        """Tell whether another process has taken events in and not settled them yet (or died before it could)."""
        with self.res.index.read() as db:
            return rows.is_behind(db)

    def _follow(self, resolved: Resolved) -> None:
        """Record what came into the project's history by git itself."""
        try:
            if resolved.project and self.res.wiki(resolved.project).folder.is_dir():
                history.follow(self.res, resolved.project)
        except StorageError as error:
            self._trouble = self._trouble or str(error)

    def _notice(self, resolved: Resolved, *, always: bool = False) -> bool:
        """Index what was changed by hand in the project; a large one is not looked through at every call."""
        project = resolved.project
        try:
            if project is None or not (always or self._look_is_due(project)):
                return False
            if not self.res.wiki(project).folder.is_dir():
                return False
            if pages.notice_edits(self.res, project, now=utc_now(), always=always):
                self._changed(project)
                return True
        except StorageError as error:
            self._trouble = self._trouble or str(error)
        return False

    def _look_is_due(self, project: Project) -> bool:
        now = time.monotonic()
        if self.looked is None:
            return True
        if now < self.looked.get(project.id, -LOOK_EVERY) + LOOK_EVERY:
            return False
        self.looked[project.id] = now
        return True

    def _own(self, scope: Scope) -> tuple[Resolved, Project]:
        """Return the project to write to, made known if it is new; `general` where nothing resolves.

        A write needs no look at the other pages: an edit by hand of the very page is seen by the commit.
        """
        resolved = self._fresh(scope, notice=False)
        with self.res.index.read() as db:
            known = rows.projects(db)
        if resolved.project is None:
            project = registry.general(resolved.workspace)
        elif resolved.by == "named":
            project = resolved.project
        else:
            identity = registry.identity_of(self.res, scope)
            return resolved, registry.make_known(self.res, identity, known, now=utc_now())
        if project.id not in {one.id for one in known}:
            registry.record(self.res, project, now=utc_now())
        return resolved, project

    def _here(self, scope: Scope) -> Project:
        """Return the one project that a scope means. Raises ProjectError where there is none."""
        project = self._fresh(scope).project
        if project is None:
            raise ProjectError("no project is here; name one")
        return project

    def _project(self, project_id: str) -> Project:
        with self.res.index.read() as db:
            found = rows.project(db, project_id)
        if found is None:
            raise NotFoundError(f"the project {project_id} is gone; run: ai-memory-mcp reindex")
        return found

    def _places(self, db: Connection, resolved: Resolved, scope: Scope, ref: str) -> list[Project]:
        """Return the projects in which `ref` may name something, the likeliest first."""
        known = rows.projects(db)
        here = self._reach(known, resolved, everywhere=False)
        # a path or title may stand in any project: elsewhere only an id says surely what is meant
        elsewhere = not scope.project and not scope.workspace and _ID.fullmatch(ref)
        return [*here, *(one for one in known if one not in here)] if elsewhere else here

    def _nothing(self, resolved: Resolved, scope: Scope, ref: str) -> NotFoundError:
        """Return the error for a `ref` that names nothing (any more)."""
        self._follow(resolved)
        with self.res.index.read() as db:
            gone = any(history.find_path(db, project, ref) for project in self._places(db, resolved, scope, ref))
        if gone:
            return NotFoundError(
                f"there is no page '{ref}' any more; `ai-memory-mcp history` tells what became of it, and it can be"
                " read as it was on a date (read with `at`)"
            )
        return NotFoundError(f"there is no page or session '{ref}'; search for it, or list with recent or sessions")

    def _session_id(self, project: Project, agent: str, native: str, scope: Scope) -> str:
        """Return our id of the session that an agent knows by its own id; what is not known stays as told.

        Where the agent does not tell its id, it is the open session of the process that started this one.
        """
        with self.res.index.read() as db:
            if native:
                found = [row for row in rows.native_sessions(db, agent, native) if row.project == project.id]
            else:
                recent = [row for row in rows.sessions(db, project.id) if row.agent == agent and not row.over]
                pid = scope.pid or agent_pid()
                found = [row for row in recent if row.pid == pid]
        return found[0].id if found else native

    def _changed(self, project: Project) -> None:
        from ai_memory_mcp import brief as briefs

        self._touched[project.id] = project
        briefs.render(self.res, project, now=utc_now())

    def _redactor(self) -> Redactor:
        from ai_memory_mcp.redact import Redactor

        redact = self.res.config.redact
        return Redactor(extra=redact.patterns, allow=redact.allow)

    @staticmethod
    def _reach(known: list[Project], resolved: Resolved, *, everywhere: bool) -> list[Project]:
        """Return the projects that a read covers: the one that resolved, else its workspace; all on request."""
        if everywhere:
            return known
        if resolved.project:
            return [resolved.project]
        return [project for project in known if project.workspace_id == workspace_id(resolved.workspace)]
