"""The vocabulary: every value that crosses a boundary, as frozen pydantic models (wire format included).

Times are aware datetimes in UTC; texts are already redacted; paths of pages are relative to the project's wiki
folder and use `/`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

EventKind = Literal[
    "session-start",
    "user-prompt",
    "pre-tool",
    "post-tool",
    "tool-failure",
    "pre-compact",
    "post-compact",
    "notification",
    "assistant-message",
    "subagent-stop",
    "stop",
    "session-end",
    "other",
]
ToolFamily = Literal["shell", "edit", "read", "search", "todo", "web", "agent", "mcp", "other"]
PageKind = Literal[
    "project",
    "index",
    "session",
    "handoff",
    "decision",
    "gotcha",
    "procedure",
    "concept",
    "note",
    "rule",
    "slot",
    "lint",
]
HandoffState = Literal["open", "offered", "accepted", "closed", "superseded", "expired"]
Verdict = Literal["helpful", "stale", "wrong"]
PAST = "-past-"  # in the id of an event that an import read from the agent's own transcript
VERDICTS: tuple[Verdict, ...] = ("helpful", "stale", "wrong")


class Value(BaseModel):
    """Base of all values: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # most commands use few of them


class Origin(Value):
    """Which project a folder of another machine belongs to, found out there: its paths mean nothing here.

    `by` is as in `Resolved`, `root` for people to read; `id` is what the project has there, a UUID.
    """

    by: str
    workspace: str = Field(min_length=1, max_length=100)
    name: str = Field(max_length=300)
    id: str = Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    remote: str = ""
    root: str = ""
    branch: str = ""


class Event(Value):
    """What an agent's hook reported, redacted: one entry of the spool.

    `id` is unique per emit process; `root` is the folder that decided the project when the hook ran ('' if none),
    `marker` the nearest `.ai-memory.toml`.
    `problem` says why the payload could not be read, `filtered` which capture rule dropped it (payload empty then),
    `offered` is the id of the handoff that the brief of this session start showed. What another machine delivered has
    its `origin`; `pid` is then none of a process here, see `alive.far_pid`. One of a session of long ago, brought in
    by an import, has `PAST` in its id.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    v: int = 1
    id: str
    at: datetime
    agent: str
    event: str
    cwd: str = ""
    root: str = ""
    marker: str = ""
    pid: int = 0
    payload: dict[str, Any] = Field(default_factory=dict)
    problem: str = ""
    filtered: str = ""
    offered: str = ""
    origin: Origin | None = None


class Todo(Value):
    """One item of an agent's own to-do list."""

    text: str
    state: Literal["pending", "in_progress", "completed"] = "pending"


