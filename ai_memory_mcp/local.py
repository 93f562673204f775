"""`LocalMemory`: Memory on the files of this machine. The one place where the parts are joined.

Bringing the index up to date is `local_base`'s, the language model's work `local_model`'s, the embedding model's
`local_embedding`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING

from ai_memory_mcp import handoff as handoffs
from ai_memory_mcp import history, recall, registry, slow
from ai_memory_mcp.config import environment, home_folder, load_config, user_home
from ai_memory_mcp.errors import (
    NotFoundError,
    StorageError,
)
from ai_memory_mcp.files import file_stamp
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.local_base import WRITE_WAIT, utc_now
from ai_memory_mcp.local_embedding import Embedding
from ai_memory_mcp.local_model import Compiling
from ai_memory_mcp.memory import Memory, Progress
from ai_memory_mcp.model import (
    Answer,
    Brief,
    Capture,
    Document,
    Draft,
    Erased,
    Event,
    Feedback,
    Figures,
    Handoff,
    HandoffDraft,
    Hit,
    ImportReport,
    LintReport,
    Page,
    Project,
    Query,
    Resolved,
    Reverted,
    Revision,
    Scope,
    Session,
    Status,
    Sweep,
    SyncReport,
    SyncStatus,
    Verdict,
)
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.tombstones import ERASING

if TYPE_CHECKING:
    from ai_memory_mcp.backup import Backup
    from ai_memory_mcp.exporting import Export


def open_local(home: Path | None = None) -> LocalMemory:
    """Open the memory of this machine (AI_MEMORY_HOME). Raises ConfigError when settings are broken."""
    env = environment()
    home = home or home_folder(env)
    return LocalMemory(Resources.at(home, user_home(env), load_config(home, env)))


@slow.watched(name for name, method in vars(Memory).items() if isfunction(method) and name[0] != "_")
class LocalMemory(Compiling, Embedding):
    """Memory in-process, see `memory.Memory`."""

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
            without = self.res.config.search.without
            return recall.answer(db, projects, query, resolved, without, self._asking(db))

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
                    self.res.journal.note_use(project.id, opened, rows.millis(utc_now()))
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
        parts = briefs.compose_parts(self.res, project, now=utc_now())
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

    def status(self, scope: Scope, *, figures: bool = True) -> Status:
        """Counts, capture accounting, health; with `figures` also sizes, growth, junk and what was slow."""
        resolved = self._fresh(scope)
        project = resolved.project
        with self.res.index.read() as db:
            known = rows.projects(db)
            within = [one.id for one in known if one.workspace == resolved.workspace] if scope.workspace else None
            here = [project.id] if project else within
            counts = rows.counts(db, here)
            stored = rows.taken_in(db, within)
            unstored = rows.unstored_counts(db, within)
            troubles = rows.troubles(db)
        waiting = self._handoffs(resolved, every=False)
        aside = list(self.res.spool.kept_aside())
        problems = [*([self._trouble] if self._trouble else []), *troubles]
        if (self.res.home / ERASING).exists():
            problems.append("what was to be erased for good is not gone yet; every command goes on with it")
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
            embedding=self._embedding_status() if self.res.config.embedding.provider else None,
            sync=self._sync_status(project) if project else None,
            figures=self._figures(here) if figures else None,
        )

    def _figures(self, projects: Sequence[str] | None) -> Figures:
        from ai_memory_mcp import figures

        return figures.of(self.res, projects, now=utc_now())

    def _sync_status(self, project: Project) -> SyncStatus | None:
        if not (self.res.home / "sync").exists():
            return None
        from ai_memory_mcp import sync

        return sync.status(self.res, project)

    # --- changing

    def write(self, scope: Scope, draft: Draft) -> Page:
        """Create or replace a page, committed before this returns."""
        from ai_memory_mcp import writing

        resolved, project = self._own(scope)
        try:
            page = writing.write(self.res, project, draft, self._redactor(), now=utc_now())
        except NotFoundError:  # what it supersedes may have been put there a moment ago
            if not self._notice(resolved, always=True):
                raise
            page = writing.write(self.res, project, draft, self._redactor(), now=utc_now())
        self._welcome(project, [page.path])
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
            at=utc_now(),
            path=target.path,
            title=target.title,
            agent=self._redactor().text(agent) or "user",
            session=self._redactor().text(self._session_id(project, agent, session, scope)),
            note=" ".join(self._redactor().text(note).split())[: feedback.MAX_NOTE],
        )
        feedback.keep(self.res, project, told)
        return told

    def forget(
        self, scope: Scope, ref: str, *, for_good: bool = False, dry_run: bool = False, agent: str = ""
    ) -> Erased:
        """Remove a page or a session: by a commit, or for good from everything that is kept here."""
        from ai_memory_mcp import erasing

        resolved, ref, now = self._fresh(scope), _plain(ref), utc_now()

        def found(db: Connection) -> tuple[Project, str | SessionRow]:
            for project in self._places(db, resolved, scope, ref):
                one = erasing.find(db, project, ref)
                if one:
                    return project, one
            raise self._nothing(resolved, scope, ref)

        def plan(db: Connection) -> tuple[erasing.Intent, Project]:
            project, one = found(db)
            return erasing.plan(db, project, one, at=now), project

        if for_good:
            return erasing.run(self.res, plan, lambda: self._ingest(always=True), dry_run=dry_run)
        with self.res.index.read() as db:
            project, one = found(db)
        if dry_run:
            return erasing.dry(self.res, project, one, now=now)
        told = erasing.forget(self.res, project, one, now=now, author=self._redactor().text(agent) or "user")
        self._changed(project)
        return told

    def purge_project(self, scope: Scope, *, dry_run: bool = False) -> Erased:
        """Remove a project for good, with everything that belongs to it."""
        from ai_memory_mcp import erasing

        project, now = self._here(scope), utc_now()

        def plan(db: Connection) -> tuple[erasing.Intent, Project]:
            known = rows.project(db, project.id)
            if known is None:
                raise NotFoundError(f"the project {project.name} has no memory")
            return erasing.plan_project(db, known, at=now), known

        told = erasing.run(self.res, plan, lambda: self._ingest(always=True), dry_run=dry_run)
        if not dry_run:
            self._touched.pop(project.id, None)
        return told

    def scrub(self, text: str, *, regex: bool = False, dry_run: bool = False) -> Erased:
        """Take a text out of everything that is kept here, history included."""
        from ai_memory_mcp import erasing

        self._fresh(None)
        intent = erasing.plan_text(text, regex=regex, at=utc_now())
        return erasing.run(self.res, lambda _: (intent, None), lambda: self._ingest(always=True), dry_run=dry_run)

    def leave_handoff(self, scope: Scope, draft: HandoffDraft) -> Handoff:
        """Leave a handoff by hand; it goes before automatic ones."""
        from ai_memory_mcp import writing

        _, project = self._own(scope)
        session = self._session_id(project, draft.from_agent, draft.from_session, scope)
        draft = draft.model_copy(update={"from_session": session})
        made = writing.leave(self.res, project, draft, self._redactor(), now=utc_now())
        self._changed(project)
        return made

    def accept_handoff(self, scope: Scope, ref: str = "", *, by: str = "", agent: str = "") -> Handoff:
        """Take a waiting handoff. Exactly one caller succeeds."""
        from ai_memory_mcp import settle

        one = self._waiting(scope, ref, agent)
        project = self._project(one.project)
        session = self._session_id(project, agent, by, scope)
        who = " ".join(word for word in (agent or "user", session) if word)
        taken = settle.take(self.res, project, one.id, by=self._redactor().text(who), now=utc_now())
        self._changed(project)
        return taken

    def close_handoff(self, scope: Scope, ref: str) -> Handoff:
        """Mark a handoff as done, so that it is offered no more."""
        from ai_memory_mcp import settle

        one = self._waiting(scope, ref, "")
        project = self._project(one.project)
        closed = settle.finish(self.res, project, one.id, now=utc_now())
        self._changed(project)
        return closed

    def revert(self, scope: Scope, ref: str) -> Reverted:
        """Take back one commit, or the consolidation of a session."""
        from ai_memory_mcp import reverting

        project = self._here(scope)
        done = reverting.revert(self.res, project, ref.strip(), now=utc_now())
        self._welcome(project, done.pages)
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
            now=utc_now(),
            dry_run=dry_run,
            progress=progress,
            sent_from=sent_from,
        )
        if not dry_run and (report.added or report.updated):
            self._took_in = True  # git's own index of a large project is brought up to date as well
            self._changed(project)
        return report

    def lint(self, scope: Scope, *, rules: tuple[str, ...] = (), fix: bool = False, report: bool = False) -> LintReport:
        """What is wrong with the pages of the project, by rule."""
        from ai_memory_mcp import lint

        project, resolved = self._here(scope), registry.resolve(self.res, scope)
        self._notice(resolved, always=True)
        root = "" if scope.origin else resolved.root  # a folder of another machine means nothing here
        found = lint.lint(
            self.res, project, self._redactor(), root=root, now=utc_now(), rules=rules, fix=fix, report=report
        )
        if found.fixed or found.report:
            self._changed(project)
        return found

    def sync(
        self,
        scope: Scope,
        *,
        every: bool = False,
        remote: str = "",
        dry_run: bool = False,
        wait: float = 60.0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> SyncReport:
        """Sync the project, or `every` one and those that only the remote has, with a git remote."""
        from ai_memory_mcp import sync

        projects = self.projects() if every else (self._here(scope) if dry_run else self._own(scope)[1],)
        report = sync.run(
            self.res,
            projects,
            self._redactor(),
            env=environment(),
            now=utc_now(),
            remote=remote,
            discover=every,
            dry_run=dry_run,
            wait=wait,
            stopped=stopped,
        )
        for one in report.projects:
            if (one.received or one.removed) and not dry_run:
                self._changed(self._project(one.id))
        return report

    def plan_sweep(self, scope: Scope | None = None) -> Sweep:
        """What forget-sweep would take out, in this project or workspace, everywhere where none is named."""
        from ai_memory_mcp import retention

        return retention.plan(self.res, self._swept(scope), now=utc_now())

    def sweep(self, planned: Sweep, scope: Scope | None = None) -> Sweep:
        """Take out what was planned and is still due. Raises StorageError."""
        return self._sweep(self._swept(scope), planned)

    def once_a_day(self) -> None:
        """Measure the memory, and sweep it where the settings want that; nothing where it was done a day ago."""
        from ai_memory_mcp import retention, sizes

        with suppress(StorageError):  # busy, or the disk refuses: tomorrow is another day
            if retention.is_due(self.res, utc_now()):
                self._sweep(self._swept(None), None)
            sizes.note(self.res.home, utc_now())

    def _sweep(self, projects: Sequence[Project], planned: Sweep | None) -> Sweep:
        """Sweep what was planned, or what may go by itself where nobody has planned anything."""
        from ai_memory_mcp import ingest, retention

        self._took_in = True
        with ingest.lock(self.res, WRITE_WAIT if planned else 0.0):
            done = retention.sweep(self.res, projects, planned, now=utc_now())
        swept = {one.project_id for one in done.items if one.what == "page"}
        for project in projects:
            if project.id in swept:
                self._changed(project)
        return done

    def _swept(self, scope: Scope | None) -> list[Project]:
        resolved = self._fresh(scope)
        with self.res.index.read() as db:
            projects = self._reach(rows.projects(db), resolved, everywhere=scope is None)
        for project in projects:
            self._notice(resolved.model_copy(update={"project": project}), always=True)
        return projects

    def rename_project(self, scope: Scope, name: str) -> Project:
        """Give a project another name; the old one goes on leading to it."""
        from ai_memory_mcp import renaming

        told = renaming.rename(self.res, self._here(scope), name, now=utc_now())
        self._changed(told)
        return told

    def move_project(self, scope: Scope, workspace: str) -> Project:
        """Put a project into another workspace."""
        from ai_memory_mcp import renaming

        told = renaming.move(self.res, self._here(scope), workspace, now=utc_now())
        self._changed(told)
        return told

    def merge_projects(self, scope: Scope, into: str) -> Project:
        """Make a project part of another one."""
        from ai_memory_mcp import renaming

        project = self._here(scope)
        with self.res.index.read() as db:
            target = registry.by_name(into, "", rows.projects(db))
        told = renaming.merge(self.res, project, target, now=utc_now())
        self._touched.pop(project.id, None)
        self._changed(told)
        return told

    def backup(self, target: Path, *, progress: Progress = lambda *_: None) -> Backup:
        """Write all that is kept here into a new file; agents go on meanwhile."""
        from ai_memory_mcp import backup

        self._ready()  # what is to be erased is in no backup
        return backup.backup(self.res, target, now=utc_now(), progress=progress)

    def export(
        self, scope: Scope, target: Path, *, force: bool = False, progress: Progress = lambda *_: None
    ) -> Export:
        """Write the pages of a project as plain files into a new folder or tar."""
        from ai_memory_mcp import exporting

        project = self._here(scope)
        return exporting.export(
            self.res, project, target, self._redactor(), now=utc_now(), force=force, progress=progress
        )

    # --- for servers

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes as soon as a read may answer something else. Edits by hand, which a read notices, are
        not seen here."""
        index = self.res.index.path
        return file_stamp(index), file_stamp(f"{index}-wal"), file_stamp(self.res.spool.folder)

    # --- for clients on other machines

    def take(self, events: Sequence[Event]) -> None:
        """Have events of other machines on the disk when this returns: each once, however often it is delivered."""
        if events:
            self.res.spool.add(events)

    def brief_parts(self, scope: Scope, *, settled: bool = True) -> dict[str, object] | str:
        """Return the brief in the parts that a client's hook puts together, see `brief`; where it is not `settled` and
        something follows from what was taken in that it would tell of, the project (id) that is to be settled first."""
        from ai_memory_mcp import brief as briefs
        from ai_memory_mcp import settle

        resolved, now = self._fresh(scope), utc_now()
        project = resolved.project or registry.general(resolved.workspace)
        if not settled and settle.follows(self.res, project, now=now):
            return project.id
        return briefs.compose_parts(self.res, project, now=now)

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
        now, days = utc_now(), self.res.config.handoff.expires_days
        found: list[Handoff] = []
        with self.res.index.read() as db:
            for project in self._reach(rows.projects(db), resolved, everywhere=False):
                for one in rows.handoffs(db, project.id):
                    state = handoffs.state_now(one, days, now, offered=rows.offered(db, one.id))
                    found.append(one.model_copy(update={"state": state}))
        first = handoffs.in_order(found)
        return tuple([*first, *(one for one in found if not handoffs.waiting(one))] if every else first)

    def _welcome(self, project: Project, paths: Sequence[str]) -> None:
        """Forget that these pages were forgotten."""
        if self.res.tombstones.ids("path"):
            from ai_memory_mcp import erasing

            erasing.welcome(self.res, project, paths, now=utc_now())

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


def _plain(ref: str) -> str:
    return ref.strip().removeprefix("[[").removesuffix("]]").removeprefix("session:")
