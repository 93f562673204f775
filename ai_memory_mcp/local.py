"""`LocalMemory`: Memory on the files of this machine. The one place where the parts are joined.

What only changes something (ingest, settle, briefs) is imported where it is used: with their hundreds of patterns
they cost a third of what a cold search takes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ai_memory_mcp import handoff as handoffs
from ai_memory_mcp import history, pages, recall, registry
from ai_memory_mcp.alive import agent_pid
from ai_memory_mcp.config import api_key, environment, home_folder, load_config, user_home
from ai_memory_mcp.errors import (
    AiMemoryError,
    BusyError,
    ConfigError,
    LlmError,
    NotFoundError,
    ProjectError,
    StorageError,
)
from ai_memory_mcp.files import held, private_dir
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import (
    Answer,
    Brief,
    Capture,
    Consolidation,
    Contradiction,
    Document,
    Draft,
    Event,
    Feedback,
    Handoff,
    HandoffDraft,
    Hit,
    ImportReport,
    IngestReport,
    LintReport,
    LlmStatus,
    Page,
    Project,
    Query,
    Resolved,
    Reverted,
    Revision,
    Scope,
    Session,
    Status,
    Verdict,
)
from ai_memory_mcp.project import workspace_id
from ai_memory_mcp.resources import Resources

if TYPE_CHECKING:
    from ai_memory_mcp.llm import Llm
    from ai_memory_mcp.redact import Redactor

READ_WAIT = 2.0  # seconds a read waits for a running ingest; then it answers from what is there
QUICKLY_DONE = 1_000  # events: more are not taken in while a search waits
READ_EVENTS = 4_000  # events a read takes in itself (about 2 s); the next one goes on
WRITE_WAIT = 30.0
_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]*")


def open_local(home: Path | None = None) -> LocalMemory:
    """Open the memory of this machine (AI_MEMORY_HOME). Raises ConfigError when settings are broken."""
    env = environment()
    home = home or home_folder(env)
    return LocalMemory(Resources.at(home, user_home(env), load_config(home, env)))


class LocalMemory:
    """Memory in-process, on spool, journal, wiki and index. Holds no open files between calls."""

    def __init__(self, res: Resources) -> None:
        self.res = res
        self.read_wait: float | None = READ_WAIT  # None where another thread takes in what waits all the time
        self._touched: dict[str, Project] = {}
        self._took_in = False  # whether `close` may take its time: nobody waits behind an ingest
        self._trouble = ""  # why the last read could not be brought up to date
        private_dir(res.home)

    # --- looking

    def resolve(self, scope: Scope) -> Resolved:
        """Say which project a scope means and how that was found."""
        self._ready()
        return registry.resolve(self.res, scope)

    def search(self, scope: Scope, query: Query) -> Answer:
        """Rank pages and observations for a question."""
        resolved = self._fresh(scope, settled=False)
        with self.res.index.read() as db:
            projects = self._reach(rows.projects(db), resolved, everywhere=query.everywhere)
            return recall.answer(db, projects, query, resolved, self.res.config.search.without)

    def read(
        self, scope: Scope, ref: str, *, observations: bool = False, links: bool = False, at: str = ""
    ) -> Document:
        """Read a page, a session or a handoff of the project; by id (none named) of any that has it."""
        resolved, ref = self._fresh(scope), _plain(ref)
        if at or links:
            self._follow(resolved)
        if at:
            return self._read_as_of(resolved, scope, ref, at)
        found = self._read(resolved, scope, ref, observations, links)
        if found is None and self._notice(resolved, always=True):  # a page that was put there a moment ago
            found = self._read(resolved, scope, ref, observations, links)
        if found is None:
            raise self._nothing(resolved, scope, ref)
        return found

    def _read(self, resolved: Resolved, scope: Scope, ref: str, observations: bool, links: bool) -> Document | None:
        with self.res.index.read() as db:
            for project in self._places(db, resolved, scope, ref):
                found = self._document(db, project, ref, observations, links)
                if found:
                    opened = found.page.id if found.page else found.session.id if found.session else ""
                    self.res.journal.note_use(project.id, opened, rows.millis(_now()))
                    return found
        return None

    def _read_as_of(self, resolved: Resolved, scope: Scope, ref: str, at: str) -> Document:
        with self.res.index.read() as db:
            for project in self._places(db, resolved, scope, ref):
                path = history.find_path(db, project, ref)
                if path:
                    return history.as_of(db, self.res, project, path, at)
        raise self._nothing(resolved, scope, ref)

    def history(self, scope: Scope, ref: str = "", *, limit: int = 20, diff: bool = False) -> tuple[Revision, ...]:
        """The newest commits of the project (of its workspace where none resolves), or those of one page."""
        resolved, ref = self._fresh(scope), _plain(ref)
        self._follow(resolved)
        found: list[Revision] = []
        with self.res.index.read() as db:
            if not ref:
                for project in self._reach(rows.projects(db), resolved, everywhere=False):
                    found += history.recent(db, self.res, project, limit=limit, diff=diff)
                if self._trouble and not found:
                    raise StorageError(self._trouble)
                return tuple(sorted(found, key=lambda one: one.at, reverse=True)[:limit])
            for project in self._places(db, resolved, scope, ref):
                path = history.find_path(db, project, ref)
                if path:
                    return history.of_page(db, self.res, project, path, limit=limit, diff=diff)
        raise self._nothing(resolved, scope, ref)

    def _follow(self, resolved: Resolved) -> None:
        """Record what came into the project's history by git itself."""
        try:
            if resolved.project and self.res.wiki(resolved.project).folder.is_dir():
                history.follow(self.res, resolved.project)
        except StorageError as error:
            self._trouble = self._trouble or str(error)

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

    def recent(self, scope: Scope, *, kinds: tuple[str, ...] = (), limit: int = 20) -> tuple[Hit, ...]:
        """The pages changed last, newest first."""
        resolved = self._fresh(scope)
        with self.res.index.read() as db:
            projects = self._reach(rows.projects(db), resolved, everywhere=False)
            return recall.recent(db, projects, kinds, limit)

    def handoffs(self, scope: Scope, *, every: bool = False) -> tuple[Handoff, ...]:
        """Handoffs of the project, the one to offer first; waiting ones only unless `every`."""
        return self._handoffs(self._fresh(scope), every=every)

    def brief(self, scope: Scope, *, agent: str = "") -> Brief:
        """What a session start would be told now; consumes nothing."""
        from ai_memory_mcp import brief as briefs

        resolved = self._fresh(scope)
        project = resolved.project or registry.general(resolved.workspace)
        parts = briefs.compose_parts(self.res, project, now=_now())
        return briefs.for_reader(parts, resolved.project, agent, self.res.config.brief.max_chars)

    def sessions(self, scope: Scope, *, limit: int = 20) -> tuple[Session, ...]:
        """Sessions of the project (of the workspace where none resolves), newest first."""
        resolved = self._fresh(scope)
        with self.res.index.read() as db:
            ids = [project.id for project in self._reach(rows.projects(db), resolved, everywhere=False)]
            found = [row.plain() for project_id in ids for row in rows.sessions(db, project_id, limit)]
        return tuple(sorted(found, key=lambda session: session.last, reverse=True)[:limit])

    def projects(self) -> tuple[Project, ...]:
        """Every known project."""
        self._fresh(None)
        with self.res.index.read() as db:
            return tuple(rows.projects(db))

    def status(self, scope: Scope) -> Status:
        """Counts, capture accounting, health."""
        resolved = self._fresh(scope)
        project = resolved.project
        with self.res.index.read() as db:
            counts = rows.counts(db, project.id if project else "")
            stored = rows.counts(db).observations
            unstored = rows.unstored_counts(db)
            troubles = rows.troubles(db)
        waiting = self._handoffs(resolved, every=False)
        aside = list(self.res.spool.kept_aside())
        problems = [*([self._trouble] if self._trouble else []), *troubles]
        return Status(
            home=str(self.res.home),
            project={
                "id": project.id if project else "",
                "name": project.name if project else "",
                "workspace": resolved.workspace,
                "root": resolved.root,
                "resolved_by": resolved.by,
            },
            counts=counts,
            spool={"pending": self.res.spool.pending(), "set_aside": len(aside)},
            capture=Capture(seen=stored + sum(unstored.values()), stored=stored, **unstored),
            handoff=waiting[0].id if waiting else "",
            problems=(*problems, *(f"set aside: {name}: {reason}" for name, reason in aside[:5])),
            llm=self._llm_status() if self.res.config.llm.provider else None,
        )

    # --- changing

    def write(self, scope: Scope, draft: Draft) -> Page:
        """Create or replace a page, committed before this returns."""
        from ai_memory_mcp import writing

        resolved, project = self._own(scope)
        try:
            page = writing.write(self.res, project, draft, self._redactor(), now=_now())
        except NotFoundError:  # what it supersedes may have been put there a moment ago
            if not self._notice(resolved, always=True):
                raise
            page = writing.write(self.res, project, draft, self._redactor(), now=_now())
        self._changed(project)
        return page

    def feedback(
        self, scope: Scope, ref: str, verdict: Verdict, *, note: str = "", agent: str = "", session: str = ""
    ) -> Feedback:
        """Say what a page or an observation was worth, in place of what the same session said of it earlier."""
        from ai_memory_mcp import feedback

        resolved, ref = self._fresh(scope), _plain(ref)
        with self.res.index.read() as db:
            places = self._places(db, resolved, scope, ref)
            project, target = next(
                ((one, found) for one in places if (found := feedback.find(db, one, ref))), (None, None)
            )
        if project is None or target is None:
            raise self._nothing(resolved, scope, ref)
        told = Feedback(
            target=target.id,
            verdict=verdict,
            at=_now(),
            path=target.path,
            title=target.title,
            agent=agent or "user",
            session=self._session_id(project, agent, session, scope),
            note=" ".join(self._redactor().text(note).split())[: feedback.MAX_NOTE],
        )
        feedback.keep(self.res, project, told)
        return told

    def leave_handoff(self, scope: Scope, draft: HandoffDraft) -> Handoff:
        """Leave a handoff by hand; it goes before automatic ones."""
        from ai_memory_mcp import writing

        _, project = self._own(scope)
        session = self._session_id(project, draft.from_agent, draft.from_session, scope)
        draft = draft.model_copy(update={"from_session": session})
        made = writing.leave(self.res, project, draft, self._redactor(), now=_now())
        self._changed(project)
        return made

    def accept_handoff(self, scope: Scope, ref: str = "", *, by: str = "", agent: str = "") -> Handoff:
        """Take a waiting handoff. Exactly one caller succeeds."""
        from ai_memory_mcp import settle

        one = self._waiting(scope, ref, agent)
        project = self._project(one.project)
        session = self._session_id(project, agent, by, scope)
        who = " ".join(word for word in (agent or "user", session) if word)
        taken = settle.take(self.res, project, one.id, by=who, now=_now())
        self._changed(project)
        return taken

    def close_handoff(self, scope: Scope, ref: str) -> Handoff:
        """Mark a handoff as done, so that it is offered no more."""
        from ai_memory_mcp import settle

        one = self._waiting(scope, ref, "")
        project = self._project(one.project)
        closed = settle.finish(self.res, project, one.id, now=_now())
        self._changed(project)
        return closed

    def revert(self, scope: Scope, ref: str) -> Reverted:
        """Take back one commit, or the consolidation of a session."""
        from ai_memory_mcp import reverting

        project = self._here(scope)
        done = reverting.revert(self.res, project, ref.strip(), now=_now())
        self._changed(project)
        return done

    def import_markdown(
        self,
        scope: Scope,
        folder: Path,
        *,
        dry_run: bool = False,
        progress: Progress = lambda *_: None,
        sent_from: str = "",
    ) -> ImportReport:
        """Bring the Markdown files below a folder in as pages, in one commit; repeatable.

        A folder that another machine has sent is known by where it lies there (`sent_from`).
        """
        from ai_memory_mcp import importing

        importing.checked(folder)  # before a project is made known for it
        if dry_run:
            resolved = self._fresh(scope, notice=False)
            project = resolved.project or registry.general(resolved.workspace)
        else:
            _, project = self._own(scope)
        report = importing.markdown_folder(
            self.res,
            project,
            folder,
            self._redactor(),
            now=_now(),
            dry_run=dry_run,
            progress=progress,
            sent_from=sent_from,
        )
        if not dry_run and (report.added or report.updated):
            self._took_in = True  # git's own index of a large project is brought up to date as well
            self._changed(project)
        return report

    # --- for clients on other machines

    def take(self, events: Sequence[Event]) -> None:
        """Have events of other machines on the disk when this returns: each once, however often it is delivered."""
        if events:
            self.res.spool.add(events)

    def brief_parts(self, scope: Scope) -> dict[str, object]:
        """Return the brief in the parts that a client's hook puts together, see `brief`."""
        from ai_memory_mcp import brief as briefs

        resolved = self._fresh(scope)
        return briefs.compose_parts(self.res, resolved.project or registry.general(resolved.workspace), now=_now())

    # --- upkeep

    def ingest(self, scope: Scope | None = None) -> IngestReport:
        """Turn spooled events into observations and settle what follows from them."""
        from ai_memory_mcp import ingest

        self._ready()
        self._took_in = True
        with ingest.lock(self.res, WRITE_WAIT):
            return self._ingest(always=True)

    def tick(self) -> None:
        """Ingest what waits, if anything does and nobody else is at it; for long-lived processes between calls."""
        if self.res.spool.pending():
            from ai_memory_mcp import ingest, settle

            try:
                self._ready()
                with ingest.lock(self.res, 0.0):
                    self._ingest(always=True)
            except StorageError:
                return
            settle.tidy(self.res, self._touched.values())
            self._touched.clear()

    def reindex(self) -> None:
        """Build the index anew from wiki and journal."""
        from ai_memory_mcp import ingest, reindex

        with ingest.lock(self.res, WRITE_WAIT):
            reindex.rebuild(self.res)

    def consolidate(
        self,
        scope: Scope,
        session: str = "",
        *,
        every: bool = False,
        dry_run: bool = False,
        wait: bool = True,
        progress: Progress = lambda *_: None,
    ) -> tuple[Consolidation, ...]:
        """Compile a session now: by rule, and better where a language model is set up."""
        from ai_memory_mcp import consolidate as consolidating
        from ai_memory_mcp.llm_queue import OF_ITS_OWN, Queue

        found = self._sessions_meant(self._fresh(scope), session, every=every)
        if not self.res.config.llm.provider or not wait:
            return tuple(self._by_rule(project, row) for project, row in found)
        done: list[Consolidation] = []
        with consolidating.lock(self.res, consolidating.PATIENCE), self._llm(asked=True) as model:
            for number, (project, row) in enumerate(found):
                progress("asking", number, len(found))
                try:
                    told = consolidating.consolidate(
                        self.res, project, row, model, self._redactor(), now=_now(), dry=dry_run
                    )
                except AiMemoryError as error:
                    if not every:
                        raise
                    done.append(Consolidation(session=row.id, title=row.title, state="failed", note=str(error)))
                    if isinstance(error, LlmError) and error.kind not in OF_ITS_OWN:
                        break  # it would be so for the others
                    continue
                done.append(told)
                if told.state == "consolidated":
                    self._touched[project.id] = project
                if not dry_run:
                    Queue(self.res.home).drop(row.id)
        return tuple(done)

    def contradictions(self, scope: Scope, *, judge: bool = False) -> tuple[Contradiction, ...]:
        """Pages of the project that contradict each other."""
        from ai_memory_mcp import contradictions

        project = self._here(scope)
        if not judge:
            return contradictions.known(self.res, project)
        with self._llm(asked=True) as model:
            return contradictions.judge(self.res, project, model, self._redactor())

    def lint(self, scope: Scope, *, rules: tuple[str, ...] = (), fix: bool = False, report: bool = False) -> LintReport:
        """What is wrong with the pages of the project, by rule."""
        from ai_memory_mcp import lint

        project, resolved = self._here(scope), registry.resolve(self.res, scope)
        self._notice(resolved, always=True)
        root = "" if scope.origin else resolved.root  # a folder of another machine means nothing here
        found = lint.lint(
            self.res, project, self._redactor(), root=root, now=_now(), rules=rules, fix=fix, report=report
        )
        if found.fixed or found.report:
            self._changed(project)
        return found

    def consolidate_waiting(self) -> tuple[Consolidation, ...]:
        """Consolidate what waits, unless somebody else is at it; for the worker, for whose end nobody waits."""
        if not self.worker_is_due():
            return ()
        from ai_memory_mcp import consolidate as consolidating

        done: list[Consolidation] = []
        with suppress(StorageError):  # another worker is at it
            while self.worker_is_due():  # what came while the lock was held is nobody else's to do
                with consolidating.lock(self.res, 0.0), self._llm() as model:
                    done += consolidating.work_off(self.res, model, self._redactor(), now=_now())
        return tuple(done)

    def worker_is_due(self) -> bool:
        """Tell whether a session waits for the language model, it may be asked, and nobody is at it."""
        config = self.res.config.llm
        if not config.provider:
            return False
        from ai_memory_mcp.llm_queue import Queue

        now = _now()
        if not Queue(self.res.home).due(now, asked=not config.automatic):
            return False
        from ai_memory_mcp import llm
        from ai_memory_mcp.llm_meter import Meter

        if Meter(self.res.home).paused(now):
            return False
        return llm.fault(config, self._llm_key()) is None and not held(self.res.home / "locks" / "consolidate.lock")

    def close(self) -> None:
        """Finish what was deferred: git's own index, that of a large project only after an ingest."""
        if not self._touched and not self._took_in:
            return
        from ai_memory_mcp import settle

        settle.tidy(self.res, self._touched.values(), quick=not self._took_in)
        self._touched.clear()

    # --- inside

    def _ready(self) -> None:
        """Make sure that there is an index; build it from the files when it is missing or of another version."""
        if self.res.index.ready():
            return
        from ai_memory_mcp import ingest, reindex

        with ingest.lock(self.res, WRITE_WAIT):
            if not self.res.index.ready():  # somebody else may have built it meanwhile
                reindex.rebuild(self.res)

    def _ingest(self, limit: int | None = None, *, always: bool = False) -> IngestReport:
        from ai_memory_mcp import ingest, settle

        now = _now()
        report, places = ingest.drain(self.res, now=now, limit=limit)
        done = settle.settle(self.res, places, now=now, always=always)
        self._touched |= done.projects
        return report.model_copy(update={"sessions_closed": done.closed, "handoffs": done.handoffs})

    def _fresh(self, scope: Scope | None, *, notice: bool = True, settled: bool = True) -> Resolved:
        """Ingest what was spooled before this call (bounded wait), notice edits by hand, resolve the scope.

        What hinders that (another ingest at work, a full disk) hinders no read: `status` tells it. Without `settled`
        nobody waits for sessions that another process compiles just now.
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
        if not before and not self._behind():
            return
        from ai_memory_mcp import ingest

        patient = settled or len(before) <= QUICKLY_DONE
        deadline = time.monotonic() + ((self.read_wait or 0.0) if patient else 0.0)
        while True:
            try:
                with ingest.lock(self.res, 0.0):
                    self._ingest(READ_EVENTS)
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

    def _notice(self, resolved: Resolved, *, always: bool = False) -> bool:
        """Index what was changed by hand in the project; a large one is not looked through at every call."""
        project = resolved.project
        try:
            if project is None or not self.res.wiki(project).folder.is_dir():
                return False
            if pages.notice_edits(self.res, project, now=_now(), always=always):
                self._changed(project)
                return True
        except StorageError as error:
            self._trouble = self._trouble or str(error)
        return False

    def _document(self, db: Connection, project: Project, ref: str, observations: bool, links: bool) -> Document | None:
        """Return the page or session of a project that `ref` names."""
        found = rows.find_pages(db, ref, project.id)
        sessions = [] if found else rows.find_sessions(db, ref, project.id)
        if found and observations:
            page = rows.page_record(db, *found[0])
            row = rows.session(db, page.id) if page and page.kind == "session" else None
            sessions = [row] if row else []
        if sessions:
            return recall.read_session(self.res, sessions[0], project, observations=observations)
        return recall.read_page(self.res, db, project, found[0][1], links=links) if found else None

    def _handoffs(self, resolved: Resolved, *, every: bool) -> tuple[Handoff, ...]:
        now, days = _now(), self.res.config.handoff.expires_days
        found: list[Handoff] = []
        with self.res.index.read() as db:
            for project in self._reach(rows.projects(db), resolved, everywhere=False):
                for one in rows.handoffs(db, project.id):
                    state = handoffs.state_now(one, days, now, offered=rows.offered(db, one.id))
                    found.append(one.model_copy(update={"state": state}))
        first = handoffs.in_order(found)
        return tuple([*first, *(one for one in found if not handoffs.waiting(one))] if every else first)

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
            return resolved, registry.make_known(self.res, identity, known, now=_now())
        if project.id not in {one.id for one in known}:
            registry.record(self.res, project, now=_now())
        return resolved, project

    def _project(self, project_id: str) -> Project:
        with self.res.index.read() as db:
            found = rows.project(db, project_id)
        if found is None:
            raise NotFoundError(f"the project {project_id} is gone; run: ai-memory-mcp reindex")
        return found

    def _sessions_meant(self, resolved: Resolved, ref: str, *, every: bool) -> list[tuple[Project, SessionRow]]:
        """Return the session that `ref` names, the newest one of the project, or `every` one, newest first."""
        with self.res.index.read() as db:
            here = self._reach(rows.projects(db), resolved, everywhere=False)
            if ref:
                found = [(one, row) for one in here for row in rows.find_sessions(db, ref, one.id)]
            else:
                found = [(one, row) for one in here for row in rows.sessions(db, one.id, -1 if every else 20)]
                found = [(one, row) for one, row in found if row.prompts or row.tools]
        if not found:
            raise NotFoundError(
                f"there is no session '{ref}' here; list them with sessions" if ref else "no session yet"
            )
        found.sort(key=lambda pair: pair[1].last, reverse=True)
        return found if every else found[:1]

    def _here(self, scope: Scope) -> Project:
        """Return the one project that a scope means. Raises ProjectError where there is none."""
        project = self._fresh(scope).project
        if project is None:
            raise ProjectError("no project is here; name one")
        return project

    def _by_rule(self, project: Project, row: SessionRow) -> Consolidation:
        """Compile a session by rule, and have it wait for the language model if there is one."""
        from ai_memory_mcp import consolidate as consolidating
        from ai_memory_mcp.llm_queue import Queue

        row = consolidating.by_rule(self.res, project, row)
        self._changed(project)
        queued = bool(self.res.config.llm.provider and row.page)
        if queued:
            Queue(self.res.home).add(row.id, project.id, asked=True)
        return Consolidation(
            session=row.id,
            agent=row.agent,
            title=row.title,
            page=row.page or "",
            state="queued" if queued else "by-rule",
            note="the language model makes more of it in the background" if queued else "",
        )

    @contextmanager
    def _llm(self, *, asked: bool = False) -> Iterator[Llm]:
        """The language model, for a person who waits (`asked`) or for the worker."""
        from ai_memory_mcp import llm

        env = environment()
        with llm.Child(env) as child:
            yield llm.Llm(self.res.config.llm, api_key(self.res.config.llm, env), self.res.home, child, asked=asked)

    def _llm_status(self) -> LlmStatus:
        from ai_memory_mcp import llm
        from ai_memory_mcp.llm_meter import Meter
        from ai_memory_mcp.llm_queue import Queue

        config, meter, now = self.res.config.llm, Meter(self.res.home), _now()
        waiting = Queue(self.res.home).every()
        given_up = sum(one.given_up for one in waiting)
        fault = llm.fault(config, self._llm_key())
        return LlmStatus(
            provider=config.provider,
            model=config.model,
            address=llm.address(config),
            spent=meter.spent(now),
            daily_tokens=config.daily_tokens,
            days=meter.days(now),
            waiting=len(waiting) - given_up,
            given_up=given_up,
            problem=str(fault) if fault else meter.paused(now),
        )

    def _llm_key(self) -> str:
        try:
            return api_key(self.res.config.llm, environment())
        except ConfigError:  # told where the model is asked, and by doctor
            return ""

    def _changed(self, project: Project) -> None:
        from ai_memory_mcp import brief as briefs

        self._touched[project.id] = project
        briefs.render(self.res, project, now=_now())

    def _waiting(self, scope: Scope, ref: str, agent: str) -> Handoff:
        every = self.handoffs(scope, every=True)
        if ref:
            found = [
                one for one in every if one.id == ref or one.path == ref or (len(ref) >= 6 and one.id.startswith(ref))
            ]
            if not found:
                raise NotFoundError(f"there is no handoff '{ref}'; `ai-memory-mcp handoff list --all` shows them")
            return found[0]
        first = [one for one in every if handoffs.waiting(one) and (not agent or handoffs.for_agent(one, agent))]
        if not first:
            raise NotFoundError("no handoff is waiting")
        return first[0]

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

    @staticmethod
    def _reach(known: list[Project], resolved: Resolved, *, everywhere: bool) -> list[Project]:
        """Return the projects that a read covers: the one that resolved, else its workspace; all on request."""
        if everywhere:
            return known
        if resolved.project:
            return [resolved.project]
        return [project for project in known if project.workspace_id == workspace_id(resolved.workspace)]

    def _redactor(self) -> Redactor:
        from ai_memory_mcp.redact import Redactor

        redact = self.res.config.redact
        return Redactor(extra=redact.patterns, allow=redact.allow)


def _plain(ref: str) -> str:
    return ref.strip().removeprefix("[[").removesuffix("]]").removeprefix("session:")


def _now() -> datetime:
    return datetime.now(timezone.utc)
