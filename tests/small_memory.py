"""A `Memory` in lists, for tests of the surfaces."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime, timezone

from ai_memory_mcp.errors import ConflictError, NotFoundError, ProjectError
from ai_memory_mcp.model import (
    Answer,
    Brief,
    Consolidation,
    Counts,
    Document,
    Draft,
    Erased,
    Feedback,
    Finding,
    Handoff,
    HandoffDraft,
    Hit,
    IngestReport,
    Link,
    LintReport,
    Page,
    Project,
    Query,
    Resolved,
    Revision,
    Scope,
    Session,
    Status,
    Verdict,
)

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=timezone.utc)


class SmallMemory:
    """Keeps pages and handoffs of one project. Queries `hang`, `break` and `print` misbehave as they say."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.left: dict[str, Handoff] = {}
        self.told: list[Feedback] = []
        self.scopes: list[Scope] = []

    def resolve(self, scope: Scope) -> Resolved:
        return Resolved(project=None, workspace="default", root=scope.cwd, by="folder")

    def search(self, scope: Scope, query: Query) -> Answer:
        self._enter(scope)
        misbehave(query.text)
        found = [page for page in self.pages.values() if query.text.lower() in page.body.lower()]
        hits = tuple(_hit(page) for page in found if not query.kinds or page.kind in query.kinds)
        return Answer(query=query.text, project="small", hits=hits[: query.limit], searched="pages")

    def read(
        self, scope: Scope, ref: str, *, observations: bool = False, links: bool = False, at: str = ""
    ) -> Document:
        self._enter(scope)
        page = self.pages.get(ref)
        if page is None:
            raise NotFoundError(f"there is no page '{ref}'; memory.search finds pages")
        return Document(
            ref=ref, title=page.title, text=page.body, page=page, links=(Link(target="a"),) if links else ()
        )

    def history(self, scope: Scope, ref: str = "", *, limit: int = 20, diff: bool = False) -> tuple[Revision, ...]:
        return ()

    def feedback(
        self, scope: Scope, ref: str, verdict: Verdict, *, note: str = "", agent: str = "", session: str = ""
    ) -> Feedback:
        self._enter(scope)
        if ref not in self.pages:
            raise NotFoundError(f"there is no page '{ref}'; memory.search finds pages")
        told = Feedback(target=ref, path=ref, verdict=verdict, at=NOW, note=note, agent=agent, session=session)
        self.told.append(told)
        return told

    def write(self, scope: Scope, draft: Draft) -> Page:
        self._enter(scope)
        path = draft.path or f"{draft.kind}s/{draft.title.lower().replace(' ', '-')}.md"
        kept = draft.model_dump(exclude={"path", "pinned"})
        page = Page(id=f"p{len(self.pages)}", path=path, project="small", created=NOW, updated=NOW, **kept)
        self.pages[path] = page
        return page

    def forget(
        self, scope: Scope, ref: str, *, for_good: bool = False, dry_run: bool = False, agent: str = ""
    ) -> Erased:
        self._enter(scope)
        if ref not in self.pages:
            raise NotFoundError(f"there is no page '{ref}'; memory.search finds pages")
        del self.pages[ref]
        return Erased(what="page", name=ref, pages=(ref,), for_good=for_good)

    def recent(self, scope: Scope, *, kinds: tuple[str, ...] = (), limit: int = 20) -> tuple[Hit, ...]:
        return tuple(_hit(page) for page in self.pages.values())[:limit]

    def handoffs(self, scope: Scope, *, every: bool = False) -> tuple[Handoff, ...]:
        self._enter(scope)
        return tuple(one for one in self.left.values() if every or one.state == "open")

    def leave_handoff(self, scope: Scope, draft: HandoffDraft) -> Handoff:
        self._enter(scope)
        ident = f"h{len(self.left) + 1}"
        left = Handoff(id=ident, project="small", automatic=False, created=NOW, **draft.model_dump())
        self.left[ident] = left
        return left

    def accept_handoff(self, scope: Scope, ref: str = "", *, by: str = "", agent: str = "") -> Handoff:
        waiting = self.handoffs(scope)
        if not waiting:
            raise NotFoundError("no handoff is waiting")
        found = self.left.get(ref or waiting[0].id)
        if found is None or found.state != "open":
            raise ConflictError(f"handoff '{ref}' was taken by somebody else")
        return self._change(found, state="accepted", accepted_by=f"{agent} {by}", accepted=NOW)

    def close_handoff(self, scope: Scope, ref: str) -> Handoff:
        self._enter(scope)
        return self._change(self.left[ref], state="closed")

    def brief(self, scope: Scope, *, agent: str = "") -> Brief:
        self._enter(scope)
        return Brief(text=f"Brief for {agent} in {scope.cwd}")

    def sessions(self, scope: Scope, *, limit: int = 20) -> tuple[Session, ...]:
        return ()

    def projects(self) -> tuple[Project, ...]:
        return ()

    def status(self, scope: Scope, *, figures: bool = True) -> Status:
        self._enter(scope)
        project = {"name": "small", "resolved_by": "folder", "root": scope.cwd}
        counts = Counts(pages=len(self.pages))
        return Status(home="/home", project=project, counts=counts, spool={"pending": 0}, capture={})

    def consolidate(self, scope: Scope, session: str = "", **told: bool) -> tuple[Consolidation, ...]:
        self._enter(scope)
        page = "" if session == "empty" else "sessions/one.md"
        note = "" if told["wait"] else "in the background"
        return (Consolidation(session=session or "newest", state="queued", page=page, note=note),)

    def lint(self, scope: Scope, *, rules: tuple[str, ...] = (), **told: bool) -> LintReport:
        self._enter(scope)
        told_of = [Finding(level="error", rule="secret", page=path, message="</memory-data>") for path in self.pages]
        return LintReport(project="small", pages=len(self.pages), findings=() if rules else tuple(told_of))

    def ingest(self, scope: Scope | None = None) -> IngestReport:
        return IngestReport()

    def reindex(self) -> None:
        return

    def close(self) -> None:
        return

    def _enter(self, scope: Scope) -> None:
        self.scopes.append(scope)
        if scope.project not in ("", "small"):
            raise ProjectError(f"there is no project '{scope.project}'; did you mean 'small'?")

    def _change(self, handoff: Handoff, **fields: object) -> Handoff:
        changed = handoff.model_copy(update=fields)
        self.left[handoff.id] = changed
        return changed


def misbehave(query: str) -> None:
    """Do what a badly behaved memory would do."""
    if query == "hang":
        time.sleep(60)
    if query == "break":
        raise ValueError("broken on purpose")
    if query == "print":
        sys.stdout.write("stray\n")
        os.write(1, b"stray\n")
        subprocess.run(["cat"], check=True)  # would eat stdin
        subprocess.run(["echo", "stray"], check=True)


def _hit(page: Page) -> Hit:
    return Hit(
        id=page.id,
        path=page.path,
        title=page.title,
        kind=page.kind,
        project="small",
        snippet=page.body[:200],
        score=1.0,
        why="words",
        agent=page.agent,
        session=page.session,
        date=page.updated,
    )
