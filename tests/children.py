"""What tests run in processes of their own: forked from a server that has the package imported already.

Nothing here imports pytest, so a child starts in milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType
from typing import Any

import dulwich.objects
import dulwich.repo
import dulwich.worktree
import filelock

from ai_memory_mcp import consolidate, embed, emit
from ai_memory_mcp.config import Config, EmbeddingConfig, SyncConfig
from ai_memory_mcp.errors import ConflictError, NotFoundError
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Project, Query, Scope
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.remote import open_memory
from ai_memory_mcp.resources import Resources

PRELOADED = (dulwich.objects, dulwich.repo, dulwich.worktree, filelock)

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["children"])


def child(target: Callable[..., None], *args: object) -> ForkServerProcess:
    """Start a function of this module in a process of its own."""
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    return process


def opened(home: str) -> LocalMemory:
    return LocalMemory(Resources.at(Path(home), str(Path(home).parent), Config()))


def accept(home: str, cwd: str, start: Any, results: Any) -> None:
    """Try to accept the waiting handoff once all are ready."""
    memory = opened(home)
    start.wait()
    try:
        memory.accept_handoff(Scope(cwd=cwd), by="x")
        results.put("taken")
    except (ConflictError, NotFoundError):
        results.put("late")
    except BaseException as error:
        results.put(repr(error))


def merged(home: str, project: str, into: str, start: Any, results: Any) -> None:
    """Merge a project into another one once all are ready."""
    memory = opened(home)
    start.wait()
    try:
        results.put(f"merged into {memory.merge_projects(Scope(project=project), into).name}")
    except BaseException as error:
        results.put(repr(error))


def ingest(home: str, results: Any) -> None:
    try:
        memory = opened(home)
        report = memory.ingest()
        memory.close()
        results.put(report.ingested)
    except BaseException as error:
        results.put(repr(error))


def ingest_until(home: str, stop: Any, results: Any) -> None:
    """Ingest again and again until told to stop."""
    errors, memory = [], opened(home)
    while not stop.is_set():
        try:
            memory.ingest()
        except BaseException as error:
            errors.append(repr(error))
    memory.close()
    results.put(errors)


def search_until(home: str, cwd: str, stop: Any, results: Any) -> None:
    errors, memory = [], opened(home)
    while not stop.is_set():
        try:
            memory.search(Scope(cwd=cwd), Query(text="question parser"))
            memory.status(Scope(cwd=cwd))
        except BaseException as error:
            errors.append(repr(error))
    results.put(errors)


def emit_many(home: str, session: str, payloads: list[tuple[str, dict[str, Any]]], results: Any) -> None:
    """Emit events as hook processes do, one after the other."""
    env = {"HOME": str(Path(home).parent), "AI_MEMORY_HOME": home}
    errors = []
    for event, payload in payloads:
        try:
            emit.store_event(home, env, "claude-code", event, {"session_id": session, **payload}, "")
        except BaseException as error:
            errors.append(repr(error))
    results.put(errors)


class Scribe:
    """Answers as a language model would, without one: for tests of what comes before and after the answer."""

    def ask(self, purpose: str, system: str, user: str, answer: Any, *, max_tokens: int) -> Any:
        queue = {"kind": "concept", "title": "The queue", "body": "It is kept by [[Use SQLite]], not in memory."}
        use = {"kind": "decision", "title": "Use SQLite", "body": "One file, no server. See [[The queue]]."}
        proposal = {"title": "Clear it hourly", "body": "It was stale within the hour."}
        told = {"headline": "Mended it", "outcome": ["The parser is mended."], "next_steps": ["Write the docs."]}
        return answer.model_validate({**told, "pages": [queue, use], "proposals": [proposal]})


def newest(memory: LocalMemory, cwd: str) -> tuple[Project, SessionRow]:
    """Return the newest session of the project of a folder."""
    project = memory.resolve(Scope(cwd=cwd)).project
    assert project
    with memory.res.index.read() as db:
        return project, rows.sessions(db, project.id, 1)[0]


def consolidate_killed(home: str, cwd: str, at: int, counted: str) -> None:
    """Consolidate the newest session and be killed as `import_killed` is."""
    memory = opened(home)
    project, row = newest(memory, cwd)
    now = datetime.now(timezone.utc)

    def work() -> None:
        with consolidate.lock(memory.res, 5):
            consolidate.consolidate(memory.res, project, row, Scribe(), Redactor(), now=now)  # type: ignore[arg-type]

    killed(work, memory, at, counted)


def consolidate_newest(home: str, cwd: str) -> None:
    """Have the newest session consolidated by what answers like a model."""
    memory = opened(home)
    project, row = newest(memory, cwd)
    now = datetime.now(timezone.utc)
    with consolidate.lock(memory.res, 5):
        consolidate.consolidate(memory.res, project, row, Scribe(), Redactor(), now=now)  # type: ignore[arg-type]
    memory.close()


def sync_killed(home: str, cwd: str, remote: str, at: int, counted: str) -> None:
    """The same with a sync of the project of a folder."""
    config = Config(sync=SyncConfig(remote=remote))
    memory = LocalMemory(Resources.at(Path(home), str(Path(home).parent), config))
    killed(lambda: memory.sync(Scope(cwd=cwd)), memory, at, counted)


def backup_killed(home: str, target: str, at: int, counted: str) -> None:
    """Back a memory up and be killed as `import_killed` is."""
    memory = opened(home)
    killed(lambda: memory.backup(Path(target)), memory, at, counted)


def import_killed(home: str, folder: str, at: int, counted: str) -> None:
    """Import Markdown into `general` and be killed at the `at`-th line executed in our own modules (0: never).

    Counts them into a file.
    """
    memory = opened(home)
    killed(lambda: memory.import_markdown(Scope(project="general"), Path(folder)), memory, at, counted)


def deliver(cwd: str) -> None:
    """As a client of a server, give it what waits here and have it taken in, and write a page."""
    memory = open_memory()
    memory.ingest()
    memory.write(Scope(cwd=cwd), Draft(title="Sent", body="From a client."))
    memory.close()


def embed_all(home: str) -> None:
    """Have everything embedded, in several batches, by what answers as a provider does."""
    from provider import provider  # here, for it is an HTTP server

    embed.ROWS = 4
    with provider() as stand_in:
        told = {"provider": "openai-compatible", "model": "m", "base_url": stand_in.base("openai")}
        config = Config(embedding=EmbeddingConfig.model_validate(told))
        memory = LocalMemory(Resources.at(Path(home), str(Path(home).parent), config))
        memory.embed()
        memory.close()


def import_markdown(home: str, folder: str, start: Any, results: Any) -> None:
    """Import once all are ready; gives how many pages are there by then, or what went wrong."""
    memory = opened(home)
    start.wait()
    try:
        report = memory.import_markdown(Scope(project="general"), Path(folder))
        results.put(len(report.added) + report.unchanged)
    except BaseException as error:
        results.put(repr(error))


def killed(act: Callable[[], object], memory: LocalMemory, at: int, counted: str) -> None:
    package = os.path.dirname(emit.__file__) + os.sep
    passed = 0

    def on_line(frame: FrameType, event: str, _: object) -> Any:
        nonlocal passed
        if event == "line":
            passed += 1
            if passed == at:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: FrameType, event: str, _: object) -> Any:
        name = frame.f_code.co_filename
        return on_line if name.startswith(package) and name[len(package) :] in WATCHED else None

    sys.settrace(on_call)
    act()
    memory.close()
    sys.settrace(None)
    Path(counted).write_text(str(passed))


WATCHED = frozenset(  # where state on disk changes; pure modules would only dilute the sample
    (
        "ingest.py",
        "ledger.py",
        "settle.py",
        "sessions.py",
        "pages.py",
        "wiki.py",
        "wiki_git.py",
        "wiki_index.py",
        "spool.py",
        "journal.py",
        "files.py",
        "registry.py",
        "importing.py",
        "archive.py",
        "backup.py",
        "brief.py",
        "consolidate.py",
        "index/db.py",
        "index/rows.py",
    )
)