class Observation(Value):
    """One event in our terms; one line of the journal.

    `text` is the prompt, the message or the tool's input rendered for reading; `output` is what the tool answered
    or the error. `ok` is None where the agent did not say. `key` is the agent's own identity of the event (turn,
    tool use …) that makes a double delivery recognisable; `subagent` is the agent's id of the sub-agent, if any;
    `pid` is the agent's process, said where it differs from the observation before.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    id: str
    session: str
    at: datetime
    kind: EventKind
    title: str = ""
    text: str = ""
    output: str = ""
    tool: str = ""
    family: ToolFamily | None = None
    ok: bool | None = None
    paths: tuple[str, ...] = ()
    todos: tuple[Todo, ...] = ()
    turn: str = ""
    tool_use: str = ""
    subagent: str = ""
    key: str = ""
    source_event: str = ""
    detail: str = ""  # the agent's own word: source of a start, reason of an end, trigger of a compaction
    pid: int = 0


class Session(Value):
    """One run of one agent in one project."""

    id: str
    agent: str
    native_id: str
    project: str
    state: Literal["open", "closed"] = "open"
    started: datetime
    ended: datetime | None = None
    last: datetime
    cwd: str = ""
    branch: str = ""
    pid: int = 0
    observations: int = 0
    prompts: int = 0
    tools: int = 0
    title: str = ""
    page: str | None = None


class Handoff(Value):
    """What the next agent must know. Stored as a page under `handoffs/`."""

    id: str
    project: str
    state: HandoffState = "open"
    summary: str
    open_questions: tuple[str, ...] = ()
    failed_approaches: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    files_touched: tuple[str, ...] = ()
    from_agent: str = ""
    from_session: str = ""
    to_agent: str = "any"
    automatic: bool = True
    created: datetime
    accepted: datetime | None = None
    accepted_by: str = ""
    branch: str = ""
    path: str = ""


class Page(Value):
    """A Markdown document of the wiki; `body` is without front matter."""

    id: str
    path: str
    title: str
    kind: PageKind
    project: str
    body: str
    tags: tuple[str, ...] = ()
    pinned: bool = False
    created: datetime
    updated: datetime
    agent: str = ""
    session: str = ""
    status: Literal["current", "superseded"] = "current"
    supersedes: tuple[str, ...] = ()
    superseded_by: str = ""
    entities: tuple[str, ...] = ()
    expires_at: datetime | None = None
    summary: str = ""


class Draft(Value):
    """A page to be written. Empty `path`: derived from kind and title; an existing page there is replaced."""

    title: str
    body: str
    kind: PageKind = "note"
    path: str = ""
    tags: tuple[str, ...] = ()
    pinned: bool | None = None
    supersedes: tuple[str, ...] = ()
    summary: str = ""
    agent: str = ""
    session: str = ""


class HandoffDraft(Value):
    """A handoff an agent or a person leaves by hand."""

    summary: str
    open_questions: tuple[str, ...] = ()
    failed_approaches: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    files_touched: tuple[str, ...] = ()
    to_agent: str = "any"
    from_agent: str = ""
    from_session: str = ""


class Project(Value):
    """The identity under which memory lives; `id` and `workspace_id` are UUIDs."""

    id: str
    name: str
    workspace: str
    workspace_id: str
    roots: tuple[str, ...] = ()
    remotes: tuple[str, ...] = ()
    earlier_names: tuple[str, ...] = ()  # workspace/name; also those of projects that were made part of it
    earlier_ids: tuple[str, ...] = ()  # of such projects


class Scope(Value):
    """Where a question or a change belongs: named project, else resolved from the folder.

    Asked from another machine, `origin` says what the folder is and `pid` which process the agent is (-1: untold).
    """

    cwd: str = ""
    project: str = ""
    workspace: str = ""
    origin: Origin | None = None
    pid: int = 0


class Resolved(Value):
    """A scope after resolution. `project` is None where nothing resolves; then reads cover the workspace.

    `by` is one of: marker, remote, repository, folder, named, none.
    """

    project: Project | None
    workspace: str
    root: str
    by: str


class Query(Value):
    """A question to memory. `kinds` limits pages; observations are searched when pages miss or `kinds` asks."""

    text: str
    kinds: tuple[str, ...] = ()
    limit: int = Field(default=8, ge=1, le=100)
    max_tokens: int = Field(default=2000, ge=100, le=100_000)
    everywhere: bool = False


class Hit(Value):
    """A ranked answer with the reasons for its rank."""

    id: str
    path: str
    title: str
    kind: str
    project: str
    snippet: str
    score: float
    why: str
    agent: str = ""
    session: str = ""
    date: datetime | None = None


class Answer(Value):
    """What a search gives: the hits, and where was looked."""

    query: str
    project: str | None
    hits: tuple[Hit, ...]
    resolved_by: str = ""
    searched: str = ""
    hint: str = ""


class Link(Value):
    """A link of a page: as it is written, and the path that it leads to ('' where there is no such page)."""

    target: str
    path: str = ""


class Touched(Value):
    """What a commit did to one page; `diff` is a unified diff where it was asked for."""

    path: str
    change: Literal["added", "changed", "removed"]
    diff: str = ""


class Revision(Value):
    """A commit of a project's wiki, with pages that it changed: at most twenty of the `total`."""

    commit: str
    at: datetime
    author: str
    message: str
    project: str
    pages: tuple[Touched, ...]
    total: int


