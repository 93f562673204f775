"""What processes do to one memory, all at the same time: see `test_concurrency`. Each of `ROLES` is one of them.

A role is told the home and the user's project and returns what is to be done again and again; that returns what must
be there from then on. Nothing here imports pytest, so that a child starts in milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from children import opened
from playing import Player, repository

from ai_memory_mcp.agents.launcher import write_launcher
from ai_memory_mcp.config import Config, SyncConfig
from ai_memory_mcp.errors import ConflictError, NotFoundError
from ai_memory_mcp.link import Link
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, Query, Scope
from ai_memory_mcp.remote import RemoteMemory
from ai_memory_mcp.resources import Resources

# What is there once from then on: ("prompt", its text), ("page", its path), ("title", a page's title)
Fact = tuple[str, str]
Act = Callable[[int], list[Fact]]
ROOT = Path(__file__).resolve().parent.parent
REMOTE = "git@example.com:me/work.git"


def work(name: str, home: str, cwd: str, more: str, stop: Any, results: Any) -> None:
    """Play one role until told to stop; gives its name, what went wrong, and what must be there."""
    wrong: list[str] = []
    facts: list[Fact] = []
    number = 0
    try:
        act = ROLES[name](Path(home), Path(cwd), more)
        while not stop.is_set() or not number:
            number += 1
            try:
                facts += act(number)
            except BaseException:
                wrong.append(f"{name} {number}: {traceback.format_exc()}")
            time.sleep(0.02)
    except BaseException:
        wrong.append(f"{name}: {traceback.format_exc()}")
    results.put((name, number, wrong, facts))


def emit(home: Path, cwd: Path, more: str) -> Act:
    """Sessions, by real hooks."""
    launcher = str(write_launcher(home, python=sys.executable))
    env = {"PATH": os.environ["PATH"], "HOME": str(home.parent), "AI_MEMORY_HOME": str(home)}

    def hook(number: int, event: str, **payload: str) -> None:
        told = {"session_id": f"hooked{number}", "cwd": str(cwd), "hook_event_name": event, **payload}
        command = [launcher, "claude-code", event]
        subprocess.run(command, input=json.dumps(told).encode(), env=env, check=True, stdout=subprocess.DEVNULL)

    def act(number: int) -> list[Fact]:
        hook(number, "SessionStart", source="startup")
        hook(number, "UserPromptSubmit", prompt=f"hooked prompt {number}.")
        hook(number, "Stop", last_assistant_message="It is done.")
        hook(number, "SessionEnd", reason="other")
        return [("prompt", f"hooked prompt {number}.")]

    return act


def ingest(home: Path, cwd: Path, more: str) -> Act:
    """Many events of many sessions, and what takes them in."""

    def act(number: int) -> list[Fact]:
        player = Player(home, cwd, f"spooled{number}", agent="codex", ago=60)
        player.start().prompt(f"spooled prompt {number}.").works("the parser").ends()
        memory = opened(str(home))
        memory.ingest()
        memory.close()
        return [("prompt", f"spooled prompt {number}.")]

    return act


def search(home: Path, cwd: Path, more: str) -> Act:
    memory, scope = opened(str(home)), Scope(cwd=str(cwd))

    def act(number: int) -> list[Fact]:
        for hit in memory.search(scope, Query(text="parser prompt page")).hits[:2]:
            try:
                memory.read(scope, hit.path or hit.session or hit.id, links=True)
            except NotFoundError:
                assert hit.kind == "lint"  # one page that goes when there is nothing to tell
        memory.history(scope)
        memory.status(scope)
        memory.brief(scope)
        return []

    return act


def write(home: Path, cwd: Path, more: str) -> Act:
    memory, scope = opened(str(home)), Scope(cwd=str(cwd))

    def act(number: int) -> list[Fact]:
        page = memory.write(scope, Draft(title=f"Written {number}", body="See [[Nowhere]], [[Page 1]]."))
        memory.write(scope, Draft(title="Always the same", body=f"For the {number}. time.", kind="slot"))
        memory.close()
        return [("page", page.path)]

    return act


def commit(home: Path, cwd: Path, more: str) -> Act:
    """A person with an editor and git, in the wiki itself."""
    scope, memory = Scope(cwd=str(cwd)), opened(str(home))

    def act(number: int) -> list[Fact]:
        project = memory.resolve(scope).project
        if project is None or not memory.res.wiki(project).folder.exists():
            return []
        folder = memory.res.wiki(project).folder
        path = f"notes/by-hand-{number}.md"
        (folder / "notes").mkdir(exist_ok=True)
        (folder / path).write_text(f"# By hand {number}\n\nTyped.\n")
        git = ["git", "-C", str(folder), "-c", "user.name=Me", "-c", "user.email=me@example.org"]
        for words in (["add", path], ["commit", "-q", "-m", f"By hand {number}", "--", path]):
            subprocess.run([*git, *words], capture_output=True, check=False)  # another one may be at it; so it is later
        time.sleep(0.5)
        return [("page", path)]

    return act


def lint(home: Path, cwd: Path, more: str) -> Act:
    memory = opened(str(home))

    def act(number: int) -> list[Fact]:
        memory.lint(Scope(cwd=str(cwd)), fix=True, report=number % 2 == 0)
        memory.close()
        return []

    return act


def reindex(home: Path, cwd: Path, more: str) -> Act:
    def act(number: int) -> list[Fact]:
        memory = opened(str(home))
        memory.reindex()
        memory.close()
        time.sleep(0.5)
        return []

    return act


def sync(home: Path, cwd: Path, more: str) -> Act:
    """This machine and another one, with one remote for both."""
    config = Config(sync=SyncConfig(remote=more))
    other = home.parent / "other-machine"
    clone = repository(other / "clone", remote=REMOTE)
    here = LocalMemory(Resources.at(home, str(home.parent), config))
    there = LocalMemory(Resources.at(other / "memory", str(other), config))

    def act(number: int) -> list[Fact]:
        page = there.write(Scope(cwd=str(clone)), Draft(title=f"From elsewhere {number}", body="Far away."))
        for memory, folder in ((there, clone), (here, cwd)):
            (one,) = memory.sync(Scope(cwd=str(folder))).projects
            assert one.state in ("synced", "unchanged"), one.note
            memory.close()
        return [("page", page.path)]

    return act


def import_(home: Path, cwd: Path, more: str) -> Act:
    memory, folder = opened(str(home)), home.parent / "docs"
    folder.mkdir()

    def act(number: int) -> list[Fact]:
        for name in (f"page {number}", "always the same"):
            (folder / f"{name}.md").write_text(f"# Imported {name}\n\nTold for the {number}. time.\n")
        memory.import_markdown(Scope(cwd=str(cwd)), folder)
        memory.close()
        return [("title", f"Imported page {number}")]

    return act


def handoff(home: Path, cwd: Path, more: str) -> Act:
    memory, scope = opened(str(home)), Scope(cwd=str(cwd))

    def act(number: int) -> list[Fact]:
        memory.leave_handoff(scope, HandoffDraft(summary=f"Left {number}"))
        with suppress(ConflictError, NotFoundError):  # a session was given it meanwhile
            memory.accept_handoff(scope, by=f"x{number}")
        memory.close()
        return [("title", f"Handoff: Left {number}")]

    return act


def consolidate(home: Path, cwd: Path, more: str) -> Act:
    memory = opened(str(home))

    def act(number: int) -> list[Fact]:
        with suppress(NotFoundError):  # there is no session yet
            memory.consolidate(Scope(cwd=str(cwd)), every=number % 3 == 0)
        memory.close()
        return []

    return act


def serve(home: Path, cwd: Path, more: str) -> Act:
    """MCP servers on standard input and output, ended in good order or killed."""
    env = {**os.environ, "HOME": str(home.parent), "AI_MEMORY_HOME": str(home), "PYTHONPATH": str(ROOT)}
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "codex", "version": "1"}}

    def act(number: int) -> list[Fact]:
        calls = [
            ("initialize", client),
            ("tools/call", {"name": "memory.write", "arguments": {"title": f"Served {number}", "body": "Words."}}),
            ("tools/call", {"name": "memory.search", "arguments": {"query": "parser"}}),
        ]
        command = [sys.executable, "-m", "ai_memory_mcp", "serve"]
        with subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            for ident, (method, params) in enumerate(calls):
                told = {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}
                server.stdin.write(json.dumps(told).encode() + b"\n")
                server.stdin.flush()
                answer = json.loads(server.stdout.readline())
                assert not answer.get("error"), answer
                assert not answer["result"].get("isError"), answer
            if number % 3 == 0:
                server.send_signal(signal.SIGKILL)
        return [("title", f"Served {number}")]

    return act


def deliver(home: Path, cwd: Path, more: str) -> Act:
    """A client of the HTTP server that serves the home to other machines."""
    base = home.parent / "client"
    clone = repository(base / "clone", remote=REMOTE)
    scope = Scope(cwd=str(clone))
    memory = RemoteMemory(base / "memory", str(base), Link(more, ""))

    def act(number: int) -> list[Fact]:
        player = Player(base / "memory", clone, f"delivered{number}", ago=30)
        player.start().prompt(f"delivered prompt {number}.").runs("make", "ok").ends()
        memory.ingest()
        page = memory.write(scope, Draft(title=f"Sent {number}", body="From a client."))
        memory.search(scope, Query(text="prompt"))
        return [("prompt", f"delivered prompt {number}."), ("page", page.path)]

    return act


ROLES: dict[str, Callable[[Path, Path, str], Act]] = {
    "emit": emit,
    "ingest": ingest,
    "search": search,
    "write": write,
    "commit": commit,
    "lint": lint,
    "reindex": reindex,
    "sync": sync,
    "import": import_,
    "handoff": handoff,
    "consolidate": consolidate,
    "serve": serve,
    "deliver": deliver,
}
