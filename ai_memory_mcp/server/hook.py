"""What machines deliver and fetch: batches of spooled events, and briefs for their hooks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from ai_memory_mcp.away import nonce_file
from ai_memory_mcp.errors import AiMemoryError, InputError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Event, Origin, Scope, Taken
from ai_memory_mcp.server.access import UNTOLD, Access, call, require
from ai_memory_mcp.server.guard import Busy

MOST = 1_000  # events of one batch
MOST_WAITING = 100_000  # events that are stored and not yet taken in: a minute's work
_ID = re.compile(r"\d{20}-[0-9A-Za-z-]{1,80}")  # it becomes a file's name


def take(memory: LocalMemory, access: Access, body: bytes, nonce: str) -> Taken:
    """Store a batch: what is not refused is on the disk when this returns, and counts once however often it comes.

    Refused is what would be at any other time too; the sender keeps it aside. Raises InputError, AccessError,
    StorageError, Busy; the sender then tries again.
    """
    require(access, "take")
    if nonce and _is_own(memory, nonce):
        raise InputError(
            "this machine is told to deliver to a server that works on the very same AI_MEMORY_HOME;"
            " unset AI_MEMORY_SERVER_URL (or [server] url in config.toml) here"
        )
    if memory.res.spool.pending() > MOST_WAITING:
        raise Busy(30.0)
    good: list[Event] = []
    refused: dict[int, str] = {}
    allowed = _allowing(memory, access)
    for number, raw in enumerate(_events(body)):
        try:
            good.append(_checked(raw, allowed))
        except ValidationError as error:
            refused[number] = f"not an event: {error.errors(include_input=False)[0]['msg']}"
        except AiMemoryError as error:
            refused[number] = str(error)
    memory.take(good)
    return Taken(refused=refused)


def brief_parts(memory: LocalMemory, access: Access, body: bytes, settled: bool) -> dict[str, object] | str:
    """Return the brief for a folder of another machine, see `LocalMemory.brief_parts`. Raises AccessError."""
    scope = Scope(origin=Origin.model_validate_json(body), pid=UNTOLD)
    resolved = call(memory, access, "resolve", {"scope": scope})
    return memory.brief_parts(scope.model_copy(update={"workspace": resolved.workspace}), settled=settled)


def _is_own(memory: LocalMemory, nonce: str) -> bool:
    try:
        return nonce_file(memory.res.home).read_text(encoding="ascii") == nonce
    except (OSError, UnicodeDecodeError):
        return False


def _events(body: bytes) -> list[Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"a batch is a JSON object: {error}") from error
    events = told.get("events") if isinstance(told, dict) else None
    if not isinstance(events, list) or len(events) > MOST:
        raise InputError(f"a batch has `events`, a list of at most {MOST}")
    return events


def _checked(raw: Any, allowed: Callable[[Origin], None]) -> Event:
    """Return an event that may be stored. Raises ValidationError, AiMemoryError."""
    event = Event.model_validate(raw)
    if not _ID.fullmatch(event.id):
        raise InputError("its id is none that an event has")
    if event.origin:
        allowed(event.origin)
    elif not (event.problem or event.filtered):
        raise InputError("it does not say which project it belongs to")
    return event.model_copy(update={"pid": event.pid if event.pid >= 2**32 else 0})


def _allowing(memory: LocalMemory, access: Access) -> Callable[[Origin], None]:
    """Return a check of whether events may go where they belong, each place looked up once."""
    seen: set[Origin] = set()

    def check(origin: Origin) -> None:
        if access.workspaces and origin not in seen:
            call(memory, access, "resolve", {"scope": Scope(origin=origin)})
            seen.add(origin)

    return check
