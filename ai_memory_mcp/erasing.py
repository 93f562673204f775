"""Erasing for good: a page, a session, a project or a text goes from everything that AI_MEMORY_HOME holds.

What is to go is noted first (`erasing.json`), then everything is done in an order in which each step can be repeated:
killed anywhere, the next command ends it. Afterwards the note goes too. The caller holds the ingest lock, so that
nothing comes in meanwhile. Settings (`config.toml`, tokens) are never touched.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ai_memory_mcp import (
    backup,
    consolidate,
    embed,
    enriching,
    ingest,
    markdown,
    pages,
    registry,
    reindex,
    sessions,
    settle,
    sync_state,
)
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.files import private_dir, remove, storage_error, sweep_dead, write_atomic
from ai_memory_mcp.index import past, rows, vectors
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.journal import UNSTORED, USES
from ai_memory_mcp.model import Erased, Project, Value
from ai_memory_mcp.project import remote_id
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.scrubbing import Scrubber, scrubbed_text
from ai_memory_mcp.tombstones import ERASING, Erasure, Kind, Tombstone, path_mark
from ai_memory_mcp.wiki_rewrite import Edit

LOCK_WAIT = 60.0  # seconds; a language model may be at work
GONE = b"erased"  # in place of the path of a page that is gone, where another one names it
SHORTEST = 12  # characters of a text that is looked for in what was made of it
CUT = 24  # characters after which such a text may have been cut


class Intent(Value):
    """What is to go, as `erasing.json` keeps it: ids, paths and words, until it is done.

    `natives` are the agents' own ids of the sessions: pages whose front matter names one were written in it. `heirs`
    are sessions that went on from these and their pages, and `words` what they carried over. `pattern` is a text to
    be scrubbed, see `scrubbing`.
    """

    what: str
    name: str = ""
    project: str = ""
    workspace: str = ""
    sessions: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    natives: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    heirs: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    remotes: tuple[str, ...] = ()
    pattern: str = ""
    regex: bool = False
    erasure: str = Field(default_factory=lambda: str(uuid.uuid4()))  # its name among machines that sync
    at: datetime


@contextmanager
def alone(res: Resources, wait: float = LOCK_WAIT) -> Iterator[None]:
    """Keep everybody else from working on sessions, from syncing and backing up meanwhile. Raises BusyError."""
    with (
        sync_state.lock(res, wait),
        consolidate.lock(res, wait),
        backup.lock(res.home, wait),
        ingest.lock(res, wait),
    ):
        yield


def waits(res: Resources) -> Intent | None:
    """Return what was begun and not ended, None for nothing. What cannot be read never began."""
    try:
        return Intent.model_validate_json((res.home / ERASING).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", res.home / ERASING, error) from error
    except ValidationError:
        remove(res.home / ERASING)
        return None


def finish(res: Resources) -> None:
    """End what somebody was killed at, unless it is being done just now. Raises StorageError."""
    with alone(res, 0.0):
        begun = waits(res)
        if begun:
            carry_out(res, begun)


Plan = Callable[[Connection], tuple[Intent, Project | None]]


def run(res: Resources, plan: Plan, drain: Callable[[], object], *, dry_run: bool) -> Erased:
    """Erase what a plan says; `drain` takes in what waits, before and after. With `dry_run` only tell of it."""
    if dry_run:
        with res.index.read() as db:
            intent, project = plan(db)
            return _told(res, db, intent, project, dry_run=True)
    with alone(res):
        begun = waits(res)
        if begun:
            carry_out(res, begun)
        drain()
        with res.index.read() as db:
            intent, project = plan(db)
            told = _told(res, db, intent, project, dry_run=False)
        commits = erase(res, intent)
        drain()
    return told.model_copy(update={"commits": commits})


# --- what belongs to it


def find(db: Connection, project: Project, ref: str) -> str | SessionRow | None:
    """Return what `ref` names in a project: a session (by its page, too), the path of another page, None for nothing.

    Raises InputError for what every project has.
    """
    for _, path in rows.find_pages(db, ref, project.id):
        page = rows.page_record(db, project.id, path)
        row = rows.session(db, page.id) if page and page.kind == "session" else None
        if path == registry.FRONT_PAGE:
            raise InputError("the front page is what the project is known by; purge-project removes all of it")
        return row or path
    return next(iter(rows.find_sessions(db, ref, project.id)), None)


def plan(db: Connection, project: Project, found: str | SessionRow, *, at: datetime) -> Intent:
    """Plan to erase what was found."""
    if isinstance(found, str):
        return plan_page(db, project, found, at=at)
    return plan_session(db, project, found, at=at)


def plan_text(text: str, *, regex: bool, at: datetime) -> Intent:
    """Plan to scrub a text out of all projects. Raises InputError for one that would take too much."""
    Scrubber.of(text, regex=regex)
    return Intent(what="text", pattern=text.strip(), regex=regex, at=at)


def plan_page(db: Connection, project: Project, path: str, *, at: datetime) -> Intent:
    """Plan to erase a page, under its earlier paths too."""
    page = rows.page_record(db, project.id, path)
    return Intent(
        what="page",
        name=path,
        project=project.id,
        workspace=project.workspace_id,
        pages=tuple(_paths(db, project, [path])),
        ids=(page.id,) if page else (),
        at=at,
    )


def plan_session(db: Connection, project: Project, row: SessionRow, *, at: datetime) -> Intent:
    """Plan to erase a session: its journal, its page, its handoffs, the pages that were written in it."""
    handoffs = rows.handoffs(db, session_id=row.id)
    made = [path for _, path in rows.made_in(db, project.id, row)]
    found = [path for path in (row.page, *(one.path for one in handoffs), *made) if path]
    heirs, words = _inherited(db, project, row)
    return Intent(
        what="session",
        name=row.title or row.id,
        project=project.id,
        workspace=project.workspace_id,
        sessions=(row.id,),
        marks=(sessions.native_mark(row.agent, row.native_id),),
        natives=(row.native_id,),
        pages=tuple(_paths(db, project, dict.fromkeys(found))),
        ids=(row.id, *(one.id for one in handoffs)),
        heirs=heirs,
        words=words,
        at=at,
    )


def plan_project(db: Connection, project: Project, *, at: datetime) -> Intent:
    """Plan to erase a project with all that is in it."""
    known = rows.sessions(db, project.id, -1)
    return Intent(
        what="project",
        name=f"{project.workspace}/{project.name}",
        project=project.id,
        workspace=project.workspace_id,
        sessions=tuple(row.id for row in known),
        marks=tuple(sessions.native_mark(row.agent, row.native_id) for row in known),
        natives=tuple(row.native_id for row in known),
        pages=tuple(sorted(rows.page_stamps(db, project.id))),
        roots=project.roots,
        remotes=project.remotes,
        at=at,
    )


def _told(res: Resources, db: Connection, intent: Intent, project: Project | None, *, dry_run: bool) -> Erased:
    scrubber = Scrubber.of(intent.pattern, regex=intent.regex) if intent.pattern else None
    number = sum(row.observations for one in intent.sessions if (row := rows.session(db, one)))
    return Erased.model_validate(
        {
            "what": intent.what,
            "name": intent.name,
            "project": project.name if project else "",
            "pages": intent.pages,
            "sessions": intent.sessions,
            "observations": number,
            "places": scrubber.count(res.home) if scrubber else 0,
            "left": scrubber.left(res.home) if scrubber else (),
            "git": _kept_by_user(res, db, intent),
            "for_good": True,
            "dry_run": dry_run,
        }
    )


def _kept_by_user(res: Resources, db: Connection, intent: Intent) -> tuple[str, ...]:
    """Return what else of git holds history of what is to go. Raises StorageError where it cannot be made anew."""
    if intent.what == "project":
        return ()
    found = []
    for workspace, project in res.wiki_folders() if intent.pattern else [(intent.workspace, intent.project)]:
        known = rows.project(db, project)
        kept = res.wiki_at(workspace, project).kept_by_user()
        found += [f"{one} of {known.name if known else project}" for one in kept]
    return tuple(found)


def _paths(db: Connection, project: Project, paths: Iterable[str]) -> list[str]:
    """Return pages with the paths that they had earlier."""
    found: dict[str, None] = {}
    for path in paths:
        older = path
        while older and older not in found:
            found[older] = None
            older = past.moved_from(db, project.id, older)[0]
    return list(found)


def _inherited(db: Connection, project: Project, row: SessionRow) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the pages of sessions that went on from a session, however far, and what they may have carried over."""
    every = rows.handoffs(db, project.id)
    line = {row.id}
    while (
        more := {one.accepted_by.rpartition(" ")[2] for one in every if one.from_session in line and one.accepted_by}
        - line
    ):
        line |= more
    own = [one for one in every if one.from_session == row.id]
    later = [found for one in line - {row.id} if (found := rows.session(db, one))]
    heirs = [name for found in later for name in (found.id, found.page) if name]
    heirs += [one.path for one in every if one.from_session in line - {row.id}]
    said = [row.title]
    for one in own:
        said += [*one.summary.splitlines(), *(item for name in _lists() for item in getattr(one, name))]
    words = dict.fromkeys(text.strip() for text in said if len(text.strip()) >= SHORTEST)
    return tuple(heirs), tuple(words) if heirs else ()


