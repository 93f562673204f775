"""What is fuzzed: one function per area, bytes in, an exception out when a promise is broken.

They are plain functions, so that Hypothesis, the seeds and a coverage-guided fuzzer all ask the same. Each works in one
folder that it makes once for itself.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO, Any

import h11
import uvicorn
from library import Library
from pydantic import ValidationError
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ai_memory_mcp import emit, emit_rare, emit_stream, formats, hookbrief
from ai_memory_mcp.agents.jsonedit import EditError
from ai_memory_mcp.agents.spec import AgentSpec, all_specs, find_spec
from ai_memory_mcp.agents.wiring import Draft, Launch, remove, unwire, wire
from ai_memory_mcp.backup import backup, restore
from ai_memory_mcp.config import Config
from ai_memory_mcp.emit_rare import salvage
from ai_memory_mcp.endpoints import BRIEF, HOOK, PREFIX, READS, UPLOAD
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.markdown import page_from, parse, set_keys, text_from
from ai_memory_mcp.model import Query, Scope
from ai_memory_mcp.observe import observe
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.secretglance import may_hold_secret
from ai_memory_mcp.server.app import build_app
from ai_memory_mcp.server.guard import Guard
from ai_memory_mcp.server.logins import Logins
from ai_memory_mcp.server.tools import TOOLS
from ai_memory_mcp.spool import Spool
from ai_memory_mcp.tokens import Tokens

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
LAUNCH = Launch("/opt/my tools/ai-memory-mcp", ("serve",), "/home/u/my data/bin/emit")
# nothing that deletes other seeds' pages for good, talks to others or takes long
CALLED = (*sorted(READS), "lint", "contradictions", "write", "feedback", "leave_handoff", "accept_handoff")


@cache
def folder() -> Path:
    """Make the folder of this process, which goes with it."""
    made = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def text_of(data: bytes) -> str:
    """Any bytes as a text that has a UTF-8 form."""
    return data.decode("utf-8", "replace")


# --- what hooks and plugins are sent


@cache
def hooks() -> tuple[tuple[str, str], ...]:
    """All events of all agents."""
    return tuple((agent, name) for agent, spec in sorted(all_specs().items()) for name in sorted(spec.events))


def payload(data: bytes) -> None:
    """Any bytes from any agent are one entry of the spool, and the agent hears nothing but what its answer must be."""
    (agent, name), raw = hooks()[int.from_bytes(data[:2], "big") % len(hooks())], data[2:]
    home = empty_home()
    argv = (["--agent", agent, "--event", name], [agent, name])[len(raw) % 2]
    with process(raw) as said:
        emit_rare.run(str(home), variables(), argv)
    told = emit.parse(raw)
    told, problem = salvage(raw) if told is None else (told, "")
    spec = assert_one_entry(home, agent, name, told, problem)
    assert said() in ("", f"{spec.hooks.answer if spec.hooks else ''}\n"), "words for the agent that nobody wrote"


def plugin(data: bytes) -> None:
    """Any line of a plugin is one entry of the spool, and the next line is taken as if it came alone."""
    (agent, name), raw = hooks()[int.from_bytes(data[:2], "big") % len(hooks())], data[2:].replace(b"\n", b" ")
    home = empty_home()
    stream = emit_stream.Stream(str(home), variables(), agent)
    with process(b"") as said:
        emit_stream.stream_one(stream, raw)
    assert all(isinstance(json.loads(answer), dict) for answer in said().splitlines()), "an answer that is none"
    entry, problem = emit_stream.read_line(raw)
    event, inner = emit.text_or_empty(entry.get("event")), entry.get("payload")
    if event or "still_open" not in entry:
        assert_one_entry(home, agent, event, inner if isinstance(inner, dict) else entry, problem)
    else:
        assert Spool(home).names() == [], "what a plugin remembers is no event"
    stream.home = str(empty_home())
    told: dict[str, object] = {"session_id": "s"}
    with process(b"") as said:
        emit_stream.stream_one(stream, json.dumps({"seq": 7, "event": name, "payload": told}).encode())
    assert json.loads(said())["seq"] == 7, "a line that nobody said was stored"
    assert_one_entry(home, agent, name, told, "")


def assert_one_entry(home: Path, agent: str, name: str, told: dict[str, object], problem: str) -> AgentSpec:
    """The spool holds the event as it was told, whole and readable, or nothing if it can be read and the agent's
    description says that it is none of ours; nothing was lost or complained of. Returns the agent's description."""
    spec = find_spec(agent)
    for sign in (sign for sign in spec.foreign if sign in told):
        spec, name = find_spec(spec.foreign[sign]), ""
        break
    name = name or emit.text_or_empty(told.get("hook_event_name")) or "unknown"
    when = spec.events[name].when if name in spec.events else {}
    entries = Spool(home).read(Spool(home).names())
    assert len(entries) == (bool(problem) or emit.holds(told, when)), "not one entry for one event"
    for entry in entries:
        event = entry.event
        assert event is not None, entry.problem
        assert (event.agent, event.event) == (spec.name, as_stored(name)), "another event"
        assert (event.problem, event.filtered) == (problem, ""), "another verdict on an event"
        text = emit.encode(told)
        if not (may_hold_secret(text) or text.count("{") + text.count("[") > emit.DEEPEST):
            assert told.keys() == event.payload.keys() or spec.transcript, "an event with other fields"
            assert spec.transcript or emit.encode(event.payload) == as_stored(text), "an event that was changed"
        seen = observe(event, find_spec(event.agent), "s1")
        assert "\n" not in seen.title, "a title of two lines"
        seen.model_dump_json().encode()
    assert not (home / "logs").exists(), (home / "logs" / "emit.log").read_text(encoding="utf-8")
    return spec


