"""The stdio server as its clients see it: real processes, the official SDK's server as the measure."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import anyio
import pytest
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from small_memory import SmallMemory

from ai_memory_mcp.server.backend import Inbox, Outbox
from ai_memory_mcp.server.handshake import PROTOCOL_VERSIONS
from ai_memory_mcp.server.sdk import Desk, serve
from ai_memory_mcp.server.tools import TOOLS, instructions

ROOT = Path(__file__).resolve().parents[1]
SERVING = str(ROOT / "tests" / "serving.py")
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "probe", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def initialize(version: str = "2025-11-25", name: str = "test", ident: Any = 1) -> dict[str, Any]:
    """Return an `initialize` request."""
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": name, "version": "1"}}
    return request("initialize", ident, params)


def request(method: str, ident: Any, params: Any = ...) -> dict[str, Any]:
    """Return a request, without `params` when none are given."""
    message = {"jsonrpc": "2.0", "id": ident, "method": method}
    return message if params is ... else {**message, "params": params}


def call(ident: Any, name: str, **arguments: Any) -> dict[str, Any]:
    """Return a `tools/call`."""
    return request("tools/call", ident, {"name": name, "arguments": arguments})


TICK_ERROR = "ai-memory-mcp serve: background work failed: OSError: the same every time\n"
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Peer:
    """A server process and the lines it wrote."""

    def __init__(self, mode: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SERVING, mode, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        self._lines: Queue[bytes] = Queue()
        self.heard: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        """Write messages, bytes as they are, in one go."""
        assert self.process.stdin is not None
        lines = [one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in messages]
        self.process.stdin.write(b"".join(lines))
        self.process.stdin.flush()

    def receive(self, seconds: float = 20) -> dict[str, Any]:
        """Return the next message."""
        self.heard.append(json.loads(self._lines.get(timeout=seconds)))
        return self.heard[-1]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return what comes next."""
        self.send(message)
        return self.receive()

    def silent(self, seconds: float = 0.2) -> bool:
        """Tell whether nothing more was written."""
        try:
            self.receive(seconds)
        except Empty:
            return True
        return False

    def end(self) -> tuple[int, str, float]:
        """Close stdin; returns exit status, stderr and the seconds it took."""
        assert self.process.stdin is not None
        start = time.monotonic()
        self.process.stdin.close()
        return self.ended(start)

    def ended(self, start: float) -> tuple[int, str, float]:
        """Wait for the end; returns exit status, stderr and the seconds since `start`."""
        status = self.process.wait(timeout=10)
        taken = time.monotonic() - start
        assert self.process.stderr is not None
        return status, self.process.stderr.read().decode(), taken

    def close(self) -> None:
        """Let nothing behind."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self.process.stdout:
                self._lines.put(line)


@contextlib.contextmanager
def serving(mode: str = "ours", *arguments: str, env: dict[str, str] | None = None) -> Iterator[Peer]:
    """Start a server for the length of a test."""
    peer = Peer(mode, *arguments, env=env)
    try:
        yield peer
    finally:
        peer.close()


@contextlib.contextmanager
def session(*arguments: str, name: str = "test", env: dict[str, str] | None = None) -> Iterator[Peer]:
    """Start our server and shake hands."""
    with serving("ours", *arguments, env=env) as peer:
        peer.ask(initialize(name=name))
        peer.send(INITIALIZED)
        yield peer


def answers_of_ours(messages: list[dict[str, Any] | bytes], count: int) -> list[Any]:
    """Send everything at once to our server; returns what it answers, ordered by id: `count` or more."""
    with serving() as peer:
        peer.send(*messages, LAST)
        for _ in range(count):
            peer.receive()
        peer.silent()
        return in_order(peer.heard)


def answers_of_the_sdk(messages: list[dict[str, Any] | bytes]) -> list[Any]:
    """Send the same to the SDK's own stdio server and `Server`, in this process."""
    inbox, found, done = Inbox(), [], threading.Event()

    def take(text: str) -> None:
        found.append(json.loads(text))
        if found[-1].get("id") == "last":
            done.set()

    desk = Desk(SmallMemory, env=os.environ, cwd=str(ROOT), agent="")
    told = instructions("A handoff is waiting.")
    thread = threading.Thread(target=serve, args=(desk, told, inbox, Outbox(take)), daemon=True)
    thread.start()
    for message in (*messages, LAST):
        inbox.put(message.decode(errors="replace") if isinstance(message, bytes) else json.dumps(message))
    assert done.wait(10)
    time.sleep(0.3)
    return in_order(found)


def in_order(found: list[Any]) -> list[Any]:
    return sorted(found, key=lambda one: json.dumps(one.get("id")))