def _lists() -> tuple[str, ...]:
    """Return the names of a handoff's lists of texts; paths of files are not among them."""
    return ("next_steps", "open_questions", "failed_approaches", "decisions")


# --- doing it


def erase(res: Resources, intent: Intent) -> int:
    """Note what is to go, and erase it. Returns how many commits were made anew. Raises StorageError; then the next
    command goes on with it."""
    private_dir(res.home)
    write_atomic(res.home / ERASING, intent.model_dump_json().encode("utf-8", "replace"), durable=True)
    return carry_out(res, intent)


def carry_out(res: Resources, intent: Intent) -> int:
    """Erase what was noted, however far somebody has come with it already. The caller is `alone`."""
    res.tombstones.add(_stones(intent))
    scrubber = Scrubber.of(intent.pattern, regex=intent.regex) if intent.pattern else None
    if scrubber:
        scrubber.scrub_home(res.home)
    else:
        _from_spool(res, intent)
        _from_journal(res, intent)
        _from_llm(res, intent)
        _clear(res.home / "logs")
    _clear(res.home / "cache")
    commits = _from_wiki(res, intent, scrubber)
    reindex.rebuild(res)
    if vectors.path_in(res.home).exists():
        embed.forget_unused(res)
    _from_briefs(res, intent)
    sweep_dead(res.home)
    remove(res.home / ERASING)
    return commits


