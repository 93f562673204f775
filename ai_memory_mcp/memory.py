"""`Memory`: the one interface that CLI, MCP, HTTP and web speak to. `LocalMemory` works on the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ai_memory_mcp.model import (
    Answer,
    Brief,
    Consolidation,
    Contradiction,
    Document,
    Draft,
    Enriched,
    Erased,
    Excerpt,
    Feedback,
    Handoff,
    HandoffDraft,
    Hit,
    ImportReport,
    IngestReport,
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
    Verdict,
)

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


class Memory(Protocol):
    """Everything a surface may ask. Methods raise `AiMemoryError`s only; all are safe to call concurrently
    from several processes. Reads see every event that was spooled before the call (bounded wait)."""

    def resolve(self, scope: Scope) -> Resolved:
        """Say which project a scope means and how that was found. Never creates anything."""

    def search(self, scope: Scope, query: Query) -> Answer:
        """Rank pages and observations for a question. Any text is a valid query."""

    def read(
        self, scope: Scope, ref: str, *, observations: bool = False, links: bool = False, at: str = ""
    ) -> Document:
        """Read a page (path, id or title), a session (id or agent's own id) or a handoff. Raises NotFoundError.

        `links` adds what belongs to a page and its newest revisions. `at` (a date, a time in UTC, the beginning of a
        commit's id) gives a page as it was then, one that is gone since too; InputError when it is none of these.
        """

    def write(self, scope: Scope, draft: Draft) -> Page:
        """Create or replace a page, committed before this returns. Raises InputError, ProjectError."""

    def history(self, scope: Scope, ref: str = "", *, limit: int = 20, diff: bool = False) -> tuple[Revision, ...]:
        """The newest commits of the project, or those that changed one page, one that is gone too (NotFoundError)."""

    def revert(self, scope: Scope, ref: str) -> Reverted:
        """Take back one commit of the project, or the consolidation of a session; what was changed since stays.
        Raises NotFoundError, InputError, ConflictError."""

    def feedback(
        self, scope: Scope, ref: str, verdict: Verdict, *, note: str = "", agent: str = "", session: str = ""
    ) -> Feedback:
        """Say what a page or an observation was worth, in place of what the same session said of it earlier.
        Raises NotFoundError."""

    def forget(
        self, scope: Scope, ref: str, *, for_good: bool = False, dry_run: bool = False, agent: str = ""
    ) -> Erased:
        """Remove a page or a session by a commit, which history keeps; `for_good` from history, journal, index and
        every other file, with what was made of a session. Raises NotFoundError, InputError, StorageError."""

    def purge_project(self, scope: Scope, *, dry_run: bool = False) -> Erased:
        """Remove a project for good, with everything that belongs to it. Raises ProjectError, NotFoundError."""

    def scrub(self, text: str, *, regex: bool = False, dry_run: bool = False) -> Erased:
        """Take a text out of all projects for good, history included: a secret that was found later. Raises
        InputError for one that would take too much."""

    def recent(self, scope: Scope, *, kinds: tuple[str, ...] = (), limit: int = 20) -> tuple[Hit, ...]:
        """The pages changed last, newest first."""

    def handoffs(self, scope: Scope, *, every: bool = False) -> tuple[Handoff, ...]:
        """Handoffs of the project, the one to offer first; waiting ones only unless `every`."""

    def leave_handoff(self, scope: Scope, draft: HandoffDraft) -> Handoff:
        """Leave a handoff by hand; it goes before automatic ones."""

    def accept_handoff(self, scope: Scope, ref: str = "", *, by: str = "", agent: str = "") -> Handoff:
        """Take a waiting handoff (the first one when `ref` is empty). Exactly one caller succeeds:
        ConflictError for the others, NotFoundError when nothing waits."""

    def close_handoff(self, scope: Scope, ref: str) -> Handoff:
        """Mark a handoff as done, so that it is offered no more."""

    def brief(self, scope: Scope, *, agent: str = "") -> Brief:
        """What a session start would be told now; consumes nothing."""

    def sessions(self, scope: Scope, *, limit: int = 20) -> tuple[Session, ...]:
        """Sessions of the project, newest first."""

    def projects(self) -> tuple[Project, ...]:
        """Every known project."""

    def status(self, scope: Scope, *, figures: bool = True) -> Status:
        """Counts, capture accounting, health; with `figures` also sizes, growth, junk and what was slow.

        Counts are of the project, where none resolves of everything; all of it of one workspace where that is named.
        """

    def ingest(self, scope: Scope | None = None) -> IngestReport:
        """Turn spooled events into observations and settle what follows from them (pages, handoffs, briefs)."""

    def import_markdown(
        self, scope: Scope, folder: Path, *, dry_run: bool = False, progress: Progress = ...
    ) -> ImportReport:
        """Bring the Markdown files below a folder of this machine in as pages, in one commit; repeatable.
        With `dry_run` nothing is written. Raises InputError, ProjectError, StorageError."""

    def enrich(self, scope: Scope, excerpts: tuple[Excerpt, ...], *, dry_run: bool = False) -> Enriched:
        """Have the language model make pages of what a repository says, beside those made by rule: one commit, and no
        question where nothing has changed. With `dry_run` nobody is asked. Raises LlmError, StorageError."""

    def consolidate(
        self,
        scope: Scope,
        session: str = "",
        *,
        every: bool = False,
        dry_run: bool = False,
        wait: bool = True,
        progress: Progress = ...,
    ) -> tuple[Consolidation, ...]:
        """Compile a session (the newest one of the project when it is not named, `every` one on request) now: by
        rule, and better where a language model is set up. Raises NotFoundError, LlmError.

        Without `wait` the model does its part later, in the background. With `dry_run` it is asked, and what it would
        write is told and kept for the next run.
        """

    def contradictions(self, scope: Scope, *, judge: bool = False) -> tuple[Contradiction, ...]:
        """Pages of the project that contradict each other, as far as known; with `judge` the language model looks at
        what it has not seen yet. Raises ProjectError where no project resolves, LlmError."""

    def lint(self, scope: Scope, *, rules: tuple[str, ...] = (), fix: bool = False, report: bool = False) -> LintReport:
        """What is wrong with the pages of the project, by these rules (all where none is named). With `fix` what is
        safe is mended, with `report` a page tells it: one commit, none where nothing changes. Raises ProjectError,
        InputError for a rule that there is not."""

    def rename_project(self, scope: Scope, name: str) -> Project:
        """Give a project another name; the old one goes on leading to it. Raises InputError, ConflictError for a name
        that is taken, NotFoundError."""

    def move_project(self, scope: Scope, workspace: str) -> Project:
        """Put a project into another workspace, a new one too. Raises like `rename_project`."""

    def merge_projects(self, scope: Scope, into: str) -> Project:
        """Make a project part of another one (by name or id), which is returned: sessions, pages, history, handoffs.
        Its names, ids and folders lead there from then on. Raises InputError, ProjectError, NotFoundError."""

    def reindex(self) -> None:
        """Build the index anew from wiki and journal."""

    def close(self) -> None:
        """Let go of files and finish what was deferred."""
