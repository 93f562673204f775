"""`RemoteMemory`: Memory on a server, and the choice between it and `LocalMemory`.

A client keeps nothing but its spool, which goes to the server before anything is asked; what its folders are is found
out here and told with every question.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from pydantic import ValidationError

from ai_memory_mcp.alive import agent_pid, far_pid
from ai_memory_mcp.away import delivered_at, paused
from ai_memory_mcp.book import Book
from ai_memory_mcp.config import Config, environment, home_folder, load_config, server_token, user_home
from ai_memory_mcp.endpoints import FRESH_HEADER, LONG, PREFIX, endpoint, only_reads
from ai_memory_mcp.errors import AccessError, InputError, ServerError, StorageError
from ai_memory_mcp.memory import Memory, Progress
from ai_memory_mcp.model import Consolidation, ImportReport, IngestReport, Scope, Status
from ai_memory_mcp.spool import Spool

if TYPE_CHECKING:
    from ai_memory_mcp.deliver import Delivery
    from ai_memory_mcp.link import Link
    from ai_memory_mcp.local import LocalMemory

P = ParamSpec("P")
R = TypeVar("R")

EVENTS = 4_000  # events that are delivered before a question; the next one goes on
INGEST_WAIT = 30.0  # seconds
LONG_WAIT = 3600.0  # seconds for what takes long on a large memory
JUST_NOW = 5.0  # seconds within which the server has taken in what was delivered


def open_memory() -> LocalMemory | RemoteMemory:
    """Open the memory that settings name: that of a server, else this machine's. Raises ConfigError."""
    env = environment()
    home = home_folder(env)
    config = load_config(home, env)
    if config.server.url:
        return open_remote(home, config)
    from ai_memory_mcp.local import open_local

    return open_local(home)


def open_remote(home: Path, config: Config) -> RemoteMemory:
    """Open the memory of the server that is configured. Raises ConfigError."""
    from ai_memory_mcp.link import Link  # 40 ms, for clients only

    env = environment()
    return RemoteMemory(home, user_home(env), Link(config.server.url, server_token(home, config, env)))


def _asks(method: Callable[Concatenate[Memory, P], R]) -> Callable[Concatenate[RemoteMemory, P], R]:
    """Return a method that asks the server for what this one of `Memory` says."""
    name = method.__name__
    bound = signature(method)

    def ask(self: RemoteMemory, /, *args: P.args, **kwargs: P.kwargs) -> R:
        given = bound.bind(self, *args, **kwargs).arguments
        answer: R = self.ask(name, {key: value for key, value in given.items() if key != "self"})
        return answer

    ask.__name__, ask.__doc__ = name, method.__doc__
    return ask


