"""Import of past sessions: what agents wrote down of them themselves goes the way that hooks would have sent it.

Each session becomes events as its hooks would have told of them, under the same capture rules and redaction, in the
spool; ingest does the rest. An event has the same id at every run, what hooks told of at that time is left alone, and
what was taken out of memory stays out (`ingest`), so an import can be repeated. Of a folder whose policy is not to
capture, no more is read than where it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ai_memory_mcp import emit, hooksettings
from ai_memory_mcp.agents.pieces import Target, place_of
from ai_memory_mcp.agents.spec import AgentSpec, all_specs, find_spec
from ai_memory_mcp.config import environment, home_folder, load_config, user_home
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.memory import Memory, Progress
from ai_memory_mcp.model import PAST, Event, EventKind, Scope, Session, Value
from ai_memory_mcp.place import find_root
from ai_memory_mcp.project import GENERAL
from ai_memory_mcp.spool import Spool
from ai_memory_mcp.transcripts import Head, Said, format_named

QUIET = 600  # seconds; a session that changed since goes on, and its hooks tell of it
CHUNK = 2_000  # events that are spooled before they are taken in
MANY = 100_000  # sessions of one project

GOES_ON = "still going on"
NO_FOLDER = "in a folder that it does not tell"
GONE = "in a folder that is gone, and of no known project"
ELSEWHERE = "of other projects (--all brings in every one)"
OLDER = "older"


class PastSource(Value):
    """What one agent did in one project: how many sessions, how many of them memory knows already, how many events
    they have and how many of those capture rules leave out, and when they were."""

    agent: str
    project: str
    folder: str
    sessions: int = 0
    known: int = 0
    events: int = 0
    excluded: int = 0
    first: datetime | None = None
    last: datetime | None = None


class PastReport(Value):
    """What an import of sessions did, or would do. `skipped`: why sessions were left out, and how many.
    `stored` counts new observations, `pages` sessions that were compiled."""

    sources: tuple[PastSource, ...]
    skipped: dict[str, int]
    stored: int = 0
    pages: int = 0
    dry_run: bool = False


@dataclass(frozen=True)
class Place:
    """A folder in which sessions ran: the root and marker that decide its project, and that project."""

    cwd: str
    root: str
    marker: str
    id: str
    name: str
    known: bool  # to memory


@dataclass(frozen=True)
class PastSession:
    """One session of an agent, in one file or more."""

    spec: AgentSpec
    place: Place
    heads: tuple[Head, ...]

    @property
    def native_id(self) -> str:
        """The agent's own id of it."""
        return self.heads[0].session

    @property
    def last(self) -> int:
        """When it changed last, in Unix ms."""
        return max(head.last for head in self.heads)

    def said(self) -> list[Said]:
        """Read all of it, in order of time; what two files repeat is there once."""
        read = format_named(self.spec.transcripts.format if self.spec.transcripts else "").said
        found = {(one.id, one.kind): one for head in self.heads for one in read(head)}
        return sorted(found.values(), key=lambda one: one.at)


