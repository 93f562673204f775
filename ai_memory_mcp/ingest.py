"""Ingest: spooled events become observations in journal and index, exactly once; then what follows is settled.

One ingest at a time (`locks/ingest.lock`). Order within a batch: journal (synced), index (committed), then the
spool entries go. Killed anywhere, the next run finds the entries again and knows what is already there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from ai_memory_mcp import formats, registry, reindex, sessions, unstored
from ai_memory_mcp.agents.spec import SERVER_KEY, AgentSpec, named_spec, pick
from ai_memory_mcp.alive import GONE
from ai_memory_mcp.errors import ProjectError, StorageError
from ai_memory_mcp.files import locked, remove
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.rows import SessionRow, millis
from ai_memory_mcp.journal import UNSTORED
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.llm_queue import Queue
from ai_memory_mcp.model import PAST, Event, IngestReport, Observation, Origin, Project
from ai_memory_mcp.observe import TIMED, observe
from ai_memory_mcp.project import Identity, branch_of, from_origin, identify, remote_id
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.spool import Entry
from ai_memory_mcp.tombstones import Tombstone, path_mark

BATCH = 1000  # events per index transaction: searches are never kept waiting long
DOUBLE = 5_000  # ms within which the same event without ids of its own is a double delivery
_FOLLOWERS = ("session-end", "stop", "subagent-stop", "pre-compact", "post-compact", "notification", "other")

_WORK = ("user-prompt", "pre-tool", "post-tool", "tool-failure")
_BETWEEN = {  # what must not lie between two events of these kinds that are one
    "session-start": ("session-end", "pre-compact"),
    "session-end": ("session-start", *_WORK),
    "pre-compact": ("post-compact", *_WORK),
    "post-compact": ("pre-compact",),
}


@dataclass(frozen=True)
class Place:
    """Where an event happened: what emit found, and the project that is."""

    root: str
    marker: str
    project: Project
    identity: Identity


@dataclass
class Batch:
    """What one batch will append, and counts of what became of its events."""

    ledger: Ledger
    lines: dict[str, list[str]] = field(default_factory=dict)
    report: dict[str, int] = field(default_factory=dict)
    aside: list[tuple[Entry, str]] = field(default_factory=list)
    keys: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    compacted: set[tuple[str, str]] = field(default_factory=set)  # (session, project)
    heard: dict[str, tuple[int, int] | None] = field(default_factory=dict)  # session -> Unix ms, see `_told_live`

    def write(self, name: str, record: dict[str, Any]) -> None:
        """Apply a record and have it appended to a journal file."""
        self.ledger.apply(record)
        self.lines.setdefault(name, []).append(json.dumps(record, ensure_ascii=False))

    def observe(self, name: str, observation: Observation) -> None:
        """The same for an observation, without the detour through a dict: this is the hot loop."""
        self.ledger.observe(observation)
        line = observation.model_dump_json(exclude_defaults=True)
        self.lines.setdefault(name, []).append('{"type":"observation",' + line[1:])

    def count(self, what: str) -> None:
        """Count one event."""
        self.report[what] = self.report.get(what, 0) + 1


class Places:
    """Finds the project of events, each place once per run; new projects become known on the way."""

    def __init__(self, res: Resources, now: datetime) -> None:
        self.res = res
        self.now = now
        self.found: dict[tuple[str, str, Origin | None], Place] = {}
        self.erased: dict[tuple[str, str, Origin | None], datetime | None] = {}
        self.known: list[Project] = []

    def of(self, event: Event) -> Place:
        """Return the place of an event. Raises AiMemoryError when its `.ai-memory.toml` does not parse."""
        key = (event.root, event.marker, event.origin)
        place = self.found.pop(key) if key in self.found else self._look_up(event)
        self.found[key] = place  # the one seen last comes last
        return place

    def works_here(self, event: Event, native: str) -> bool:
        """Tell whether an agent's session, which was taken out of a project, lives on in the one of this event."""
        with self.res.index.read() as db:
            alive = {row.project for row in rows.native_sessions(db, event.agent, native)}
            known = [project for project in rows.projects(db) if project.id in alive]
        identity = self._identity(event) if known else None
        if identity is None:
            return False
        return spec_of(event.agent).kind_of(event.event) in _FOLLOWERS or registry.find(identity, known) is not None

    def purged(self, event: Event) -> datetime | None:
        """Return when the project that this event is of was erased, None where it never was."""
        key = (event.root, event.marker, event.origin)
        if key not in self.erased:
            stones = self.res.tombstones
            identity = self._identity(event) if stones.ids("project") else None
            marks = [identity.id, *map(remote_id, filter(None, [identity.remote]))] if identity else []
            marks += [path_mark("", home) for home in (*identity.homes, identity.root)] if identity else []
            found = [stone.at for mark in marks if (stone := stones.has("project", mark))]
            self.erased[key] = max(found, default=None)
        return self.erased[key]

    def _identity(self, event: Event) -> Identity | None:
        at = max(event.root, os.path.dirname(event.marker), key=len) or event.cwd
        try:
            return from_origin(event.origin) if event.origin else identify(at, self.res.user_home)
        except ProjectError:  # told where its place is looked up
            return None

    def _look_up(self, event: Event) -> Place:
        if not self.known:
            with self.res.index.read() as db:
                self.known = rows.projects(db)
        known = self.known
        at = max(event.root, os.path.dirname(event.marker), key=len) or event.cwd
        identity = from_origin(event.origin) if event.origin else identify(at, self.res.user_home)
        project = None if event.origin else registry.of_gone(event.root, event.marker, known)
        if project is None:
            try:
                project = registry.make_known(self.res, identity, known, now=self.now)
            except StorageError:  # its wiki refuses just now: that is no reason to keep the event waiting
                project = registry.find(identity, known)
                if project is None:
                    raise
            if identity.git_dir and not identity.id:  # its id file was written just now: the stamps have to know that
                identity = identify(at, self.res.user_home)
        if project not in known:
            self.known = []
        return Place(event.root, event.marker, project, identity)