# Ours does not answer this one by hand, so what came before is answered when this is, or a moment later.
LAST = request("last", "last")

CONVERSATIONS: dict[str, list[dict[str, Any] | bytes]] = {
    "initialize with every version, known or not": [
        initialize(version, ident=ident)
        for ident, version in enumerate((*PROTOCOL_VERSIONS, "2026-07-28", "2099-01-01", "x"))
    ],
    "an ordinary start": [
        initialize(),
        INITIALIZED,
        request("tools/list", 2),
        request("tools/list", "3", {}),
        request("ping", 4),
        request("ping", 5, {"_meta": {"progressToken": 1}}),
        request("resources/list", 6),
        request("resources/templates/list", 7, {}),
        request("prompts/list", 8),
        request("tools/list", 9, {"cursor": None}),
    ],
    "a change of protocol in the middle": [
        request("tools/list", 1, {"_meta": MODERN}),
        initialize(ident=2),
        request("server/discover", 3, {"_meta": MODERN}),
        request("ping", 4),
    ],
    "requests before initialize": [
        request("server/discover", "server-discover-probe-1", {}),
        request("ping", 2),
        request("tools/list", 3),
        request("nonsense", 4),
        call(5, "memory.status"),
    ],
    "a second initialize": [initialize(), initialize("2024-11-05", ident=2), request("tools/list", 3)],
    "methods and parameters that are not ours": [
        initialize(),
        request("nonsense", 2),
        request("resources/read", 3, {"uri": "file:///x"}),
        request("resources/read", 4),
        request("tools/list", 5, {"cursor": 7}),
        request("tools/call", 6),
        request("tools/call", 7, {"name": 3}),
        request("tools/call", 8, {"name": "memory.search", "arguments": "text"}),
        request("logging/setLevel", 9, {"level": "info"}),
        request("ping", 10, {"_meta": 3}),
        request("initialize", 11, {"protocolVersion": 3}),
    ],
    "calls": [
        initialize(),
        INITIALIZED,
        call(2, "memory.nothing"),
        call(3, "memory.search", query="x"),
        call(4, "memory.search"),
        call(5, "memory_status"),
        call(6, "memory.read", ref="missing"),
    ],
    "lines that are no message": [
        b"not json\n",
        b"\n",
        b"\xff\xfe\x00\n",
        b"[]\n",
        b"3\n",
        b'[{"jsonrpc":"2.0","id":90,"method":"ping"}]\n',
        b"[" * 100_000 + b"\n",
        initialize(),
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":[1],"method":"ping"}\n',
        b'{"jsonrpc":"1.0","id":91,"method":"ping"}\n',
        b'{"id":92,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":93}\n',
        b'{"jsonrpc":"2.0","id":94,"result":{}}\n',
        b'{"jsonrpc":"2.0","method":"notifications/unknown"}\n',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}\n',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}\n',
        b'{"jsonrpc":"2.0","id":3,"method":"pi\xffng"}\n',
        b'{"jsonrpc":"2.0","id":4,"method":"ping"}\r\n',
    ],
    "the 2026 protocol without a probe": [
        request("tools/list", 1, {"_meta": MODERN}),
        request("tools/call", 2, {"name": "memory.status", "arguments": {}, "_meta": MODERN}),
    ],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_answers_are_those_of_the_sdk(name: str) -> None:
    expected = answers_of_the_sdk(CONVERSATIONS[name])
    assert answers_of_ours(CONVERSATIONS[name], len(expected)) == expected


def test_the_protocol_versions_are_those_of_the_sdk() -> None:
    assert PROTOCOL_VERSIONS == HANDSHAKE_PROTOCOL_VERSIONS


def test_the_probe_for_the_2026_protocol_is_refused_and_initialize_still_works() -> None:
    with serving() as peer:
        refused = peer.ask(request("server/discover", "server-discover-probe-1", {"_meta": MODERN}))
        assert (refused["id"], refused["error"]["code"]) == ("server-discover-probe-1", -32601)
        assert peer.ask(initialize())["result"]["protocolVersion"] == "2025-11-25"
        peer.send(INITIALIZED)
        assert peer.ask(request("tools/list", 2))["result"]["tools"] == list(TOOLS)
        assert not peer.ask(call(3, "memory.status"))["result"]["isError"]