def as_stored(text: str) -> str:
    """A text as it is after UTF-8, which has no halves of characters."""
    return text.encode("utf-8", "replace").decode()


def variables() -> dict[str, str]:
    """What a hook knows of where it runs."""
    return {"HOME": str(folder()), "PWD": str(folder())}


def empty_home() -> Path:
    """An AI_MEMORY_HOME in which nothing has happened yet."""
    home = folder() / "emit"
    shutil.rmtree(home, ignore_errors=True)
    return home


@cache
def ends() -> tuple[IO[bytes], IO[bytes]]:
    """Two files, for the input and the output of a hook."""
    return tempfile.TemporaryFile(), tempfile.TemporaryFile()


@contextmanager
def process(raw: bytes) -> Iterator[Callable[[], str]]:
    """Be a hook's process: with this input, and an output that can be read; what it would start is not started, and
    it waits for nobody."""
    kept = emit_rare.start_worker, emit_rare.TRANSCRIPT_WAIT, hookbrief.WAIT
    emit_rare.start_worker, emit_rare.TRANSCRIPT_WAIT, hookbrief.WAIT = (lambda home, detached=False: 0), 0.0, 0.0
    own = os.dup(0), os.dup(1)
    for number, file in enumerate(ends()):
        file.seek(0)
        file.truncate()
        file.write((raw, b"")[number])
        file.seek(0)
        os.dup2(file.fileno(), number)

    def said() -> str:
        ends()[1].seek(0)
        return ends()[1].read().decode()

    try:
        yield said
    finally:
        for number, descriptor in enumerate(own):
            os.dup2(descriptor, number)
            os.close(descriptor)
        emit_rare.start_worker, emit_rare.TRANSCRIPT_WAIT, hookbrief.WAIT = kept


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