class RemoteMemory:
    """Memory on a server. Holds no connection between calls."""

    WAIT = 2.0  # seconds that a question waits for another delivery of this machine

    def __init__(self, home: Path, user_home: str, link: Link) -> None:
        self.home = home
        self.link = link
        self._spool = Spool(home)
        self._book = Book(home, user_home)
        self._delivered = False

    resolve = _asks(Memory.resolve)
    search = _asks(Memory.search)
    read = _asks(Memory.read)
    write = _asks(Memory.write)
    history = _asks(Memory.history)
    revert = _asks(Memory.revert)
    feedback = _asks(Memory.feedback)
    forget = _asks(Memory.forget)
    purge_project = _asks(Memory.purge_project)
    scrub = _asks(Memory.scrub)
    recent = _asks(Memory.recent)
    handoffs = _asks(Memory.handoffs)
    leave_handoff = _asks(Memory.leave_handoff)
    accept_handoff = _asks(Memory.accept_handoff)
    close_handoff = _asks(Memory.close_handoff)
    brief = _asks(Memory.brief)
    sessions = _asks(Memory.sessions)
    projects = _asks(Memory.projects)
    enrich = _asks(Memory.enrich)
    contradictions = _asks(Memory.contradictions)
    lint = _asks(Memory.lint)
    rename_project = _asks(Memory.rename_project)
    move_project = _asks(Memory.move_project)
    merge_projects = _asks(Memory.merge_projects)
    reindex = _asks(Memory.reindex)

    def status(self, scope: Scope, *, figures: bool = True) -> Status:
        """Counts, capture accounting, health: the server's, and what waits here."""
        found: Status = self.ask("status", {"scope": scope, "figures": figures})
        aside = list(self._spool.kept_aside())
        here = {"pending": self._spool.pending(), "set_aside": len(aside)}
        problems = (*found.problems, *(f"set aside here: {name}: {reason}" for name, reason in aside[:5]))
        spool = {key: found.spool.get(key, 0) + count for key, count in here.items()}
        return found.model_copy(update={"spool": spool, "problems": problems})

    def ingest(self, scope: Scope | None = None) -> IngestReport:
        """Deliver what waits here, and have the server take it in."""
        done = self._deliver(wait=INGEST_WAIT)
        report: IngestReport = self.ask("ingest", {"scope": scope})
        return report.model_copy(
            update={"delivered": done.sent, "set_aside": report.set_aside + done.set_aside},
        )

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
        """Have the server compile a session now; its language model is asked."""
        given = {"scope": scope, "session": session, "every": every, "dry_run": dry_run, "wait": wait}
        found: tuple[Consolidation, ...] = self.ask("consolidate", given)
        return found

    def import_markdown(
        self, scope: Scope, folder: Path, *, dry_run: bool = False, progress: Progress = lambda *_: None
    ) -> ImportReport:
        """Send the Markdown files below a folder of this machine, and have them brought in as pages, in one commit."""
        from ai_memory_mcp.sending import send_folder

        sent = send_folder(self.link, folder, self.home, progress)
        given = {"scope": scope, "folder": Path(sent.id), "dry_run": dry_run}
        report: ImportReport = self.ask("import_markdown", given)
        skipped = {**report.skipped, **sent.skipped}
        here = {"folder": sent.folder, "skipped": dict(sorted(skipped.items())), "other_files": sent.others}
        return report.model_copy(update=here)

    def tick(self, wait: float = 0.0) -> None:
        """Deliver what waits, if anything does and the server was not away a moment ago; silent when it is.

        Another delivery is given `wait` seconds to end.
        """
        if self._spool.pending() and not paused(self.home, now=time.time()):
            try:
                self._deliver(wait=wait)
            except (ServerError, AccessError, StorageError):  # it stays in the spool; `away.json` says why
                return

    def close(self) -> None:
        """Sweep up after killed writers, where nobody waits behind a delivery."""
        if self._delivered:
            from ai_memory_mcp.settle import sweep_home

            sweep_home(self.home)

    def ask(self, name: str, given: dict[str, Any]) -> Any:
        """Call a method of `Memory` on the server. Raises what it raises there; ServerError when it is away."""
        self._fresh()
        end = endpoint(name)
        reads = only_reads(name, given)
        told = {key: self._told(value, keep=not reads) for key, value in given.items()}
        try:
            values = end.arguments.model_validate(told).model_dump(mode="json")
        except ValidationError as error:
            raise InputError(f"{name}: {error.errors(include_input=False, include_url=False)[0]['msg']}") from error
        body = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
        try:
            return end.result.validate_json(self._post(name, body, again=reads))
        except ValidationError as error:
            raise ServerError(f"{self.link.url} runs another version; upgrade the older one of the two") from error

    def _post(self, name: str, body: bytes, *, again: bool) -> bytes:
        from ai_memory_mcp.link import BrokenOff

        headers = {FRESH_HEADER: "1"} if time.time() - delivered_at(self.home) < JUST_NOW else {}
        answer = LONG_WAIT if name in LONG else None
        try:
            return self.link.post(PREFIX + name, body, headers, answer=answer)
        except BrokenOff:
            if not again:
                raise
        return self.link.post(PREFIX + name, body, headers)  # it may have been started anew

    def _told(self, value: Any, *, keep: bool) -> Any:
        """Return an argument as the server needs it: of a folder, what it is and not where."""
        if not isinstance(value, Scope):
            return value
        origin = None if value.project else self._book.origin(value.cwd, keep=keep)
        pid = far_pid(self._book.machine(), agent_pid())
        return value.model_copy(update={"cwd": "", "origin": origin, "pid": pid})

    def _fresh(self) -> None:
        """Deliver what was spooled before a question, so that its answer knows of it."""
        if self._spool.pending():
            from ai_memory_mcp.link import Overloaded

            try:
                self._deliver(wait=self.WAIT, most=EVENTS)
            except (AccessError, Overloaded, StorageError):
                return  # a token that only reads, a delivery at work: no reason not to answer

    def _deliver(self, *, wait: float, most: int | None = None) -> Delivery:
        from ai_memory_mcp.deliver import Client, deliver

        client = Client(self.home, self._spool, self._book, self.link)
        self._delivered = True
        return deliver(client, now=time.time(), wait=wait, most=most)