def test_a_client_that_takes_no_dots_is_offered_underscores_and_may_call_by_either_name() -> None:
    with serving("underscore") as peer:
        told = peer.ask(initialize())["result"]["instructions"]
        assert "memory_search" in told
        assert "memory." not in told
        peer.send(INITIALIZED)
        offered = peer.ask(request("tools/list", 2))["result"]["tools"]
        assert [tool["name"] for tool in offered] == [str(tool["name"]).replace(".", "_") for tool in TOOLS]
        assert not [tool for tool in offered if "memory." in json.dumps(tool)]
        for ident, name in ((3, "memory_status"), (4, "memory.status")):
            assert not peer.ask(call(ident, name))["result"]["isError"]
    with serving("underscore") as peer:  # the SDK answers here
        modern = peer.ask(request("tools/list", 1, {"_meta": MODERN}))["result"]["tools"]
        assert modern == offered


def test_the_handshake_imports_neither_sdk_nor_models() -> None:
    # `tools/list` is left out, for after it the SDK is imported on purpose.
    asked = (initialize(), INITIALIZED, request("ping", 2), request("resources/list", 3))
    command = [sys.executable, "-X", "importtime", "-m", "ai_memory_mcp", "serve", "--tool-names", "underscore"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdin.write(b"".join(json.dumps(one).encode() + b"\n" for one in asked))
        server.stdin.flush()
        answers = [server.stdout.readline() for _ in range(3)]
        server.kill()  # before the end of input: what is imported to say goodbye is not asked for here
        told = server.stderr.read().decode()
    assert all(answers)
    loaded = {line.rpartition("|")[2].strip() for line in told.splitlines()}
    assert "ai_memory_mcp.server.handshake" in loaded
    assert not loaded & {"mcp", "pydantic", "asyncio", "argparse", "inspect", "typing", "ai_memory_mcp.model"}


def test_several_messages_in_one_write_and_one_message_in_several_writes() -> None:
    with serving() as peer:
        peer.send(initialize(), INITIALIZED, request("ping", 2))
        assert [peer.receive()["id"], peer.receive()["id"]] == [1, 2]
        peer.send(b'{"jsonrpc":"2.0",')
        time.sleep(0.05)
        peer.send(b'"id":3,"method":"ping"}\n')
        assert peer.receive() == {"jsonrpc": "2.0", "id": 3, "result": {}}


def test_a_line_of_20_megabytes_is_taken_and_the_next_one_too() -> None:
    with session() as peer:
        written = peer.ask(call(2, "memory.write", title="big", body="x" * 20_000_000))
        assert "notes/big.md" in written["result"]["content"][0]["text"]
        peer.send(b"y" * 20_000_000 + b"\n", request("ping", 3))
        assert peer.receive()["id"] == 3


def test_nothing_but_messages_reaches_stdout_and_children_cannot_eat_stdin() -> None:
    with session() as peer:
        assert "Nothing found" in peer.ask(call(2, "memory.search", query="print"))["result"]["content"][0]["text"]
        assert peer.ask(request("ping", 3)) == {"jsonrpc": "2.0", "id": 3, "result": {}}
        status, errors, _ = peer.end()
        assert (status, errors.count("stray")) == (0, 3)


def test_ping_is_answered_while_a_call_hangs_and_a_cancelled_call_never() -> None:
    with session() as peer:
        peer.send(call(2, "memory.search", query="hang"))
        assert peer.ask(request("ping", 3))["id"] == 3
        peer.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
        assert peer.silent()
        status, _, taken = peer.end()
        assert status == 0
        assert taken < 1.2


def test_a_bug_behind_a_tool_is_an_error_of_that_call_only() -> None:
    with session() as peer:
        failed = peer.ask(call(2, "memory.search", query="break"))["result"]
        assert failed["isError"]
        assert failed["content"][0]["text"] == "Unexpected ValueError: broken on purpose"
        assert not peer.ask(call(3, "memory.status"))["result"]["isError"]


def test_an_error_of_the_memory_says_what_to_do() -> None:
    with session() as peer:
        result = peer.ask(call(2, "memory.read", ref="missing"))["result"]
        assert result["isError"]
        assert "memory.search finds pages" in result["content"][0]["text"]


def test_a_call_knows_agent_session_and_folder(tmp_path: Path) -> None:
    env = {"CLAUDE_CODE_SESSION_ID": "s-7", "CLAUDE_PROJECT_DIR": "/the/project"}
    mark = tmp_path / "mark"
    with session(str(mark), name="claude-code", env=env) as peer:
        text = peer.ask(call(2, "memory.brief"))["result"]["content"][0]["text"]
        assert "Brief for claude-code in /the/project" in text
        assert peer.end()[0] == 0
    assert mark.read_text() == "claude-code s-7"


def test_the_session_may_come_with_the_call(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with session(str(mark), name="codex-mcp-client") as peer:
        asked = call(2, "memory.brief")
        asked["params"]["_meta"] = {"x-codex-turn-metadata": {"session_id": "x-9"}}
        assert f"Brief for codex in {ROOT}" in peer.ask(asked)["result"]["content"][0]["text"]
        peer.end()
    assert mark.read_text() == "codex x-9"


@pytest.mark.parametrize(
    ("how", "when"),
    [
        ("end of input", "at once"),
        ("end of input", "after the handshake"),
        ("end of input", "while the SDK is imported"),
        ("end of input", "during a call"),
        (signal.SIGTERM, "at once"),
        (signal.SIGTERM, "during a call"),
        (signal.SIGINT, "after the handshake"),
        (signal.SIGINT, "while the SDK is imported"),
    ],
)
def test_the_server_ends_quietly_within_a_second(when: str, how: str | signal.Signals, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with serving("ours", str(mark)) as peer:
        if when == "at once":
            peer.ask(request("ping", 0))
        else:
            peer.ask(initialize())
        if when == "while the SDK is imported":
            peer.ask(request("tools/list", 2))
            time.sleep(0.2)
        if when == "during a call":
            peer.ask(call(2, "memory.status"))
            peer.send(call(3, "memory.search", query="hang"))
            time.sleep(0.1)
        start = time.monotonic()
        if isinstance(how, signal.Signals):
            peer.process.send_signal(how)
            status, errors, taken = peer.ended(start)
        else:
            status, errors, taken = peer.end()
    assert (status, errors) == (0, "")
    assert taken < 1.5  # the deadline is 0.95 s; the rest is for a busy machine
    assert mark.exists()


def test_a_call_that_is_nearly_done_is_answered_after_the_end_of_input() -> None:
    with session() as peer:
        peer.ask(call(2, "memory.status"))
        peer.send(call(3, "memory.write", title="late", body="x"))
        peer.end()
        assert "notes/late.md" in peer.receive()["result"]["content"][0]["text"]


def test_a_call_that_hangs_is_answered_with_an_error_at_the_end() -> None:
    with session() as peer:
        peer.send(call(2, "memory.search", query="hang"))
        peer.end()
        assert peer.receive()["error"] == {"code": -32000, "message": "Connection closed"}


def test_a_failing_tick_is_reported_once_and_loads_no_sdk(tmp_path: Path) -> None:
    with serving("ticking", str(tmp_path / "mark")) as peer:
        peer.ask(request("ping", 1))
        time.sleep(0.8)
        assert peer.end()[:2] == (0, TICK_ERROR)
    loaded = (tmp_path / "mark.ticks").read_text().split()
    assert "ai_memory_mcp.server.backend" in loaded
    assert "mcp" not in loaded


def test_the_server_ends_when_nobody_reads_its_answers() -> None:
    command = [sys.executable, SERVING, "ours"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdout.close()
        server.stdin.write(json.dumps(initialize()).encode() + b"\n")
        server.stdin.flush()
        assert server.wait(timeout=5) == 0
        assert server.stderr.read() == b""


def test_the_server_ends_when_its_parent_dies(tmp_path: Path) -> None:
    read, write = os.pipe()
    code = (
        "import subprocess, sys, time\n"
        f"server = subprocess.Popen([sys.executable, {SERVING!r}, 'ours', {str(tmp_path / 'mark')!r}],"
        f" stdin={read}, stdout=subprocess.DEVNULL)\n"
        "time.sleep(0.5)\n"
    )
    subprocess.run([sys.executable, "-c", code], pass_fds=(read,), check=True, cwd=ROOT)
    for _ in range(40):  # stdin stays open here: only the missing parent can end it
        if (tmp_path / "mark").exists():
            break
        time.sleep(0.1)
    os.close(read)
    os.close(write)
    assert (tmp_path / "mark").exists()


def test_the_official_client_initializes_lists_and_calls() -> None:
    parameters = StdioServerParameters(command=sys.executable, args=[SERVING, "ours"], cwd=ROOT)

    async def talk() -> tuple[list[str], Any]:
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as client:
            await client.initialize()
            tools = await client.list_tools()
            result = await client.call_tool("memory_write", {"title": "t", "body": "b"})
            return [tool.name for tool in tools.tools], result

    names, result = anyio.run(talk)
    assert names == [tool["name"] for tool in TOOLS]
    assert not result.is_error
    assert "notes/t.md" in result.content[0].text


USAGES = [(["--help"], 0), (["--nonsense"], 2), (["--agent"], 2), (["--tool-names", "dashed"], 2)]


@pytest.mark.parametrize(("arguments", "status"), USAGES)
def test_usage_is_told_instead_of_serving(arguments: list[str], status: int) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "ai_memory_mcp", "serve", *arguments], capture_output=True, cwd=ROOT, text=True
    )
    assert run.returncode == status
    assert "usage: ai-memory-mcp serve" in run.stdout + run.stderr