class _Run:
    """One import into a memory, on the machine where the transcripts are."""

    def __init__(self, memory: Memory, scope: Scope, *, everywhere: bool, now: datetime) -> None:
        self.memory, self.now = memory, now
        self.env = environment()
        self.home = os.fspath(home_folder(self.env))
        self.user_home = user_home(self.env)
        self._delivers = bool(load_config(Path(self.home), self.env).server.url)
        self.skipped: dict[str, int] = {}
        self._wanted = None if everywhere else self._project_of(scope)
        self._places: dict[str, Place] = {}
        self._before: dict[str, dict[str, Session]] = {}

    @cached_property
    def _projects(self) -> set[str]:
        return {project.id for project in self.memory.projects()}

    def _project_of(self, scope: Scope) -> str:
        found = self.memory.resolve(scope).project
        return found.id if found else ""

    def place(self, cwd: str) -> Place:
        """Say where a session ran."""
        if cwd not in self._places:
            root, marker = find_root(cwd, self.user_home)
            found = self.memory.resolve(Scope(cwd=cwd)).project
            ident, name = (found.id, found.name) if found else ("", "")
            self._places[cwd] = Place(cwd, root, marker, ident, name, ident in self._projects)
        return self._places[cwd]

    def sessions(self, specs: Sequence[AgentSpec], since: datetime | None, progress: Progress) -> list[PastSession]:
        """Find the sessions that are to come, the oldest first; why others are not is counted."""
        heads: dict[tuple[str, str], list[Head]] = {}
        by_name = {spec.name: spec for spec in specs}
        for spec in specs:
            for number, (file, total) in enumerate(_files(spec, self.user_home, self.env)):
                progress("looking", number, total)
                for head in format_named(spec.transcripts.format if spec.transcripts else "").heads(file):
                    heads.setdefault((spec.name, head.session), []).append(head)
        found = []
        for (agent, _), mine in heads.items():
            mine.sort(key=lambda head: (head.file.name.removesuffix(".jsonl") != head.session, head.file))
            one = self._wanted_one(by_name[agent], tuple(mine), since)
            if isinstance(one, PastSession):
                found.append(one)
            else:
                self.skipped[one] = self.skipped.get(one, 0) + 1
        return sorted(found, key=lambda one: (one.last, one.native_id))

    def _wanted_one(self, spec: AgentSpec, heads: tuple[Head, ...], since: datetime | None) -> PastSession | str:
        """Return a session, or why it is left out."""
        last = max(head.last for head in heads) / 1000
        if since and last < since.timestamp():
            return OLDER
        if self.now.timestamp() - last < QUIET:
            return GOES_ON
        if not os.path.isabs(heads[0].cwd):
            return NO_FOLDER
        place = self.place(heads[0].cwd)
        if self._wanted not in (None, place.id):
            return ELSEWHERE
        if place.root and not place.known and not os.path.isdir(place.root):
            return GONE
        reason = self.refused(place)
        return f"where {reason}" if reason else PastSession(spec, place, heads)

    def spool(self, events: Sequence[Event]) -> None:
        """Store events where hooks do. A delivery to a server may end between any two, so there each is its own."""
        spool = Spool(Path(self.home))
        for some in ([one] for one in events) if self._delivers else [events]:
            spool.add(some)

    def refused(self, place: Place) -> str:
        """Say why nothing at all is captured in a folder, '' where something is."""
        settings = [hooksettings.user_settings(self.home, self.env)]
        if place.marker:
            settings.append(hooksettings.settings_from(self.home, place.marker))
        return next(filter(None, (hooksettings.refused(one, "session-start") for one in settings)), "")

    def known(self, session: PastSession) -> Session | None:
        """Return what memory knew of a session before."""
        ident = session.place.id
        if ident not in self._before:
            self._before[ident] = self._in_memory(session.place) if session.place.known else {}
        return self._before[ident].get(f"{session.spec.name} {session.native_id}")

    def done(self, sessions: Sequence[PastSession]) -> tuple[int, int]:
        """Return how many observations more memory has of these sessions now, and how many pages tell of them."""
        now: dict[str, dict[str, Session]] = {}
        stored = pages = 0
        for session in sessions:
            if session.place.cwd not in now:
                now[session.place.cwd] = self._in_memory(session.place)
            found = now[session.place.cwd].get(f"{session.spec.name} {session.native_id}")
            before = self.known(session)
            more = (found.observations if found else 0) - (before.observations if before else 0)
            stored += more
            pages += bool(more and found and found.page)
        return stored, pages

    def _in_memory(self, place: Place) -> dict[str, Session]:
        project = self.memory.resolve(Scope(cwd=place.cwd)).project  # a new one has its id by now
        scope = Scope(project=project.id if project else GENERAL)
        return {f"{one.agent} {one.native_id}": one for one in self.memory.sessions(scope, limit=MANY)}

    def events(self, session: PastSession) -> Iterator[Event | None]:
        """Yield a session's events as its hooks would have stored them; None for one that a rule leaves out."""
        described = hooksettings.find_agent(self.home, session.spec.name)
        for said in session.said():
            name = _event_name(session.spec, said.kind)
            if not name:
                continue
            cwd = said.cwd or session.place.cwd
            root, marker = find_root(cwd, self.user_home)
            payload = payload_of(session.spec, said, session.native_id)
            kind = session.spec.events[name].kind
            settings, reason = hooksettings.rules(self.home, self.env, (cwd, root, marker), described, kind, payload)
            if reason:
                yield None
                continue
            yield Event(
                id=event_id(session.spec.name, said),
                at=datetime.fromtimestamp(said.at / 1000, timezone.utc),
                agent=session.spec.name,
                event=name,
                cwd=cwd,
                root=root,
                marker=marker,
                payload=json.loads(emit.clean(self.home, payload, settings)),
            )


