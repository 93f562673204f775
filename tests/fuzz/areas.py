"""What is fuzzed: one function per area, bytes in, an exception out when a promise is broken.

They are plain functions, so that Hypothesis, the seeds and a coverage-guided fuzzer all ask the same. Each works in one
folder that it makes once for itself.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

from library import Library
from pydantic import ValidationError

from ai_memory_mcp import emit, formats
from ai_memory_mcp.agents.jsonedit import EditError
from ai_memory_mcp.agents.spec import AgentSpec, all_specs, find_spec
from ai_memory_mcp.agents.wiring import Draft, Launch, remove, unwire, wire
from ai_memory_mcp.backup import backup, restore
from ai_memory_mcp.emit_rare import salvage
from ai_memory_mcp.endpoints import HOOK, METHODS, PREFIX
from ai_memory_mcp.errors import AiMemoryError, InputError
from ai_memory_mcp.markdown import page_from, parse, set_keys, text_from
from ai_memory_mcp.model import Event, Query, Scope
from ai_memory_mcp.observe import observe
from ai_memory_mcp.server.access import Access
from ai_memory_mcp.server.app import build_app
from ai_memory_mcp.server.caller import Caller
from ai_memory_mcp.server.handlers import run_tool
from ai_memory_mcp.server.tools import TOOLS
from ai_memory_mcp.tokens import Tokens

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
LAUNCH = Launch("/opt/my tools/ai-memory-mcp", ("serve",), "/home/u/my data/bin/emit")
# nothing that deletes other seeds' pages for good, talks to others or takes long
CALLED = tuple(
    name for name in METHODS if name in "search read write feedback handoffs sessions status history brief".split()
)


@cache
def folder() -> Path:
    """Make the folder of this process, which goes with it."""
    made = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def text_of(data: bytes) -> str:
    """Any bytes as a text that has a UTF-8 form."""
    return data.decode("utf-8", "replace")


# --- hook payloads


@cache
def hooks() -> tuple[tuple[str, str], ...]:
    """All events of all agents."""
    return tuple((agent, name) for agent, spec in sorted(all_specs().items()) for name in sorted(spec.events))


def payload(data: bytes) -> None:
    """Any bytes from any agent are one entry of the spool, which is an event, which can be observed."""
    agent, name = hooks()[int.from_bytes(data[:2], "big") % len(hooks())]
    home = folder() / "emit"
    spool = home / "spool"
    shutil.rmtree(spool, ignore_errors=True)
    env = {"HOME": str(folder()), "PWD": str(folder())}
    told, problem = emit.parse(data[2:]), ""
    if told is None:
        told, problem = salvage(data[2:])
    emit.store_event(str(home), env, agent, name, told, problem)  # all that `handle` does but answer
    entries = sorted(spool.glob("*.json"))
    assert len(entries) <= 1, "two entries for one event"
    for entry in entries:
        event = Event.model_validate_json(entry.read_bytes())
        assert event.agent == agent, "an event of another agent"
        seen = observe(event, find_spec(agent), "s1")
        assert "\n" not in seen.title, "a title of two lines"
        seen.model_dump_json().encode()


# --- Markdown


def page(data: bytes) -> None:
    """Any text is a page; what is set is what is read; a page that is written is read as it was."""
    text = text_of(data)
    _, body = parse(text)
    assert text.endswith(body), "a body that is not in the text"
    changed = set_keys(text, {"title": "T", "tags": ["a", "b"]})
    assert parse(changed)[0]["title"] == "T", "a key that was not set"
    assert [line for line in body.splitlines() if line not in changed.splitlines()] == [], "a line was lost"
    read = page_from("notes/a.md", text, project="p", created=NOW, updated=NOW)
    written = text_from(read, text)
    again = page_from("notes/a.md", written, project="p", created=NOW, updated=NOW)
    assert again == read, "a page that is not read as it was written"
    assert text_from(again, written) == written, "a page that is never the same twice"


# --- questions


@cache
def library() -> Library:
    """A small memory to ask."""
    made = Library(folder() / "library")
    made.page("Lock order", "The index is locked before the wiki: `index.write()` first.", kind="gotcha")
    made.page("数据库 迁移", "迁移 用 SQLite。", kind="decision")
    made.seen("pytest -q failed: KeyError 'a-b'")
    return made


def question(data: bytes) -> None:
    """Any text has an answer."""
    try:
        query = Query(text=text_of(data), limit=5)
    except ValidationError:  # too long, or nothing
        return
    library().memory.search(Scope(project=library().projects["one"].id), query)


# --- settings of agents


@cache
def parts() -> tuple[tuple[AgentSpec, Any], ...]:
    """All parts of all agents that are entries in a settings file."""
    specs = [spec for _, spec in sorted(all_specs().items())]
    return tuple((spec, part) for spec in specs for part in ("mcp", "hooks") if getattr(spec, part))


def settings(data: bytes) -> None:
    """What is wired and unwired again is the same file, byte for byte; what cannot be edited safely is refused."""
    spec, part = parts()[(data or b"\0")[0] % len(parts())]
    with suppress(UnicodeDecodeError):  # refused before
        before = Draft(data[1:].decode())
        text = before.text
        with suppress(EditError):
            unwire(before, spec, part, LAUNCH)  # ours may be there already
            if before.text != text:
                return
            wire(before, spec, part, LAUNCH)
            wired = before.text
            wire(before, spec, part, LAUNCH)
            assert before.text == wired, "wiring twice is not wiring once"
            try:
                unwire(before, spec, part, LAUNCH)
            except EditError as error:
                raise AssertionError("what was put in cannot be taken out") from error
            for path in reversed(before.trace.base):  # stays for hooks of others
                remove(before, path)
            assert before.text == text, "another file after install and uninstall"


# --- what a server is sent


class Client:
    """The server's own application, asked without a network, a guard or its limits of how often."""

    def __init__(self) -> None:
        home = folder() / "server"
        made = Library(folder() / "server-of")
        self.loop = asyncio.new_event_loop()
        guard: Any = build_app(home, lambda: made.memory, Tokens(home), ())
        self.app = guard.app
        self.running = self.app.router.lifespan_context(self.app)
        self.loop.run_until_complete(self.running.__aenter__())

    def post(self, path: str, body: bytes) -> int:
        """Send one body; returns the status."""
        return self.loop.run_until_complete(self._post(path, body))

    async def _post(self, path: str, body: bytes) -> int:
        told: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            told.extend([message["status"]] if "status" in message else [])

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "server": ("t", 80),
            "state": {"access": Access("fuzz")},
        }  # fmt: skip
        await self.app(scope, receive, send)
        return told[0]