def _stones(intent: Intent) -> list[Tombstone]:
    def stone(kind: str, id_: str, project: str = intent.project) -> Tombstone:
        told = {"kind": kind, "id": id_, "project": project, "why": "erased", "at": intent.at}
        return Tombstone.model_validate(told)

    found = [stone("session", one, "") for one in (*intent.sessions, *intent.marks)]
    if intent.what == "project":
        places = [path_mark("", root) for root in intent.roots]
        found += [stone("project", one, "") for one in (intent.project, *map(remote_id, intent.remotes), *places)]
    else:
        found += [stone("page", one) for one in intent.ids]
        found += [stone("path", path_mark(intent.project, path)) for path in intent.pages]
    return found


def _from_spool(res: Resources, intent: Intent) -> None:
    """Remove what was set aside and belongs to it. What waits was taken in, or is refused when it is."""
    if intent.what == "page":
        return
    signs = [json.dumps(native) for native in intent.natives if native]
    signs += [json.dumps(root)[:-1] + end for root in intent.roots for end in ('"', "/", "\\")]
    for name, _ in list(res.spool.kept_aside()):
        path = res.spool.aside / name
        data = path.read_text("utf-8", "replace") if path.exists() else ""
        if any(sign in data for sign in signs):
            remove(path)
            remove(path.with_name(f"{name}.reason"))


def _from_journal(res: Resources, intent: Intent) -> None:
    folder = res.journal.folder / intent.project
    if intent.what == "project":
        _remove_folder(folder)
        _keep_lines(res.journal.folder / UNSTORED, lambda one: one.get("project") != intent.project)
        return
    targets = {*intent.ids, *intent.sessions}
    for session in intent.sessions:
        targets |= {str(one["id"]) for one in res.journal.read(f"{intent.project}/{session}.jsonl") if "id" in one}
    with res.index.write():  # who gives feedback holds this lock
        _keep_lines(
            folder / "feedback.jsonl",
            lambda one: (
                one.get("target") not in targets
                and one.get("path") not in intent.pages
                and one.get("session") not in {*intent.sessions, *intent.natives}
            ),
        )
    _keep_lines(folder / USES, lambda one: not (isinstance(one, list) and one and one[0] in targets))
    for session in intent.sessions:
        for path in folder.glob(f"{session}.*"):
            remove(path)
    words = _edit(intent).words or bytes
    for name in intent.heirs:
        for ending in (".jsonl", ".jsonl.gz"):
            _change_lines(folder / f"{name}{ending}", lambda one: _closed_without(one, words))


def _closed_without(record: Any, words: Callable[[bytes], bytes]) -> Any:
    """Return a record of the journal; that a session was closed tells the title of its page."""
    if not isinstance(record, dict) or record.get("type") != "close":
        return record
    told = {key: record[key] for key in ("title", "page") if isinstance(record.get(key), str)}
    return record | {
        key: words(text.encode("utf-8", "replace")).decode("utf-8", "replace") for key, text in told.items()
    }


