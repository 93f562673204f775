"""Delivering: the events in the spool of this machine go to the server, in order, and briefs come back.

An entry leaves the spool when the server has it on its disk. Resent after a crash in between, it is recognised there
by its id and counts once. What the server has to know of this machine's folders goes with each event (`origin`).
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from ai_memory_mcp import brief
from ai_memory_mcp.agents.spec import named_spec
from ai_memory_mcp.alive import far_pid, near_pid
from ai_memory_mcp.away import nonce_file, pause, resume
from ai_memory_mcp.book import Book, origin_of
from ai_memory_mcp.endpoints import BRIEF, HOOK, NONCE
from ai_memory_mcp.errors import AiMemoryError, ProjectError, ServerError
from ai_memory_mcp.files import locked, write_atomic
from ai_memory_mcp.link import Link, TooLarge
from ai_memory_mcp.model import Event, Origin, Taken
from ai_memory_mcp.spool import Entry, Spool

BATCH = 200  # events
BATCH_BYTES = 512 * 2**10  # nginx takes a megabyte unless it is told otherwise
BRIEFS = 3  # places whose briefs are fetched after a delivery: those seen last
KEPT = 60.0  # seconds for which the copy of a brief is new enough where an agent only works
TELLING = ("session-start", "user-prompt", "session-end", "other")  # kinds that ask for the brief, or change it
FRESH = 3.0  # seconds for which a copy of a brief may count as the newest, for the starts that have waited for it

Places = dict[tuple[str, str], tuple[str, Origin]]  # (root, marker) -> a folder in it, and which project it is


@dataclass(frozen=True)
class Client:
    """One machine as the client of a server."""

    home: Path
    spool: Spool
    book: Book
    link: Link

    @classmethod
    def at(cls, home: Path, user_home: str, link: Link) -> Client:
        """Name the parts of a home folder."""
        return cls(home, Spool(home), Book(home, user_home), link)


@dataclass
class Delivery:
    """What one delivery did, and the places that events came from, the one seen last at the end; of those in `telling`
    the brief is asked for, or another one by now."""

    sent: int = 0
    set_aside: int = 0
    places: Places = field(default_factory=dict)
    telling: set[tuple[str, str]] = field(default_factory=set)


def deliver(client: Client, *, now: float, wait: float, most: int | None = None) -> Delivery:
    """Give the server what waits in the spool, oldest first, at most about `most` events, and fetch the briefs.

    Waits `wait` seconds for another delivery to end (StorageError). Raises what keeps the server from taking events
    (ServerError, AccessError …): they stay, and the next delivery is put off, see `away`.
    """
    done = Delivery()
    with locked(client.home / "locks" / "deliver.lock", timeout=wait):
        try:
            names = client.spool.names()[:most]
            nonce = _new_nonce(client) if names else ""
            while names:
                names = names[_send_some(client, names, nonce, done) :]
            if done.sent:
                _fetch_briefs(client, done, now=now)
        except AiMemoryError as error:
            pause(client.home, str(error), now=now)
            raise
        if done.sent:
            resume(client.home)
    return done


def _send_some(client: Client, names: list[str], nonce: str, done: Delivery) -> int:
    """Deliver one batch from the beginning of these; returns how many files are dealt with.

    A file is never in two batches, and goes only when all its events are with the server or set aside.
    """
    batch: list[tuple[Entry, bytes]] = []
    seen: list[Entry] = []
    size = dealt = 0
    for name in names[:BATCH]:
        size += client.spool.size(name)
        if batch and size > BATCH_BYTES:
            break
        for entry in client.spool.read([name]):
            seen.append(entry)
            packed = _packed(client, entry, done)
            if packed is not None:
                batch.append((entry, packed))
        dealt += 1
    if batch:
        _send(client, batch, nonce, done)
    client.spool.drop(seen)
    return dealt


def _packed(client: Client, entry: Entry, done: Delivery) -> bytes | None:
    """Return an event as it goes to the server; None when it is none, or nobody can say whose: it is set aside."""
    event, problem = entry.event, entry.problem
    try:
        if event is not None:
            return _with_origin(client, event, done).model_dump_json().encode()
    except ProjectError as error:
        problem = str(error)
    _set_aside(client, entry, problem, done)
    return None


def _with_origin(client: Client, event: Event, done: Delivery) -> Event:
    pid = far_pid(client.book.machine(), event.pid)
    if event.problem or event.filtered:  # nothing of it is stored but that it was there
        return event.model_copy(update={"pid": pid})
    place = (event.root, event.marker)
    known = done.places.pop(place) if place in done.places else None
    origin = known[1] if known else client.book.origin_of_event(event)
    done.places[place] = (event.cwd, origin)
    spec = named_spec(event.agent)
    if spec is None or spec.kind_of(event.event) in TELLING:
        done.telling.add(place)
    return event.model_copy(update={"pid": pid, "origin": origin})


def _send(client: Client, batch: list[tuple[Entry, bytes]], nonce: str, done: Delivery) -> None:
    """Have the server take a batch, in halves where it is too large; what it refuses is set aside."""
    body = b'{"events":[' + b",".join(packed for _, packed in batch) + b"]}"
    try:
        taken = Taken.model_validate_json(client.link.post(HOOK, body, {NONCE: nonce}))
    except TooLarge as error:
        if len(batch) == 1:
            _set_aside(client, batch[0][0], f"too large for the server: {error}", done)
            return
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            _send(client, half, nonce, done)
        return
    except ValidationError as error:
        raise _nonsense(client) from error
    for number, (entry, _) in enumerate(batch):
        if number in taken.refused:
            _set_aside(client, entry, f"refused by the server: {taken.refused[number]}", done)
    done.sent += len(batch) - len(taken.refused)


def _set_aside(client: Client, entry: Entry, reason: str, done: Delivery) -> None:
    client.spool.set_aside(entry, reason)
    done.set_aside += 1


def _new_nonce(client: Client) -> str:
    """Leave a word in this home that only who works on the very same home can find: then nothing may be delivered."""
    nonce = secrets.token_hex(16)
    write_atomic(nonce_file(client.home), nonce.encode())
    return nonce


# --- briefs


def _fetch_briefs(client: Client, done: Delivery, *, now: float) -> None:
    for (root, marker), (cwd, _) in list(done.places.items())[-BRIEFS:]:
        if (root, marker) in done.telling or not 0 <= now - brief.asked(client.home, root, marker) < KEPT:
            with suppress(ProjectError):  # its `.ai-memory.toml` does not parse: nothing is told there
                fetch_brief(client, root, marker, cwd, now=now)


def fetch_brief(client: Client, root: str, marker: str, cwd: str, *, now: float) -> None:
    """Fetch what a session in a place is told at its start, to where the hook looks. Raises what the server says."""
    identity, project = client.book.look(max(root, os.path.dirname(marker), key=len) or cwd)
    answer = client.link.post(BRIEF, origin_of(identity, project).model_dump_json().encode())
    try:
        parts: dict[str, Any] = json.loads(answer)
        project_id = str(UUID(parts["project"]))  # it becomes a file's name
        until = min(float(parts["until"]), now + FRESH)
        running = [{**one, "pid": near_pid(client.book.machine(), int(one["pid"]))} for one in parts["open"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _nonsense(client) from error
    brief.note_places(client.home, [(root, marker, project_id, identity.stamps)])
    # `asked`: for a start after that it is of before, and another machine may have gone on meanwhile
    mine = {"project": project_id, "until": until, "asked": now, "open": running}
    mine["keys"] = brief.keys_of(client.home, project_id)
    brief.write_parts(client.home, {**parts, **mine})


def _nonsense(client: Client) -> ServerError:
    return ServerError(f"{client.link.url} does not answer as a server of this version does; upgrade the older one")