def drain(res: Resources, *, now: datetime, limit: int | None = None) -> tuple[IngestReport, list[Place]]:
    """Take the spool in, oldest first, at most about `limit` events. The caller holds the ingest lock.

    Returns counts and the places seen. Raises StorageError when the disk refuses; what is not stored then stays.
    """
    formats.version(res.home)  # while this waited for the lock, a restore may have been killed in the middle
    places = Places(res, now)
    total: dict[str, int] = {}
    reindex.catch_up(res)
    left = limit or sys.maxsize
    while left > 0 and (names := res.spool.names()[:left]):
        for entries in _batches(res, names):
            report = _take_in(res, entries, places)
            for key, count in report.items():
                total[key] = total.get(key, 0) + count
            left -= len(entries)
            if left <= 0:
                break
    if unstored.is_long(res):
        with suppress(StorageError):  # nothing is lost by that
            unstored.sum_up(res)
    return IngestReport(**total), list(places.found.values())


def _batches(res: Resources, names: list[str]) -> Iterator[list[Entry]]:
    """Yield the entries of these files in lists of about BATCH, no file in two."""
    entries: list[Entry] = []
    for name in names:
        entries += res.spool.read([name])
        if len(entries) >= BATCH:
            yield entries
            entries = []
    if entries:
        yield entries


def lock(res: Resources, timeout: float) -> Any:
    """Return the lock that one ingest at a time holds."""
    return locked(res.home / "locks" / "ingest.lock", timeout=timeout)


def _take_in(res: Resources, entries: list[Entry], places: Places) -> dict[str, int]:
    """Store one batch: journal, then index, then the spool entries go."""
    if res.tombstones.ids("session") or res.tombstones.ids("project"):
        entries = [_unless_gone(res, places, entry) for entry in entries]
    prepared = [(entry, _place(places, entry)) for entry in entries]
    with res.index.write() as db:
        batch = Batch(Ledger(db))
        known = rows.known_events(db, [entry.id for entry in entries])
        for entry, place in prepared:
            if entry.id not in known:
                if _take_one(res, batch, entry, place):
                    known.add(entry.id)
            elif (
                entry.event
                and isinstance(place, Place)
                and spec_of(entry.event.agent).kind_of(entry.event.event) == "session-end"
            ):
                _end_everywhere(res, batch, entry.event)  # a crash may have come before it was written everywhere
        for name, lines in batch.lines.items():
            rows.set_file_size(db, name, res.journal.append(name, lines))
        batch.ledger.flush()
    for entry, reason in batch.aside:
        res.spool.set_aside(entry, reason)
    for project_id in {place.project.id for _, place in prepared if isinstance(place, Place)}:
        # a brief from before these events must not pass for fresh once the spool is empty; `settle` renders it anew
        remove(res.home / "brief" / f"{project_id}.json")
    if res.config.llm.by_itself:
        for session, project_id in sorted(batch.compacted):
            Queue(res.home).add(session, project_id)
    res.spool.drop(entries)
    return batch.report


