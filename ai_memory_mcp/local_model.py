"""The part of LocalMemory that compiles sessions: by rule, and better where a language model is set up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ai_memory_mcp.config import api_key, environment
from ai_memory_mcp.errors import (
    AiMemoryError,
    ConfigError,
    LlmError,
    NotFoundError,
    StorageError,
)
from ai_memory_mcp.files import held
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.local_base import LocalBase, utc_now
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import (
    Consolidation,
    Contradiction,
    Enriched,
    Excerpt,
    LlmStatus,
    Project,
    Resolved,
    Scope,
)

if TYPE_CHECKING:
    from ai_memory_mcp.llm import Llm


class Compiling(LocalBase):
    """Sessions made into pages on request, and the worker that asks the language model."""

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
                        self.res, project, row, model, self._redactor(), now=utc_now(), dry=dry_run
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

    def enrich(self, scope: Scope, excerpts: tuple[Excerpt, ...], *, dry_run: bool = False) -> Enriched:
        """Have the language model make pages of what a repository says."""
        from ai_memory_mcp import consolidate as consolidating
        from ai_memory_mcp import enriching

        if dry_run:
            return enriching.planned(self.res, self._fresh(scope, notice=False).project, excerpts, self._redactor())
        _, project = self._own(scope)
        with consolidating.lock(self.res, consolidating.PATIENCE), self._llm(asked=True) as model:
            found = enriching.enrich(self.res, project, excerpts, model, self._redactor(), now=utc_now())
        self._touched[project.id] = project
        return found

    def contradictions(self, scope: Scope, *, judge: bool = False) -> tuple[Contradiction, ...]:
        """Pages of the project that contradict each other."""
        from ai_memory_mcp import contradictions

        project = self._here(scope)
        if not judge:
            return contradictions.known(self.res, project)
        with self._llm(asked=True) as model:
            return contradictions.judge(self.res, project, model, self._redactor())

    def consolidate_waiting(self) -> tuple[Consolidation, ...]:
        """Consolidate what waits, unless somebody else is at it; for the worker, for whose end nobody waits."""
        if not self.worker_is_due():
            return ()
        from ai_memory_mcp import consolidate as consolidating

        done: list[Consolidation] = []
        with suppress(StorageError):  # another worker is at it
            while self.worker_is_due():  # what came while the lock was held is nobody else's to do
                with consolidating.lock(self.res, 0.0), self._llm() as model:
                    done += consolidating.work_off(self.res, model, self._redactor(), now=utc_now())
        return tuple(done)

    def worker_is_due(self) -> bool:
        """Tell whether a session waits for the language model, it may be asked, and nobody is at it."""
        config = self.res.config.llm
        if not config.provider:
            return False
        from ai_memory_mcp.llm_queue import Queue

        now = utc_now()
        if not Queue(self.res.home).due(now, asked=not config.automatic):
            return False
        from ai_memory_mcp import llm
        from ai_memory_mcp.llm_meter import Meter

        if Meter(self.res.home).paused(now):
            return False
        return llm.fault(config, self._llm_key()) is None and not held(self.res.home / "locks" / "consolidate.lock")

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

        config, meter, now = self.res.config.llm, Meter(self.res.home), utc_now()
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