@cache
def client() -> Client:
    """Start the server of this process."""
    return Client()


def wire_input(data: bytes) -> None:
    """Any body has an answer of the server that is not its own fault; so has any call of an MCP tool."""
    ways = (*(PREFIX + name for name in CALLED), HOOK, *(tool["name"] for tool in TOOLS))
    way, body = ways[(data or b"\0")[0] % len(ways)], data[1:]
    if way.startswith("/"):
        status = client().post(way, body)
        assert status < 500, f"{way} answers {status}"
        return
    tool = next(tool for tool in TOOLS if tool["name"] == way)
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):  # the SDK's own business
        return
    if isinstance(given, dict):
        with suppress(AiMemoryError):
            run_tool(library().memory, Caller("codex"), Scope(), tool, given).encode("utf-8", "replace")


# --- archives


@cache
def archive() -> bytes:
    """A sound archive, small."""
    made = Library(folder() / "archived")
    made.page("One", "okapi")
    file = folder() / "sound.zip"
    backup(made.memory.res, file, now=NOW, progress=lambda *_: None)
    return file.read_bytes()


def edits(data: bytes) -> bytes:
    """The sound archive with changes: three bytes say where, and how much goes; the fourth what comes in its place."""
    whole = archive()
    for number in range(0, len(data) - 3, 4):
        at = int.from_bytes(data[number : number + 2], "big") % len(whole)
        whole = whole[:at] + data[number + 3 : number + 4] + whole[at + data[number + 2] % 8 :]
    return whole


def files(home: Path) -> dict[str, bytes]:
    """What stands in a home."""
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@cache
def sound() -> dict[str, bytes]:
    """What the sound archive gives."""
    return restored(archive())


def restored(whole: bytes) -> dict[str, bytes]:
    """Restore an archive into a new folder; nothing may stand beside it. Raises InputError."""
    base = folder() / "restored"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    file = folder() / "given.zip"
    file.write_bytes(whole)
    try:
        restore(file, base / "home", progress=lambda *_: None)
    finally:
        assert [one.name for one in base.iterdir()] in ([], ["home"]), "something was written outside"
        assert not formats.unfinished(base / "home"), "a restore that is half done"
    return files(base / "home")


def archives(data: bytes) -> None:
    """A damaged archive is refused and leaves nothing, or gives what the sound one gives."""
    whole = data if data[:2] == b"PK" else edits(data)
    try:
        found = restored(whole)
    except InputError:
        left = {name for name in files(folder() / "restored") if not name.endswith(".lock")}
        assert left == set(), f"a refused archive left {left}"
        return
    wiki = {name: found[name] for name in found if name.startswith("wiki/")}
    assert wiki == {name: body for name, body in sound().items() if name.startswith("wiki/")}, "half a memory"


AREAS: dict[str, Callable[[bytes], None]] = {
    "payload": payload,
    "page": page,
    "question": question,
    "settings": settings,
    "wire": wire_input,
    "archive": archives,
}