def import_sessions(
    memory: Memory,
    scope: Scope,
    *,
    agents: Sequence[str] = (),
    since: str = "",
    everywhere: bool = False,
    dry_run: bool = False,
    now: datetime,
    progress: Progress = lambda *_: None,
) -> PastReport:
    """Bring past sessions of the scope's project (or `everywhere`) in from the agents' transcripts on this machine.

    Raises InputError for an agent whose transcripts cannot be read, and for a `since` that is no date.
    """
    specs = _readable(agents)
    begin = day(since) if since else None
    if not dry_run:
        memory.ingest()  # what hooks have told comes first: it counts for more
    run = _Run(memory, scope, everywhere=everywhere, now=now)
    sessions = run.sessions(specs, begin, progress)
    sources: dict[tuple[str, str], PastSource] = {}
    waiting = 0
    for number, session in enumerate(sessions):
        progress("reading", number, len(sessions))
        events = list(run.events(session))
        kept = [event for event in events if event]
        key = (session.spec.name, session.place.id)
        source = sources.get(key) or PastSource(
            agent=key[0], project=session.place.name or "general", folder=session.place.root
        )
        sources[key] = _counted(source, kept, len(events) - len(kept), known=run.known(session) is not None)
        if dry_run or not kept:
            continue
        run.spool(kept)
        waiting += len(kept)
        if waiting >= CHUNK:
            memory.ingest()
            waiting = 0
    if waiting:
        memory.ingest()
    stored, pages = (0, 0) if dry_run else run.done(sessions)
    ordered = sorted(sources.values(), key=lambda one: (one.project, one.agent))
    return PastReport(
        sources=tuple(ordered),
        skipped=run.skipped,
        stored=stored,
        pages=pages,
        dry_run=dry_run,
    )


def payload_of(spec: AgentSpec, said: Said, session: str) -> dict[str, Any]:
    """Return what the agent's hook would have been given, with everything where its description looks for it."""
    payload: dict[str, Any] = {}
    for name, value in {"session": session, "cwd": said.cwd, **said.fields}.items():
        *folders, last = spec.fields.get(name, (name,))[0].split(".")
        table = payload
        for folder in folders:
            inner = table.setdefault(folder, {})
            table = inner if isinstance(inner, dict) else table
        table[last] = value
    return payload


def event_id(agent: str, said: Said) -> str:
    """Return the id of an imported event: the same at every run, also where a copied transcript repeats it."""
    mark = blake2b(f"{agent}\x1f{said.kind}\x1f{said.id}".encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{said.at * 1_000_000:020d}{PAST}{mark}"


def _event_name(spec: AgentSpec, kind: EventKind) -> str:
    """Return the agent's event of a kind; one without an event for failures tells of them as of any tool use."""
    for wanted in (kind, "post-tool") if kind == "tool-failure" else (kind,):
        for name, event in spec.events.items():
            if event.kind == wanted:
                return name
    return ""


def _readable(names: Iterable[str]) -> list[AgentSpec]:
    """Return the agents that are meant. Raises InputError."""
    readable = [spec for spec in all_specs().values() if spec.transcripts]
    chosen = [find_spec(name) for name in names]
    for spec in chosen:
        if spec not in readable:
            known = ", ".join(one.name for one in readable)
            raise InputError(f"the transcripts of {spec.title} cannot be read; those of these can: {known}")
    return chosen or readable


def _files(spec: AgentSpec, user: str, env: Mapping[str, str]) -> Iterator[tuple[Path, int]]:
    """Yield an agent's transcripts, each with how many there are."""
    target = Target(user_home=Path(user), env=env)
    patterns = spec.transcripts.user.get(target.os, ()) if spec.transcripts else ()
    found: dict[Path, None] = {}
    for pattern in patterns:
        folder, rest = place_of(pattern, spec, target)
        found |= dict.fromkeys(sorted(path for path in folder.glob(rest) if path.is_file()))
    yield from ((path, len(found)) for path in found)


def _counted(source: PastSource, kept: Sequence[Event], excluded: int, *, known: bool) -> PastSource:
    if not kept:
        return source.model_copy(update={"excluded": source.excluded + excluded})
    first, last = kept[0].at, kept[-1].at
    return source.model_copy(
        update={
            "sessions": source.sessions + 1,
            "known": source.known + known,
            "events": source.events + len(kept),
            "excluded": source.excluded + excluded,
            "first": min(source.first or first, first),
            "last": max(source.last or last, last),
        }
    )


def day(text: str) -> datetime:
    """Read a date, or a time, in UTC where it says no zone. Raises InputError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"'{text}' is not a date like 2026-11-01") from error
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