class Feedback(Value):
    """What a reader made of a page or an observation (`target` is its id, `path` and `title` say what it was)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    target: str
    verdict: Verdict
    at: datetime
    path: str = ""
    title: str = ""
    agent: str = ""
    session: str = ""
    note: str = ""


class Document(Value):
    """What `read` gives: a page, a session or a session's observations, as text to show.

    Of a page also, on request: what it links to and what links to it, the pages of the same session, the chains of
    what it supersedes and what superseded it (the nearest first), its newest revisions. `feedback` has the verdicts
    that stand. `revision` says which version this is where an older one was asked for.
    """

    ref: str
    title: str
    text: str
    page: Page | None = None
    session: Session | None = None
    observations: tuple[Observation, ...] = ()
    links: tuple[Link, ...] = ()
    backlinks: tuple[str, ...] = ()
    same_session: tuple[str, ...] = ()
    supersedes: tuple[str, ...] = ()
    superseded_by: tuple[str, ...] = ()
    history: tuple[Revision, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    revision: Revision | None = None


class Brief(Value):
    """The bounded text given to an agent at session start."""

    text: str
    project: str | None = None
    handoff: str = ""


class Taken(Value):
    """What became of events that were delivered: why some (by their place in the batch) were refused for good.

    All others are safe with whoever took them.
    """

    refused: dict[int, str] = Field(default_factory=dict)


class Counts(Value):
    """How much a project holds."""

    pages: int = 0
    sessions: int = 0
    observations: int = 0
    handoffs: int = 0


class Capture(Value):
    """Capture accounting: seen = stored + duplicates + filtered + set_aside."""

    seen: int = 0
    stored: int = 0
    duplicates: int = 0
    filtered: int = 0
    set_aside: int = 0


class Spending(Value):
    """What a language model was asked for one purpose on one day: calls, how many of them failed, and tokens."""

    calls: int = 0
    failed: int = 0
    input: int = 0
    output: int = 0


class LlmStatus(Value):
    """The language model: who is asked at which address, tokens of today and their limit, calls by day and purpose,
    sessions that wait for it, and why it is not asked just now ('' when it is)."""

    provider: str
    model: str
    address: str
    spent: int
    daily_tokens: int
    days: dict[str, dict[str, Spending]]
    waiting: int = 0
    given_up: int = 0
    problem: str = ""


class EmbeddingStatus(Value):
    """The embedding model: who is asked at which address, whose vectors (of `dimension` numbers) search uses, how many
    passages and observations have some and how many wait, tokens as in LlmStatus, and why search goes by words alone
    ('' when it does not)."""

    provider: str
    model: str
    address: str
    dimension: int = 0
    embedded: int = 0
    waiting: int = 0
    spent: int = 0
    daily_tokens: int = 0
    days: dict[str, dict[str, Spending]] = Field(default_factory=dict)
    problem: str = ""


class SyncStatus(Value):
    """How it stands with the sync of one project: `last` went well at that time; `error` is that of the last try."""

    remote: str = ""
    branch: str = ""
    last: datetime | None = None
    error: str = ""
    in_conflict: tuple[str, ...] = ()


class Activity(Value):
    """What happened in a span of time that ends now: sessions that went on, all that was observed in them, pages that
    were changed; `bytes` by which the memory has grown (all parts of it; None: not measured for so long yet)."""

    sessions: int = 0
    observations: int = 0
    pages: int = 0
    bytes: int | None = None


class Junk(Value):
    """Of so many pages, those that nobody needs: superseded, with the title of another, never opened in 90 days and
    more after their last change. `rate` is the share of those that are any of it."""

    pages: int = 0
    superseded: int = 0
    duplicates: int = 0
    never_recalled: int = 0
    rate: float = 0.0


class Loss(Value):
    """Events that hooks have accepted (they were in the spool) and that are neither stored nor accounted for: `lost` of
    all `seen`. `hook_failures` of the last 7 days may each be an event that was not accepted, see logs/emit.log."""

    lost: int = 0
    rate: float = 0.0
    hook_failures: int = 0


class Slow(Value):
    """A call of the memory that took long."""

    at: datetime
    what: str
    seconds: float


class Figures(Value):
    """How large the memory is and how it does. `sizes` are bytes by part of it (as of `measured`), `slow` the last of
    `slow_calls` that took longer than a second, `tokens` what a language model took: both within 7 days.

    Activity and junk are of the project or workspace that was asked for, all else of the whole memory.
    """

    sizes: dict[str, int] = Field(default_factory=dict)
    measured: datetime | None = None
    day: Activity = Activity()
    week: Activity = Activity()
    junk: Junk = Junk()
    loss: Loss = Loss()
    tokens: int = 0
    slow: tuple[Slow, ...] = ()
    slow_calls: int = 0


class Status(Value):
    """What is there, how the project was resolved, and whether all is well."""

    home: str
    project: dict[str, Any] | None
    counts: Counts
    spool: dict[str, int]
    capture: Capture
    handoff: str = ""
    problems: tuple[str, ...] = ()
    llm: LlmStatus | None = None
    embedding: EmbeddingStatus | None = None
    sync: SyncStatus | None = None
    figures: Figures | None = None


Level = Literal["ok", "hint", "warning", "error"]


class Finding(Value):
    """One remark of doctor or lint: what, how bad, and what mends it. Of lint also which rule made it of which page."""

    level: Level
    message: str
    fix: str = ""
    rule: str = ""
    page: str = ""


class LintReport(Value):
    """What lint found in a project of so many pages, the worst first, and what it has mended.

    `report` is the path of the page that tells it, where one was asked for.
    """

    project: str
    pages: int
    findings: tuple[Finding, ...] = ()
    fixed: tuple[Finding, ...] = ()
    report: str = ""


class Swept(Value):
    """One thing that a sweep takes out, or makes smaller, and why: a page (`ref` is its path), the raw observations of
    a session (its id), or a session's journal that is compressed. `bytes` is what it takes on the disk."""

    what: Literal["page", "observations", "compress"]
    project: str
    project_id: str
    ref: str
    title: str
    why: str
    bytes: int = 0


