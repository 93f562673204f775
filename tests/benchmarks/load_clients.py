"""Clients for `bench_server`: machines with an agent at work, all in one process that costs the machine little.

A client does what our real ones do. Its agent makes an event now and then (tools, prompts, answers; sessions begin and
end). Every five seconds what waits is delivered, and the brief fetched where the agent was told something or ended;
before a search the same is done, and the search is told to know of it. A 429 is waited out as it says, up to ten
seconds, and the request sent again; events that no 200 has answered are kept and come with the next delivery.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from bench_search import Words

DELIVER_EVERY = 5.0  # seconds, as the bridge of a client does
BRIEF_EVERY = 60.0  # seconds at most, while something is delivered
TELLING = ("SessionStart", "UserPromptSubmit", "SessionEnd")  # events after which the brief is fetched
PATIENCE = 10.0  # seconds that a client lets itself be told to come again, for one request
MOST = 200  # events of one batch
OF_SESSION = 300  # events
PROJECTS = 20
KNOWN = "00000000-0000-4000-8000-{:012d}"
FRESH = b"AI-Memory-Fresh: 1\r\n"


class Pace(NamedTuple):
    """The seconds between two events, and between two searches of a client; 0.0 for no pause at all."""

    event: float
    search: float


@dataclass
class Seen:
    """What clients have seen: answers by kind and status; ms from asking to each 200, waiting out 429 or not counted;
    and the ids of events that a 200 has answered."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    served: dict[str, list[float]] = field(default_factory=dict)
    waited: dict[str, list[float]] = field(default_factory=dict)
    given_up: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0


def origin(place: int) -> dict[str, str]:
    """Return what a machine says of a folder with a clone of this project."""
    name = f"p{place}"
    return {"by": "remote", "id": KNOWN.format(place), "workspace": "default", "name": name, "remote": f"x.org/{name}"}


class Texts:
    """Words to say and to search for, made once: making them costs more than sending them."""

    def __init__(self, seed: int = 1) -> None:
        words = Words(seed=seed)
        self.said = [words.text(150) for _ in range(1_000)]
        self.asked = [words.text(6) for _ in range(1_000)]