def _unless_gone(res: Resources, places: Places, entry: Entry) -> Entry:
    """Return an entry, empty where it is of a session that was taken out of memory: it counts as filtered."""
    event = entry.event
    if event is None or event.problem or event.filtered or event.event == GONE:
        return entry
    native = _native(event, spec_of(event.agent))
    mark = sessions.native_mark(event.agent, native)
    if res.tombstones.has("session", mark):
        gone = not places.works_here(event, native)
    else:
        since = places.purged(event)
        gone = since is not None and event.at <= since
        if gone and since:  # of a session that nobody knew of then: what it goes on with is not wanted either
            res.tombstones.add([Tombstone(kind="session", id=mark, why="erased", at=since)])
    told = {"filtered": "of a session that was taken out of memory", "payload": {}, "offered": ""}
    return replace(entry, event=event.model_copy(update=told)) if gone else entry


def _place(places: Places, entry: Entry) -> Place | str:
    """Return where an entry's event happened, or why that cannot be said."""
    if not entry.event or entry.event.problem or entry.event.filtered:
        return entry.problem
    try:
        return places.of(entry.event)
    except ProjectError as error:
        return str(error)


def _take_one(res: Resources, batch: Batch, entry: Entry, place: Place | str) -> bool:
    """Store one event. Returns False when it was set aside: it may be tried again."""
    event = entry.event
    if event and event.filtered:
        _not_stored(batch, entry.id, "filtered", "", event.filtered)
        return True
    if event is None or isinstance(place, str):
        reason = (event.problem if event else "") or str(place)
        if not rows.is_aside(batch.ledger.db, entry.id):  # tried again in vain, or a crash came before it was moved
            _not_stored(batch, entry.id, "set_aside", "", reason)
        batch.aside.append((entry, reason))
        return False
    spec = spec_of(event.agent)
    if event.event == GONE:
        _end_with_agent(res, batch, event)
        return True
    if is_own_tool(str(pick(event.payload, spec.fields.get("tool", ()))), spec):
        _not_stored(batch, event.id, "filtered", place.project.id, "memory's own tool: what it says is stored already")
        return True
    if PAST in event.id and (_told_live(batch, event, spec) or _gone(res, event, spec, place)):
        return True
    row = _session(res, batch, event, spec, place)
    name = res.journal.name_of(row.project, row.id)
    if event.offered:
        batch.write(name, _offer(event, row))
        return True
    observation = observe(event, spec, row.id)
    if _double(batch, observation):
        _not_stored(batch, event.id, "duplicates", row.project)
        return True
    if event.pid != row.pid:  # a resumed session runs in another process
        observation = observation.model_copy(update={"pid": event.pid})
    batch.observe(name, observation)
    batch.count("ingested")
    if observation.kind == "session-end":
        _end_everywhere(res, batch, event)
    if observation.kind == "pre-compact" and not observation.subagent and not row.past:
        batch.compacted.add((row.id, row.project))
    return True


def _offer(event: Event, row: SessionRow) -> dict[str, Any]:
    return {
        "type": "offer",
        "id": event.id,
        "session": row.id,
        "handoff": event.offered,
        "at": event.at.isoformat(),
    }


def spec_of(agent: str) -> AgentSpec:
    """Return the agent's description; an agent without one is still captured, by the commonest field names."""
    known, usual = named_spec(agent), named_spec("claude-code")
    return known or AgentSpec(name=agent, title=agent, fields=usual.fields if usual else {})


def is_own_tool(name: str, spec: AgentSpec) -> bool:
    """Tell whether a tool is one of this memory's own, by the name that the agent has for it."""
    return SERVER_KEY in name or any(fnmatchcase(name, pattern) for pattern in spec.own_tools)


def _not_stored(batch: Batch, event_id: str, why: str, project: str, reason: str = "") -> None:
    """Count an event that leaves no observation, durably and once."""
    record = {"type": "unstored", "id": event_id, "why": why, "project": project, "reason": reason}
    batch.write(UNSTORED, record)
    batch.count(why)