def _from_llm(res: Resources, intent: Intent) -> None:
    """Remove what waits for the language model, and what it made that is not written yet."""
    folder = res.home / "llm"
    _clear(folder / "plans")
    for session in intent.sessions:
        remove(folder / "waiting" / f"{session}.json")
    if intent.what == "project":
        enriching.forget(res, intent.project)
    path = folder / "judged.json"
    with suppress(FileNotFoundError, ValueError, AttributeError):
        pairs = json.loads(path.read_bytes())["pairs"]
        gone = {mark for mark, one in pairs.items() if one and {one.get("page"), one.get("other")} & {*intent.pages}}
        if gone:
            left = {"pairs": {mark: one for mark, one in pairs.items() if mark not in gone}}
            write_atomic(path, json.dumps(left, ensure_ascii=False).encode("utf-8", "replace"))


def _from_wiki(res: Resources, intent: Intent, scrubber: Scrubber | None) -> int:
    if intent.what == "project":
        sync_state.bury(res, intent.project, intent.erasure, intent.at)
        wiki = res.wiki_at(intent.workspace, intent.project)
        wiki.remove_all()
        with suppress(OSError):  # others are in that workspace
            wiki.folder.parent.rmdir()
        return 0
    places = res.wiki_folders() if scrubber else [(intent.workspace, intent.project)]
    edit = scrubber.edit() if scrubber else _edit(intent)
    commits = 0
    for workspace, project in places:
        with settle.handoff_lock_of(res, project):
            commits += res.wiki_at(workspace, project).erase(edit)
            _tell(res, intent, workspace, project)
    return commits


def _tell(res: Resources, intent: Intent, workspace: str, project: str) -> None:
    """Have the next sync replace what the remote holds, where the history that it has is another one now."""
    state, wiki = sync_state.load(res, project), res.wiki_at(workspace, project)
    if (state.tip or state.replaced) and not wiki.leads_to(state.tip):
        wiki.note(Erasure(intent.erasure, intent.at, tuple(_stones(intent))).message(), when=intent.at)
        sync_state.note_erased(res, project)


def _edit(intent: Intent) -> Edit:
    """Return what becomes of a project's pages: those that go, and where others name them or carry on their words."""
    gone, heirs = {*intent.pages}, {*intent.heirs}
    natives = [native.encode() for native in intent.natives if native]
    named, carried = _named(intent), _carried(intent)

    def words(data: bytes) -> bytes:
        return carried(named(data))

    def text(path: str, data: bytes) -> bytes | None:
        if any(native in data for native in natives) and _source(data) in intent.natives:
            return None
        made = named(data)
        if path in heirs and (less := carried(made)) != made:
            made = markdown.set_keys(less.decode("utf-8", "replace"), {"summary": None}).encode()  # it may cut a word
        return scrubbed_text(data, made)

    return Edit(gone=lambda path: path in gone, text=text, words=words)


def _named(intent: Intent) -> Callable[[bytes], bytes]:
    """Return what takes the paths of pages that are gone out of a text, and what paths of heirs have of their words."""
    table: dict[bytes, bytes] = {}
    for path in intent.pages:
        table |= _named_so(path.removesuffix(".md"), GONE)
    slugs = [slug for word in intent.words if len(slug := markdown.slug(word)[:CUT]) >= SHORTEST]
    for path in intent.heirs:
        stem = path.removesuffix(".md")
        for slug in slugs:
            told = re.sub(f"{re.escape(slug)}[a-z0-9-]*?(?=-[0-9a-f]{{8}}$|$)", GONE.decode(), stem)
            if told != stem:
                table |= _named_so(stem, told.encode())
                break
    return _without([re.escape(name.decode()) for name in sorted(table, key=len, reverse=True)], table)


def _named_so(stem: str, told: bytes) -> dict[bytes, bytes]:
    """Return a path, and its file name where that is surely of this page alone, with what is to stand there."""
    folder, _, name = stem.rpartition("/")
    only = {name.encode(): told.rpartition(b"/")[2]} if folder and re.search(r"-[0-9a-f]{8}$", name) else {}
    return {stem.encode(): told} | only


def _carried(intent: Intent) -> Callable[[bytes], bytes]:
    """Return what takes carried over words out of a text: the whole of them, or what begins as they do and was cut."""
    found = []
    for word in sorted(intent.words, key=len, reverse=True):
        found += [re.escape(word), re.escape(word[:CUT]) + '[^\n"]*'] if len(word) > CUT else [re.escape(word)]
    return _without(found)


def _without(patterns: list[str], table: Mapping[bytes, bytes] | None = None) -> Callable[[bytes], bytes]:
    """Return what puts GONE, or what a table says, in place of what matches."""
    if not patterns:
        return lambda data: data
    pattern = re.compile("|".join(patterns).encode(), 0 if table else re.IGNORECASE)
    return lambda data: pattern.sub(lambda found: (table or {}).get(found[0], GONE), data)