class Sweep(Value):
    """What a sweep has taken out, or would (`dry_run`); `journal` is how many bytes of journal there were before."""

    items: tuple[Swept, ...] = ()
    journal: int = 0
    dry_run: bool = True


class Embedded(Value):
    """What one run of `embed` did: passages and observations (`rows`) that got their vectors, texts that the model was
    asked for and that it refused, and vectors removed because nothing has their text any more."""

    provider: str
    model: str
    dimension: int = 0
    rows: int = 0
    asked: int = 0
    refused: int = 0
    removed: int = 0


class IngestReport(Value):
    """What one ingest run did; `delivered` are events that a client has given to its server."""

    delivered: int = 0
    ingested: int = 0
    duplicates: int = 0
    filtered: int = 0
    set_aside: int = 0
    sessions_closed: int = 0
    handoffs: int = 0


class SentFile(Value):
    """A Markdown file on its way to a server: its path below the folder that is imported, its text, Unix time of its
    last change."""

    name: str = Field(min_length=1, max_length=1_000)
    text: str
    mtime: float = Field(ge=0, le=1e11)


class Upload(Value):
    """Some of the files for an import; `id` is the sender's, the same for all of them, and so is the `folder`."""

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    folder: str = Field(min_length=1, max_length=5_000)
    files: tuple[SentFile, ...]


