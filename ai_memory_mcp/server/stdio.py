"""`ai-memory-mcp serve`: MCP over stdio.

The handshake is answered from plain data before anything heavy is imported, because the SDK takes over a
second and agents drop the tools of a slow server. The SDK is imported in a thread once the tools were
listed (or are called); it gets the same messages and answers everything else. Keep this module's imports as
few as they are.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from ai_memory_mcp.alive import agent_pid
from ai_memory_mcp.server.backend import REPLAY_ID, Backend
from ai_memory_mcp.server.handshake import (
    initialize_result,
    is_plain_initialize,
    negotiate,
    opens_modern,
    plain_answer,
)
from ai_memory_mcp.server.lifetime import Lifetime, complain
from ai_memory_mcp.server.tools import TOOLS, instructions, underscored
from ai_memory_mcp.server.wire import Writer, claim_stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ai_memory_mcp.local import LocalMemory
    from ai_memory_mcp.memory import Memory
    from ai_memory_mcp.remote import RemoteMemory
    from ai_memory_mcp.server.caller import Caller
    from ai_memory_mcp.server.tools import Tools

USAGE = """\
usage: ai-memory-mcp serve [--agent NAME] [--tool-names dotted|underscore]

Speak MCP on stdin and stdout; started by coding agents.
"""
TOOL_NAMES = ("dotted", "underscore")

_IDLE = 1.0  # seconds after which the SDK is imported although nobody listed the tools
_CALLS_GRACE = 0.8  # of the second that an end may take, for calls that are still running


class Front:
    """One connection: answers the handshake itself and hands everything else to the backend."""

    def __init__(self, backend: Backend, writer: Writer, told: str, tools: Tools) -> None:
        self._backend = backend
        self._writer = writer
        self._told = told
        self._tools = tools
        self._initialized = False
        self._modern = False

    def receive(self, line: bytes) -> None:
        """Take one line of input."""
        text = line.decode("utf-8", "replace")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return  # as the SDK does: there is no id to answer to
        if isinstance(message, dict):
            self._route(message, text)

    def _route(self, message: dict[str, object], text: str) -> None:
        self._modern = self._modern or (not self._initialized and opens_modern(message))
        if is_plain_initialize(message) and not self._modern:
            self._initialize(message)
            return
        answer = None if self._modern else plain_answer(message, initialized=self._initialized, tools=self._tools)
        if answer is None:
            self._backend.forward(text, message)
            return
        self._answer(message["id"], answer)
        if message["method"] == "tools/list":
            self._backend.warm()

    def _initialize(self, message: dict[str, object]) -> None:
        params = message["params"]
        assert isinstance(params, dict)
        version = negotiate(params["protocolVersion"])
        self._answer(message["id"], {"result": initialize_result(version, self._told)})
        self._initialized = True
        replay = {**message, "id": REPLAY_ID, "params": {**params, "protocolVersion": version}}
        self._backend.greet(json.dumps(replay), params["clientInfo"]["name"])

    def _answer(self, ident: object, answer: dict[str, object]) -> None:
        self._writer.line(json.dumps({"jsonrpc": "2.0", "id": ident, **answer}, separators=(",", ":")))


def run_stdio(
    open_memory: Callable[[], Memory],
    *,
    env: Mapping[str, str],
    agent: str = "",
    on_exit: Callable[[Caller], None] | None = None,
    tick: Callable[[], None] | None = None,
    tick_seconds: float = 5.0,
    waiting_hint: Callable[[str], str] | None = None,
    tool_names: str = "dotted",
) -> int:
    """Serve the agent on stdin and stdout until it leaves; ends the process with status 0.

    `open_memory` is called in the thread that will use it, at the first need. `tick` is called now and then
    in another thread, `on_exit` once at the end (it has less than a second), `waiting_hint` with the folder
    during the handshake: it must be instant. `agent` overrides what the client calls itself. `tool_names` is
    "dotted" or "underscore".
    """
    source, sink = claim_stdio()
    agent_pid()  # while it lives
    cwd = _folder()
    told, tools = instructions(_hint(waiting_hint, cwd)), TOOLS
    if tool_names == "underscore":
        told, tools = underscored(told), underscored(tools)

    def finish() -> None:
        until = time.monotonic() + _CALLS_GRACE
        _tell_end(on_exit, backend)
        backend.settle(until)
        backend.close()

    lifetime = Lifetime(finish)
    writer = Writer(sink, lifetime.end)
    backend = Backend(writer, open_memory, env=env, cwd=cwd, agent=agent, told=told, tools=tools)
    lifetime.watch()
    _later(_IDLE, backend.warm)
    if tick is not None:
        _later(tick_seconds, _every, tick_seconds, tick)
    front = Front(backend, writer, told, tools)
    for line in source:
        front.receive(line)
    lifetime.end()
    while True:  # the thread of `lifetime` ends the process
        time.sleep(60)


def serve_main(argv: list[str]) -> int:
    """Run `ai-memory-mcp serve`, on this machine's memory or as a bridge to its server. Returns 2 for a wrong usage."""
    if "-h" in argv or "--help" in argv:
        sys.stdout.write(USAGE)
        return 0
    options = dict(zip(argv[::2], argv[1::2], strict=False))
    names = options.get("--tool-names", "dotted")
    if len(argv) % 2 or options.keys() - {"--agent", "--tool-names"} or names not in TOOL_NAMES:
        sys.stderr.write(USAGE)
        return 2
    return run_stdio(
        _open_memory,
        env=os.environ,
        agent=options.get("--agent", ""),
        on_exit=_note_end,
        tick=_Tick().run,
        waiting_hint=_waiting,
        tool_names=names,
    )