def _session(res: Resources, batch: Batch, event: Event, spec: AgentSpec, place: Place) -> SessionRow:
    """Return the session of an event, begun if need be.

    What only follows (an end, a stop) goes to where the agent's session was last active; so does work in a folder
    that is no project of its own (a temporary folder, a folder below the session's). Other work stays with the
    project it happened in, whatever the session was started for.
    """
    native = _native(event, spec)
    natives = batch.ledger.natives(event.agent, native)
    here = next((row for row in natives if row.project == place.project.id), None)
    homeless = place.identity.by in ("none", "folder")
    if natives and (spec.kind_of(event.event) in _FOLLOWERS or event.offered or homeless):
        return natives[0] if homeless or not here else here
    if here:
        return here
    row = SessionRow(
        id=sessions.session_id(event.agent, native, place.project.id),
        agent=event.agent,
        native_id=native,
        project=place.project.id,
        started=event.at,
        last=event.at,
        cwd=event.cwd,
        branch=_branch(event, place.identity),
        pid=event.pid,
    )
    header = {"type": "session", **row.plain().model_dump(mode="json", exclude_defaults=True)}
    batch.write(res.journal.name_of(row.project, row.id), header)
    return row


def _branch(event: Event, identity: Identity) -> str:
    if PAST in event.id:  # what is checked out now says nothing of then
        return ""
    if event.origin:
        return event.origin.branch
    return branch_of(identity.root) if identity.root else ""


def _told_live(batch: Batch, event: Event, spec: AgentSpec) -> bool:
    """Tell whether an imported event is of a time in which hooks told of its session.

    They have stored it then, or were told not to. Their ids need not be those of the transcript, nor their words.
    """
    at = millis(event.at)
    for row in batch.ledger.natives(event.agent, _native(event, spec)):
        if row.pruned and at <= millis(row.pruned) + DOUBLE:  # what was stored of that time has had its time
            return True
        if row.id not in batch.heard:
            batch.heard[row.id] = rows.heard_live(batch.ledger.db, row.id)
        span = batch.heard[row.id]
        if span and span[0] - DOUBLE <= at <= span[1] + DOUBLE:
            return True
    return False


def _gone(res: Resources, event: Event, spec: AgentSpec, place: Place) -> bool:
    """Tell whether somebody has taken the session of an imported event out of memory, or its project up to then."""
    session = sessions.session_id(event.agent, _native(event, spec), place.project.id)
    project = res.tombstones.has("project", place.project.id)
    if project and event.at <= project.at:
        return True
    return any(res.tombstones.has("session", session, where) for where in ("", place.project.id))


def _double(batch: Batch, observation: Observation) -> bool:
    """Tell whether the session already has this event: the same ids, or the same content at the same moment."""
    at = millis(observation.at)
    seen = batch.keys.get((observation.session, observation.key))
    if seen is None:
        seen = rows.times_of_key(batch.ledger.db, observation.session, observation.key)
        batch.keys[observation.session, observation.key] = seen
    if _is_double(batch, observation, at, seen):
        return True
    seen.append(at)
    return False


def _is_double(batch: Batch, observation: Observation, at: int, seen: list[int]) -> bool:
    """Judge by what lies between: a start after an end is a new one, however soon, and so is an end after work.

    One turn may compact several times, or try to, and begins again after each of them.
    """
    if observation.tool_use or (observation.turn and observation.kind not in TIMED):
        return bool(seen)
    near = [other for other in seen if abs(at - other) <= DOUBLE]
    between = _BETWEEN.get(observation.kind)
    if not near or not between:
        return bool(near)
    return not rows.any_between(batch.ledger.db, observation.session, between, max(near), at)


def _end_everywhere(res: Resources, batch: Batch, event: Event) -> None:
    """The end of an agent's session ends it in every project it worked in."""
    _end(res, batch, event, batch.ledger.natives(event.agent, _native(event, spec_of(event.agent))))


def _end_with_agent(res: Resources, batch: Batch, event: Event) -> None:
    """End what the agent has left open: the session it named, else the only one in its process.

    A server is told its session when it starts, and that may be another one than the agent goes on with.
    """
    native = event.payload.get("session_id")
    named = batch.ledger.natives(event.agent, native) if isinstance(native, str) and native else []
    running = batch.ledger.running(event.agent, event.pid) if all(row.over for row in named) else []
    _end(res, batch, event, named + (running if len({row.native_id for row in running}) == 1 else []))


def _end(res: Resources, batch: Batch, event: Event, ending: Sequence[SessionRow]) -> None:
    for row in ending:
        if not row.over and row.last - event.at <= sessions.OUTLIVES:
            end = {"type": "end", "id": event.id, "session": row.id, "at": event.at.isoformat()}
            batch.write(res.journal.name_of(row.project, row.id), end)


def _native(event: Event, spec: AgentSpec) -> str:
    """Return the agent's own id of the session; events of a process that told none are one session a day."""
    places = ("session_id",) if event.offered else spec.fields.get("session", ("session_id",))
    told = pick(event.payload, places)
    return told if isinstance(told, str) and told else f"unknown-{event.at.date()}-{event.pid}"