class UploadedFiles(Value):
    """What became of files that were sent: why some could not be stored (name -> reason)."""

    skipped: dict[str, str] = Field(default_factory=dict)


class Planned(Value):
    """One page that a language model writes; `text` is the whole file."""

    path: str
    change: Literal["new", "changed"]
    text: str = ""


class Excerpt(Value):
    """A part of what a repository says, for a language model: `source` is the path of a file, the id of a commit or the
    path of a page that was made by rule; `part` says what it is about."""

    of: Literal["file", "commit", "page"]
    part: Literal["files", "history"]
    source: str
    text: str


class Enriched(Value):
    """What a language model made of a repository: `written`, `unchanged` (nothing new to ask), `failed` (see `note`),
    or `planned`, with the number of questions and about how many tokens they would take at most."""

    state: Literal["written", "planned", "unchanged", "failed"]
    pages: tuple[Planned, ...] = ()
    calls: int = 0
    tokens: int = 0
    note: str = ""


class ImportReport(Value):
    """What an import did, or would do. Files are named by their path below the folder.

    `added` and `updated`: file -> path of its page; `skipped`: file or folder -> why it was left out; `kinds` and
    `redacted` (secrets replaced) count pages added or updated; `enriched` is what a language model made besides.
    """

    project: str
    folder: str
    added: dict[str, str] = Field(default_factory=dict)
    updated: dict[str, str] = Field(default_factory=dict)
    unchanged: int = 0
    skipped: dict[str, str] = Field(default_factory=dict)
    other_files: int = 0
    redacted: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    dry_run: bool = False
    enriched: Enriched | None = None


class Consolidation(Value):
    """What became of one session: consolidated by a language model, planned (a dry run), queued for the worker,
    compiled by rule alone, or unchanged because that was done before."""

    session: str
    agent: str = ""
    title: str = ""
    page: str = ""
    state: Literal["consolidated", "planned", "queued", "by-rule", "unchanged", "failed"]
    note: str = ""
    pages: tuple[Planned, ...] = ()


class Reverted(Value):
    """A commit that was taken back: its pages that are as before it, and those that were changed since and stay."""

    commit: str
    message: str
    pages: tuple[str, ...]
    kept: tuple[str, ...] = ()


class Synced(Value):
    """What became of one project in a sync. Pages `received`, `removed` and `kept` (missing on one side, where nobody
    said that it is to go), those `in_conflict` and what was `left_out` (path -> why) are named by their path.
    """

    project: str
    id: str
    workspace: str
    remote: str = ""
    branch: str = ""
    state: Literal["synced", "unchanged", "planned", "skipped", "failed"]
    new: bool = False
    sent: bool = False
    received: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    in_conflict: tuple[str, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict)
    note: str = ""


class SyncReport(Value):
    """What a sync did, or would do, project by project."""

    projects: tuple[Synced, ...]
    dry_run: bool = False


class Erased(Value):
    """What was taken out of memory, or would be (`dry_run`): a page, a session, a project, or a text (`what`).

    `for_good`: out of history, journal and everything else; else a commit removed the pages, and history keeps them.
    `commits` are those of the history that had to be made anew, `places` in how many pages, journal files and other
    files a text was found. Settings that hold it, too, are `left` as they are. `git` names branches, tags and stashes
    of the user's own in the wiki: they are made anew with the history.
    """

    what: Literal["page", "session", "project", "text"]
    name: str = ""
    project: str = ""
    pages: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    observations: int = 0
    commits: int = 0
    places: int = 0
    left: tuple[str, ...] = ()
    git: tuple[str, ...] = ()
    for_good: bool = False
    dry_run: bool = False


class Contradiction(Value):
    """Two pages that cannot both hold, with what each of them says, word for word."""

    page: str
    other: str
    quote: str
    other_quote: str
    why: str = ""