def _open_memory() -> Memory:
    from ai_memory_mcp.remote import open_memory

    return open_memory()


class _Tick:
    """Takes in, or gives the server, what the hooks spooled meanwhile: by a memory of its own, in its own thread."""

    def __init__(self) -> None:
        self._memory: LocalMemory | RemoteMemory | None = None

    def run(self) -> None:
        if self._memory is None:
            from ai_memory_mcp.remote import open_memory

            self._memory = open_memory()
        self._memory.tick()
        from ai_memory_mcp.waking import wake_worker

        wake_worker(self._memory)


def _note_end(caller: Caller) -> None:
    """Spool that the session ended with its server: not every agent, and not every end, has a hook that says so."""
    from ai_memory_mcp import alive, emit, place
    from ai_memory_mcp.agents.spec import named_spec
    from ai_memory_mcp.emit_rare import start_worker

    spec = named_spec(caller.agent)
    if spec is not None and spec.events:
        env = emit.environment()
        home = place.default_home(env)
        payload: dict[str, object] = {"session_id": caller.session, "cwd": caller.root or _folder()}
        emit.store_event(home, env, caller.agent, alive.GONE, payload, "")
        start_worker(home, detached=True)


def _waiting(cwd: str) -> str:
    """Say in the handshake that a handoff waits (never its words: instructions are no place for stored text)."""
    from ai_memory_mcp import emit, hookbrief, place

    env = emit.environment()
    start = hookbrief.Start(place.default_home(env), {}, {}, cwd, place.user_home(env), "")
    brief = hookbrief.load(start)
    waiting = bool(brief and brief.get("handoffs"))
    return "A handoff from an earlier session is waiting: memory.handoff with action get." if waiting else ""


def _folder() -> str:
    from ai_memory_mcp import emit, place

    return place.working_folder(emit.environment())


def _tell_end(on_exit: Callable[[Caller], None] | None, backend: Backend) -> None:
    try:
        if on_exit is not None:
            on_exit(backend.caller())
    except Exception as error:  # running calls still have to be answered
        complain("could not note the end of the session", error)


def _hint(waiting_hint: Callable[[str], str] | None, cwd: str) -> str:
    try:
        return " ".join(waiting_hint(cwd).split()) if waiting_hint is not None else ""
    except Exception as error:  # a hint is never worth a failed handshake
        complain("no hint about a waiting handoff", error)
        return ""


def _later(seconds: float, task: Callable[..., None], *args: object) -> None:
    timer = threading.Timer(seconds, task, args)
    timer.daemon = True
    timer.start()


def _every(seconds: float, task: Callable[[], None]) -> None:
    complaint = ""
    while True:
        try:
            task()
        except Exception as error:  # the next round may succeed, and the agent must not lose its server
            if complaint != str(error):
                complaint = str(error)
                complain("background work failed", error)
        time.sleep(seconds)