class Connection:
    """One client's connection, kept open."""

    def __init__(self, port: int, secret: str) -> None:
        self._port = port
        self._head = f" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, more: bytes = b"") -> tuple[int, float]:
        """Return the status, -1 where the connection failed, and the seconds after which to come back."""
        head = b"POST %s%s%sContent-Length: %d\r\n\r\n" % (path.encode(), self._head, more, len(body))
        kept = self._streams is not None
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(head + body)
            told = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(_header(told, b"content-length", b"0")))
            return int(told.split(b" ", 2)[1]), float(_header(told, b"retry-after", b"0"))
        except (OSError, EOFError):
            self.close()
            return await self.post(path, body, more) if kept else (-1, 1.0)  # the server closes those that are idle

    def close(self) -> None:
        """Give the connection up; the next request makes another."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


class Client:
    """One machine with an agent at work: its bridge delivers on one connection, and searches on another."""

    def __init__(self, number: int, port: int, secret: str, texts: Texts, seen: Seen, run: str = "") -> None:
        self.seen, self.texts = seen, texts
        self.name = f"{run}{number}"
        self.random = random.Random(self.name)
        self.made = self.random.randrange(OF_SESSION)
        self.origin = origin(number % PROJECTS)
        self.where = json.dumps(self.origin).encode()
        self.spool: list[tuple[str, str, bool]] = []  # (id, JSON, whether the brief is asked for)
        self.copied = time.monotonic() - BRIEF_EVERY * self.random.random()
        self.delivering = asyncio.Lock()
        self.bridge, self.searching = Connection(port, secret), Connection(port, secret)

    async def work(self, until: float, pace: Pace) -> None:
        """Live as an agent does: the clock says when something is done, not the server."""
        await asyncio.gather(
            self._every(pace.event, self.make, until),
            self._every(DELIVER_EVERY, self.deliver, until),
            self._every(pace.search, self.search, until),
        )

    async def rush(self, until: float) -> None:
        """Do one after the other without a pause but those that a 429 asks for."""
        while time.monotonic() < until:
            for _ in range(int(DELIVER_EVERY)):
                await self.make()
            await self.search()

    async def finish(self) -> None:
        """Deliver what is left, and end the connections."""
        await self.deliver()
        self.bridge.close()
        self.searching.close()

    async def make(self) -> None:
        """Have one event happen."""
        turn, step = divmod(self.made % OF_SESSION, 10)
        about = self._event(turn, step)
        native = f"{self.name}-{self.made // OF_SESSION}"
        ident = f"{time.time_ns():020d}-{self.name}-{self.made:08x}"
        event = {"id": ident, "at": time.time(), "agent": "claude-code", "event": about.pop("event")}
        event |= {"payload": {"session_id": native, "prompt_id": f"t{turn}", **about}, "origin": self.origin}
        self.made += 1
        self.spool.append((ident, json.dumps(event), event["event"] in TELLING))

    def _event(self, turn: int, step: int) -> dict[str, object]:
        said = self.random.choice(self.texts.said)
        if self.made % OF_SESSION == OF_SESSION - 1:
            return {"event": "SessionEnd", "reason": "prompt_input_exit"}
        if (turn, step) == (0, 0):
            return {"event": "SessionStart", "source": "startup"}
        if step == 1:
            return {"event": "UserPromptSubmit", "prompt": said}
        if step == 9:
            return {"event": "Stop", "last_assistant_message": said}
        tool = {"tool_name": "Bash", "tool_use_id": f"u{self.name}-{self.made}"}
        return {"event": "PostToolUse", **tool, "tool_input": {"command": said[:80]}, "tool_response": said}

    async def deliver(self) -> None:
        """Give the server what waits, and fetch the brief."""
        async with self.delivering:
            some = self.spool[:MOST]
            if not some:
                return
            body = b'{"events":[' + ",".join(packed for _, packed, _ in some).encode() + b"]}"
            if await self._ask("hook", self.bridge, "/hook", body) == 200:
                self.seen.accepted += [ident for ident, _, _ in some]
                del self.spool[: len(some)]
                now = time.monotonic()
                if any(telling for _, _, telling in some) or now - self.copied > BRIEF_EVERY:
                    self.copied = now
                    await self._ask("brief", self.bridge, "/hook/brief", self.where)

    async def work_and_search(self) -> None:
        """Have one event happen, and search."""
        await self.make()
        await self.search()

    async def search(self) -> None:
        """Search, for an answer that knows of all that happened here."""
        await self.deliver()
        question = {"scope": {"origin": self.origin}, "query": {"text": self.random.choice(self.texts.asked)}}
        await self._ask("search", self.searching, "/api/v1/search", json.dumps(question).encode(), FRESH)

    async def _every(self, seconds: float, do: Callable[[], Awaitable[None]], until: float) -> None:
        at = time.monotonic() + seconds * self.random.random()
        while at < until:
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            await do()
            at += seconds

    async def _ask(self, what: str, connection: Connection, path: str, body: bytes, more: bytes = b"") -> int:
        first = time.perf_counter()
        while True:
            begun = time.perf_counter()
            status, pause = await connection.post(path, body, more)
            now = time.perf_counter()
            self.seen.answers[what, status] += 1
            if status == 200:
                self.seen.served.setdefault(what, []).append((now - begun) * 1000)
                self.seen.waited.setdefault(what, []).append((now - first) * 1000)
            if status != 429:
                return status
            if now + pause > first + PATIENCE:
                self.seen.given_up[what] += 1
                return status
            await asyncio.sleep(pause)


def crowd(port: int, secrets: list[str], seconds: float, pace: Pace, run: str) -> Seen:
    """Be one client for each token, for some seconds."""
    seen, texts = Seen(), Texts()

    async def all_of_them() -> None:
        clients = [Client(number, port, secret, texts, seen, run) for number, secret in enumerate(secrets)]
        begun = time.monotonic()
        until = begun + seconds
        await asyncio.gather(*(client.work(until, pace) if pace.search else client.rush(until) for client in clients))
        seen.seconds = time.monotonic() - begun
        await asyncio.gather(*(client.finish() for client in clients))

    cpu = time.process_time()
    asyncio.run(all_of_them())
    seen.cpu = time.process_time() - cpu
    return seen


def alone(port: int, secret: str, do: Callable[[Client], Awaitable[None]], times: int, run: str = "alone") -> Seen:
    """Be one client while there is no other, in each of the projects in turn."""
    seen, texts = Seen(), Texts()

    async def run_it() -> None:
        clients = [Client(number, port, secret, texts, seen, run) for number in range(PROJECTS)]
        for number in range(times):
            await do(clients[number % PROJECTS])
        for client in clients:
            await client.finish()

    asyncio.run(run_it())
    return seen


def _header(told: bytes, name: bytes, other: bytes) -> bytes:
    at = told.find(b"\r\n" + name + b": ")
    return told[at + len(name) + 4 : told.index(b"\r", at + 2)] if at >= 0 else other