class Answer(asyncio.Transport):
    """The other end of a connection: keeps what the server says."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 80)})
        self.said = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """There is nothing more to read."""

    def resume_reading(self) -> None:
        """There is nothing more to read."""


class Client:
    """The server as it is served, guard and HTTP included; only the network is left out, and time flies for the guard,
    so that nobody asks too often."""

    def __init__(self) -> None:
        base = folder() / "server"
        made = Library(base)
        made.page("Lock order", "The index is locked before the wiki.", kind="gotcha")
        made.seen("pytest -q failed: KeyError 'a-b'")
        home, tokens = base / "memory", Tokens(base / "memory")
        self.secret = tokens.create("fuzz", read_only=False, workspaces=(), now=NOW)
        self.loop = asyncio.new_event_loop()
        inner: Any = build_app(home, lambda: LocalMemory(Resources.at(home, str(base), Config())), tokens, ())
        guard = Guard(inner.app, tokens, (), Logins(tokens), clock=count(0.0, 1e3).__next__)
        self.config = uvicorn.Config(
            guard, log_config=None, log_level="critical", access_log=False, proxy_headers=False
        )
        self.config.load()
        self.running = inner.app.router.lifespan_context(inner.app)
        self.loop.run_until_complete(self.running.__aenter__())

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send one request. Returns the status and the body of the answer, (0, b"") for none: it did not end."""
        return self.loop.run_until_complete(self._send(request))

    async def _send(self, request: bytes) -> tuple[int, bytes]:
        state, answer = ServerState(), Answer()
        protocol = H11Protocol(self.config, state, {})
        protocol.connection_made(answer)
        protocol.data_received(request)
        if protocol.conn.their_state in (h11.SEND_BODY, h11.ERROR):  # more was announced than came, or something else
            protocol.connection_lost(None)
        while state.tasks:
            await asyncio.wait(state.tasks)
        protocol.connection_lost(None)
        said = re.sub(rb"\AHTTP/1.1 100 [^\r]*\r\n\r\n", b"", answer.said)  # "go on", before the answer
        head, _, body = said.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]) if head else 0, body

    def ask(self, line: bytes, body: bytes = b"", headers: Iterable[bytes] = ()) -> tuple[int, bytes]:
        """Send a request of who has a token."""
        own = (b"host: localhost", b"authorization: Bearer " + self.secret.encode(), b"content-length: %d" % len(body))
        return self.send(b"\r\n".join([line + b" HTTP/1.1", *own, *headers, b"", body]))


@cache
def client() -> Client:
    """Start the server of this process."""
    return Client()


JSON = (b"content-type: application/json", b"accept: application/json, text/event-stream")
INTERNAL = -32603  # what JSON-RPC says instead of 500


@cache
def ways() -> tuple[str, ...]:
    """How a server can be asked: by what is called, by a tool's name, or by any request at all."""
    return (*(PREFIX + name for name in CALLED), HOOK, BRIEF, UPLOAD, "/mcp", *(tool["name"] for tool in TOOLS), "any")


def wire_input(data: bytes) -> None:
    """Any request has an answer that is not the server's own fault, and so has the one after it."""
    way, body = ways()[(data or b"\0")[0] % len(ways())], data[1:]
    if way == "any":  # its first line, its headers, a blank line, its body
        head, _, body = body.partition(b"\n\n")
        first, *headers = head.split(b"\n")
        status, said = client().ask(first, body, headers)
    elif way.startswith("/"):
        status, said = client().ask(b"POST " + way.encode(), body, JSON)
    else:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": way, "arguments": "@"}}
        status, said = client().ask(b"POST /mcp", json.dumps(call).encode().replace(b'"@"', body or b"{}"), JSON)
    assert status < 500, f"{way} answers {status}: {said!r}"
    assert status != 429, "the guard had no room"
    told = json.loads(said) if said[:1] == b"{" and b"jsonrpc" in said else {}
    assert told.get("error", {}).get("code") != INTERNAL, told
    for part in told.get("result", {}).get("content", ()):
        assert not part["text"].startswith("Unexpected "), part["text"]
    assert client().ask(b"GET /healthz")[0] == 200, "a server that does not answer any more"


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
    "plugin": plugin,
    "page": page,
    "question": question,
    "settings": settings,
    "wire": wire_input,
    "archive": archives,
}