def _source(data: bytes) -> str:
    """Return the session that a page's front matter names as its source, in the agent's words."""
    source = markdown.parse(data.decode("utf-8", "replace"))[0].get("source")
    return str(source.get("session", "")) if isinstance(source, dict) else ""


def _from_briefs(res: Resources, intent: Intent) -> None:
    """Remove every brief: each may tell of it, and is rendered anew when somebody asks next."""
    folder = res.home / "brief"
    for path in folder.glob("*.json"):
        if path.name.startswith("root-"):
            with suppress(OSError, ValueError, AttributeError):
                if intent.what == "project" and json.loads(path.read_bytes()).get("project") == intent.project:
                    remove(path)
        elif intent.what == "project" or not path.name.startswith("scan-"):
            remove(path)


# --- less than for good


def forget(res: Resources, project: Project, found: str | SessionRow, *, now: datetime, author: str) -> Erased:
    """Remove a page by a commit, or the pages of a session and the session from what is found; history keeps pages.

    Nothing brings a session back, whatever its agent still sends. Pages come back when somebody writes or reverts.
    """
    told = dry(res, project, found, now=now)
    with res.index.read() as db:
        intent = plan(db, project, found, at=now)
    stones = [stone.model_copy(update={"why": "forgotten"}) for stone in _stones(intent)]
    kept = {path_mark(project.id, path) for path in intent.pages if path not in told.pages}
    with settle.handoff_lock(res, project):
        res.tombstones.add(stone for stone in stones if stone.id not in kept)
        pages.save(res, project, dict.fromkeys(told.pages), f"Forget {intent.name}", when=now, author=author)
    if not isinstance(found, str):
        with res.index.write() as db:
            rows.drop_session(db, found.id)
        remove(res.home / "llm" / "waiting" / f"{found.id}.json")
    return told.model_copy(update={"dry_run": False})


def dry(res: Resources, project: Project, found: str | SessionRow, *, now: datetime) -> Erased:
    """Say what `forget` would do."""
    with res.index.read() as db:
        told = _told(res, db, plan(db, project, found, at=now), project, dry_run=True)
        gone = _own_pages(res, db, project, found)
    return told.model_copy(update={"pages": tuple(gone), "for_good": False})


def _own_pages(res: Resources, db: Connection, project: Project, found: str | SessionRow) -> list[str]:
    """Return the page, or those that a session's close has made: what was written in it on purpose stays."""
    if isinstance(found, str):
        return [found]
    paths = [found.page, *(one.path for one in rows.handoffs(db, session_id=found.id))]
    return [path for path in paths if path and (res.wiki(project).folder / path).exists()]


def welcome(res: Resources, project: Project, paths: Sequence[str], *, now: datetime) -> None:
    """Let pages come again that somebody has just written, or brought back, on purpose."""
    with res.index.read() as db:
        ids = [page.id for path in paths if (page := rows.page_record(db, project.id, path))]
    names: list[tuple[Kind, str]] = [("page", one) for one in ids]
    names += [("path", path_mark(project.id, path)) for path in paths]
    res.tombstones.lift([found for kind, name in names if (found := res.tombstones.has(kind, name, project.id))], now)


def _keep_lines(path: Path, keep: Callable[[Any], bool]) -> None:
    """Rewrite a file of JSON lines without those that are not to be kept; a damaged one goes too."""
    _change_lines(path, lambda one: one if keep(one) else None)


def _change_lines(path: Path, change: Callable[[Any], Any]) -> None:
    """Rewrite a file of JSON lines; None removes a line, and a damaged one goes too."""
    if not path.exists():
        return
    told = []
    packed = path.suffix == ".gz"
    before = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    for line in before.splitlines(keepends=True):
        with suppress(ValueError):
            record = json.loads(line)
            made = change(record)
            if made is not None:
                told.append(line if made == record else json.dumps(made, ensure_ascii=False).encode() + b"\n")
    data = b"".join(told)
    if data != before:
        write_atomic(path, gzip.compress(data, mtime=0) if packed else data, durable=True)


def _clear(folder: Path) -> None:
    """Remove everything in a folder: it can be made anew, and may hold anything."""
    for path in folder.glob("*") if folder.is_dir() else ():
        _remove_folder(path) if path.is_dir() and not path.is_symlink() else remove(path)
    for path in folder.glob(".*") if folder.is_dir() else ():
        if path.is_file():
            remove(path)


def _remove_folder(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise storage_error("remove", folder, error) from error
