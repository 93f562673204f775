"""The sessions that wait for the language model: `llm/waiting/`, one small file each.

Ingest adds, the worker takes away. Losing the folder loses nothing but that these sessions keep their pages by rule.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from ai_memory_mcp.errors import LlmError
from ai_memory_mcp.files import private_dir, remove, write_atomic
from ai_memory_mcp.model import Value

DELAYS = (600.0, 3600.0, 6 * 3600.0, 24 * 3600.0)  # seconds before the next try, by how often it failed
TRIES = 8
TRIES_OF_ITS_OWN = 3  # where it is the session that the model makes nothing of
NOT_ITS_FAULT = ("paused", "capped", "key", "model", "missing", "unset")  # nothing was tried
LATER = 1800.0  # seconds; then somebody may have mended it
OF_ITS_OWN = ("refused", "truncated", "garbage", "language", "request")


class Waiting(Value):
    """A session that waits, and what was tried: not again before `not_before` (Unix time), never when given up.
    `asked` says that somebody asked for it."""

    session: str
    project: str
    asked: bool = False
    tries: int = 0
    not_before: float = 0.0
    given_up: bool = False
    error: str = ""


class Queue:
    """The folder. Safe for concurrent processes as long as one at a time works off what waits."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "llm" / "waiting"

    def add(self, session: str, project: str, *, asked: bool = False) -> None:
        """Have a session wait; one that waits already begins anew, for there is more of it now."""
        self._put(Waiting(session=session, project=project, asked=asked))

    def every(self) -> list[Waiting]:
        """Return all that wait, in order of their last change, given up ones too."""
        found = []
        for path in sorted(self._folder.glob("[!.]*.json"), key=_changed):
            one = self._read(path.stem)
            found += [one] if one else []
        return found

    def due(self, now: datetime, *, asked: bool = False) -> list[Waiting]:
        """Return those to be tried now; with `asked` only those that somebody asked for."""
        ready = [one for one in self.every() if not one.given_up and one.not_before <= now.timestamp()]
        return [one for one in ready if one.asked or not asked]

    def begin(self, one: Waiting, now: datetime) -> Waiting:
        """Count a try before it is made, and return the entry: who dies of a session does not meet it again at once."""
        begun = _failed(one, LlmError("it was begun and never ended", "down"), now)
        self._put(begun)
        return begun

    def done(self, begun: Waiting) -> None:
        """Take a session away, unless it was added again since it was begun."""
        if self._read(begun.session) == begun:
            remove(self._path(begun.session))

    def put_off(self, one: Waiting, begun: Waiting, error: LlmError, now: datetime) -> None:
        """Have a session wait longer after a failure, or for good; not if it was added again since it was `begun`
        (`one` where it was not)."""
        if self._read(one.session) == begun:
            self._put(_failed(one, error, now))

    def drop(self, session: str) -> None:
        """Take a session away that somebody has seen to himself."""
        remove(self._path(session))

    def _read(self, session: str) -> Waiting | None:
        try:
            return Waiting.model_validate_json(self._path(session).read_bytes())
        except (OSError, ValidationError):  # taken by another process, or damaged
            return None

    def _put(self, one: Waiting) -> None:
        private_dir(self._folder)
        write_atomic(self._path(one.session), one.model_dump_json().encode())

    def _path(self, session: str) -> Path:
        return self._folder / f"{session}.json"


def _failed(one: Waiting, error: LlmError, now: datetime) -> Waiting:
    """Return the entry after one more try."""
    tries = one.tries + (error.kind not in NOT_ITS_FAULT)
    most = TRIES_OF_ITS_OWN if error.kind in OF_ITS_OWN else TRIES
    delay = LATER if error.kind in NOT_ITS_FAULT else max(error.wait, DELAYS[min(tries, len(DELAYS)) - 1])
    told = {
        "tries": tries,
        "not_before": now.timestamp() + delay,
        "given_up": tries >= most,
        "error": str(error)[:300],
    }
    return one.model_copy(update=told)


def _changed(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except FileNotFoundError:
        return 0, path.name
